-- Of plans with the same formulary, the items of the one whose ID it has. Kinds of pharmacy are those at which a plan of
-- the formulary has a cost for the tier. Without costs, they are retail pharmacies, and those that send by mail if the
-- tier says so.
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

tiers as (
    select
        document->>'$.plan_id' as plan_id,
        unnest(from_json(
            if(json_type(document->'$.formulary') = 'ARRAY', document->'$.formulary', json_array(document->'$.formulary')),
            '["JSON"]'
        )) as tier
    from plans
),

kinds as (
    select
        plan_id,
        tier->>'$.drug_tier' as tier,
        unnest(from_json(tier->'$.cost_sharing', '["JSON"]'))->>'$.pharmacy_type' as kind
    from tiers
    union
    select plan_id, tier->>'$.drug_tier', unnest(['1-month-in-retail', '1-month-in-mail'])
    from tiers
    where tier->>'$.mail_order' = 'true' and coalesce(json_array_length(tier->'$.cost_sharing'), 0) = 0
),

pharmacies as (
    select formulary_id, lower(tier) as tier, string_agg(distinct lower(kind), ';' order by lower(kind)) as types
    from kinds
    join formularies using (plan_id)
    group by formulary_id, lower(tier)
)

select
    formularies.formulary_id,
    rxnorm_id as drug_id,
    entry->>'$.drug_tier' as tier,
    coalesce(types, '1-month-in-retail') as pharmacy_types,
    year || '-01-01' as start_date,
    year || '-12-31' as end_date,
    entry->>'$.prior_authorization' as prior_authorization,
    entry->>'$.step_therapy' as step_therapy,
    entry->>'$.quantity_limit' as quantity_limit,
    _file,
    _row
from listed
join formularies on formularies.plan_id = listed.plan_id and formularies.formulary_id = listed.plan_id
left join pharmacies
    on pharmacies.formulary_id = formularies.formulary_id and pharmacies.tier = lower(entry->>'$.drug_tier')
