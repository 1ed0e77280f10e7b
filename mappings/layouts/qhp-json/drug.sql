select
    document->>'$.rxnorm_id' as drug_id,
    document->>'$.rxnorm_id' as rxnorm_code,
    min(document->>'$.drug_name') as name,
    min_by(_file, _row) as _file,
    min(_row) as _row
from drugs
group by drug_id
