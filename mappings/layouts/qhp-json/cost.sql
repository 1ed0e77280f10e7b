-- A plan's formulary is a list of tiers, or one object for one tier. Rates are fractions. An option that the guide
-- doesn't know, or none beside a rate, rejects the row: nobody but the payer knows when the rate applies.
with tiers as (
    select
        document->>'$.plan_id' as plan_id,
        unnest(from_json(
            if(json_type(document->'$.formulary') = 'ARRAY', document->'$.formulary', json_array(document->'$.formulary')),
            '["JSON"]'
        )) as tier,
        _file,
        _row
    from plans
),

shares as (
    select
        plan_id,
        tier->>'$.drug_tier' as tier,
        unnest(from_json(tier->'$.cost_sharing', '["JSON"]')) as share,
        _file,
        _row
    from tiers
)

select
    plan_id,
    share->>'$.pharmacy_type' as pharmacy_type,
    tier,
    share->>'$.copay_amount' as copay,
    share->>'$.copay_opt' as copay_option,
    coalesce(
        rtrim(rtrim((try_cast(share->>'$.coinsurance_rate' as decimal(9, 6)) * 100)::decimal(9, 4)::text, '0'), '.'),
        share->>'$.coinsurance_rate'
    ) as coinsurance,
    share->>'$.coinsurance_opt' as coinsurance_option,
    _file,
    _row
from shares
