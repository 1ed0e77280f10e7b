-- Plans with equal drugs, tiers, and flags have one formulary, whose ID is the least of theirs. If a drug has several
-- entries for a plan, those of the newest year count.
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
        ))) as content,
        max(year) as year,
        min_by(_file, _row) as _file,
        min(_row) as _row
    from listed
    group by plan_id
)

select
    min(plan_id) as formulary_id,
    'Formulary ' || min(plan_id) as name,
    min(year) || '-01-01' as start_date,
    min(year) || '-12-31' as end_date,
    min_by(_file, plan_id) as _file,
    min_by(_row, plan_id) as _row
from contents
group by content
