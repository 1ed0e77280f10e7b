with diagnoses as (
    select
        UTN as prior_auth_id, CURRENT_SEGMENT as segment, _file, _row,
        unnest([ICD_DIAG_CODE_1, ICD_DIAG_CODE_2, ICD_DIAG_CODE_3, ICD_DIAG_CODE_4, ICD_DIAG_CODE_5]) as code,
        unnest([ICD_DIAG_IND_1, ICD_DIAG_IND_2, ICD_DIAG_IND_3, ICD_DIAG_IND_4, ICD_DIAG_IND_5]) as version,
        unnest([1, 2, 3, 4, 5]) as place
    from requests
),
of_requests as (
    select
        prior_auth_id, code, case version when '0' then '10' else version end as icd_version,
        string_agg(segment, ';' order by _row) as line_numbers, min(place) as place,
        min_by(_file, _row) as _file, min(_row) as _row
    from diagnoses
    where code is not null
    group by all
)
select
    prior_auth_id, row_number() over (partition by prior_auth_id order by _row, place) as sequence,
    code, icd_version, line_numbers, _file, _row
from of_requests
