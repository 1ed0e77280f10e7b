-- A plan has one row for each of its counties.
select
    CONTRACT_ID || '-' || PLAN_ID || '-' || SEGMENT_ID as plan_id,
    'http://cms.gov/medicare/ma-plan-id|' || CONTRACT_ID || '-' || PLAN_ID || '-' || SEGMENT_ID as identifiers,
    min(PLAN_NAME) as name,
    if(CONTRACT_ID like 'S%', 'medid', 'mediadv') as product_type,
    years.start_date,
    years.end_date,
    string_agg(distinct STATE, ';' order by STATE) as area_ids,
    string_agg(distinct FORMULARY_ID, ';' order by FORMULARY_ID) as formulary_ids,
    min_by(plans._file, plans._row) as _file,
    min(plans._row) as _row
from plans
left join (
    select FORMULARY_ID, min(CONTRACT_YEAR) || '-01-01' as start_date, min(CONTRACT_YEAR) || '-12-31' as end_date
    from drugs
    group by FORMULARY_ID
) as years using (FORMULARY_ID)
where PLAN_SUPPRESSED_YN is distinct from 'Y'
group by CONTRACT_ID, PLAN_ID, SEGMENT_ID, years.start_date, years.end_date
