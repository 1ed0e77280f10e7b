with claims as (
    select
        CLM_ID as claim_id, list_value(*columns('^ICD_PRCDR_CD\d+$')) as codes,
        list_value(*columns('^ICD_PRCDR_VRSN_CD\d+$')) as versions, list_value(*columns('^PRCDR_DT\d+$')) as dates,
        min_by(_file, _row) as _file, min(_row) as _row
    from institutional
    group by all
),
procedures as (
    select claim_id, generate_subscripts(codes, 1) as place, unnest(codes) as code, unnest(versions) as version,
        unnest(dates) as day, _file, _row
    from claims
)
select
    claim_id, row_number() over (partition by claim_id, _file, _row order by place) as sequence, code,
    if(place = 1, 'principal', 'other') as type, case version when '0' then '10' else version end as icd_version,
    coalesce(try_strptime(day, '%d-%b-%Y')::date::varchar, day) as procedure_date, _file, _row
from procedures
where code is not null
