-- The kinds of pharmacy are those at which any plan of the formulary has a cost for the tier. Every plan of Part D has
-- retail pharmacies (42 CFR 423.120(a)).
with offered as (
    select distinct
        FORMULARY_ID,
        TIER,
        if(DAYS_SUPPLY = '1', '1-month', '3-month') as span,
        coalesce(COST_TYPE_PREF, '0') <> '0' or coalesce(COST_TYPE_NONPREF, '0') <> '0' as retail,
        coalesce(COST_TYPE_MAIL_PREF, '0') <> '0' or coalesce(COST_TYPE_MAIL_NONPREF, '0') <> '0' as mail
    from costs
    join plans using (CONTRACT_ID, PLAN_ID, SEGMENT_ID)
    where COVERAGE_LEVEL = '1' and DAYS_SUPPLY in ('1', '2') and PLAN_SUPPRESSED_YN is distinct from 'Y'
),

kinds as (
    select FORMULARY_ID, TIER, span || '-in-retail' as kind from offered where retail
    union
    select FORMULARY_ID, TIER, span || '-in-mail' as kind from offered where mail
),

pharmacies as (
    select FORMULARY_ID, TIER, string_agg(kind, ';' order by kind) as types
    from kinds
    group by FORMULARY_ID, TIER
)

select
    drugs.FORMULARY_ID as formulary_id,
    RXCUI as drug_id,
    coalesce(tiers.CODE, 'https://data.cms.gov/provider-summary-by-type-of-service/medicare-part-d-prescribers/monthly-prescription-drug-plan-formulary-and-pharmacy-network-information|' || drugs.TIER_LEVEL_VALUE) as tier,
    coalesce(types, '1-month-in-retail') as pharmacy_types,
    CONTRACT_YEAR || '-01-01' as start_date,
    CONTRACT_YEAR || '-12-31' as end_date,
    PRIOR_AUTHORIZATION_YN as prior_authorization,
    STEP_THERAPY_YN as step_therapy,
    QUANTITY_LIMIT_YN as quantity_limit,
    QUANTITY_LIMIT_AMOUNT as limit_amount,
    QUANTITY_LIMIT_DAYS as limit_days,
    drugs._file,
    drugs._row
from drugs
left join pharmacies on pharmacies.FORMULARY_ID = drugs.FORMULARY_ID and TIER = drugs.TIER_LEVEL_VALUE
left join tiers on tiers.FORMULARY_ID = drugs.FORMULARY_ID and tiers.TIER_LEVEL_VALUE = drugs.TIER_LEVEL_VALUE
