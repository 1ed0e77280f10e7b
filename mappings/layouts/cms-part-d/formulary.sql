select
    FORMULARY_ID as formulary_id,
    'Formulary ' || FORMULARY_ID as name,
    min(CONTRACT_YEAR) || '-01-01' as start_date,
    min(CONTRACT_YEAR) || '-12-31' as end_date,
    min_by(_file, _row) as _file,
    min(_row) as _row
from drugs
group by FORMULARY_ID
