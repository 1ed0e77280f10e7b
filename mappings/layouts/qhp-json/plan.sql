with entries as (
    select document->>'$.rxnorm_id' as rxnorm_id, unnest(from_json(document->'$.plans', '["JSON"]')) as entry, _file, _row
    from drugs
),

listed as (
    select
        *,
        entry->>'$.plan_id' as plan_id,
        list_max(from_json(json_extract(entry, '$.years'), '["INTEGER"]')) as year
    from entries
    qualify year is not distinct from max(year) over (partition by plan_id, rxnorm_id)
),

contents as (
    select
        plan_id,
        list_sort(list(concat_ws(
            '|', rxnorm_id, entry->>'$.drug_tier', entry->>'$.prior_authorization', entry->>'$.step_therapy',
            entry->>'$.quantity_limit', year
        ))) as content
    from listed
    group by plan_id
),

formularies as (
    select plan_id, min(plan_id) over (partition by content) as formulary_id
    from contents
),

years as (
    select
        document->>'$.plan_id' as plan_id,
        list_max(from_json(document->'$.years', '["INTEGER"]')) as year,
        document,
        _file,
        _row
    from plans
)

select
    years.plan_id,
    document->>'$.marketing_name' as name,
    'qhp' as product_type,
    year || '-01-01' as start_date,
    year || '-12-31' as end_date,
    formulary_id as formulary_ids,
    document->>'$.marketing_url' as marketing_url,
    document->>'$.summary_url' as summary_url,
    document->>'$.formulary_url' as formulary_url,
    document->>'$.last_updated_on' as last_updated,
    _file,
    _row
from years
left join formularies on formularies.plan_id = years.plan_id
