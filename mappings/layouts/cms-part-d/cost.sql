-- COST_TYPE is 1 for a copay, 2 for a coinsurance as a fraction, and 0 if the plan has no such pharmacies. What standard
-- pharmacies charge (NONPREF) counts as the cost in the network. If preferred ones charge something else, that's a cost
-- at a kind of pharmacy that the guide has no code for.
with years as (
    select distinct CONTRACT_ID, PLAN_ID, SEGMENT_ID, FORMULARY_ID
    from plans
    where PLAN_SUPPRESSED_YN is distinct from 'Y'
),

offers as (
    select
        costs.*,
        FORMULARY_ID,
        if(DAYS_SUPPLY = '1', '1-month', '3-month') as span,
        coalesce(COST_TYPE_NONPREF, '0') <> '0' as has_standard,
        coalesce(COST_TYPE_MAIL_NONPREF, '0') <> '0' as has_standard_mail
    from costs
    join years using (CONTRACT_ID, PLAN_ID, SEGMENT_ID)
    where COVERAGE_LEVEL = '1' and DAYS_SUPPLY in ('1', '2')
),

prices as (
    select *, unnest([
        {
            'pharmacy': span || '-in-retail',
            'kind': if(has_standard, COST_TYPE_NONPREF, COST_TYPE_PREF),
            'amount': if(has_standard, COST_AMT_NONPREF, COST_AMT_PREF)
        },
        {
            'pharmacy': span || '-in-mail',
            'kind': if(has_standard_mail, COST_TYPE_MAIL_NONPREF, COST_TYPE_MAIL_PREF),
            'amount': if(has_standard_mail, COST_AMT_MAIL_NONPREF, COST_AMT_MAIL_PREF)
        },
        {
            'pharmacy': 'https://data.cms.gov/provider-summary-by-type-of-service/medicare-part-d-prescribers/monthly-prescription-drug-plan-formulary-and-pharmacy-network-information|' || span || '-preferred-retail',
            'kind': if(has_standard, COST_TYPE_PREF, null),
            'amount': COST_AMT_PREF
        },
        {
            'pharmacy': 'https://data.cms.gov/provider-summary-by-type-of-service/medicare-part-d-prescribers/monthly-prescription-drug-plan-formulary-and-pharmacy-network-information|' || span || '-preferred-mail',
            'kind': if(has_standard_mail, COST_TYPE_MAIL_PREF, null),
            'amount': COST_AMT_MAIL_PREF
        }
    ], recursive := true)
    from offers
),

amounts as (
    select
        *,
        try_cast(amount as decimal(12, 4)) as number,
        case
            when number = 0 then if(DED_APPLIES_YN = 'Y', 'no-charge-after-deductible', 'no-charge')
            else if(DED_APPLIES_YN = 'Y', 'after-deductible', 'charge')
        end as option
    from prices
    where kind in ('1', '2')
)

select
    amounts.CONTRACT_ID || '-' || amounts.PLAN_ID || '-' || amounts.SEGMENT_ID as plan_id,
    pharmacy as pharmacy_type,
    coalesce(tiers.CODE, 'https://data.cms.gov/provider-summary-by-type-of-service/medicare-part-d-prescribers/monthly-prescription-drug-plan-formulary-and-pharmacy-network-information|' || amounts.TIER) as tier,
    if(kind = '1', coalesce(number::decimal(12, 2)::text, amount), null) as copay,
    if(kind = '1', option, null) as copay_option,
    if(kind = '2', coalesce(rtrim(rtrim((number * 100)::decimal(12, 2)::text, '0'), '.'), amount), null) as coinsurance,
    if(kind = '2', option, null) as coinsurance_option,
    amounts._file,
    amounts._row
from amounts
left join tiers
    on tiers.FORMULARY_ID = amounts.FORMULARY_ID and tiers.TIER_LEVEL_VALUE = amounts.TIER
