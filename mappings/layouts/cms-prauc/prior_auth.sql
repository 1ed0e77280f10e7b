-- One row per request. If its segments contradict each other, there are several rows with the same ID, and the checks
-- reject all of them (duplicate-conflict). If beneficiaries were merged, the one in effect is used. If no beneficiary
-- has the MBI, it stays as the member's ID, so that the checks report the request. Only lines have decisions.
with persons as (
    select distinct BENE_MBI_ID as mbi, coalesce(nullif(BENE_XREF_EFCTV_SK, '~'), BENE_SK) as person
    from beneficiaries
)
select
    UTN as prior_auth_id, coalesce(person, MBI_NUM) as member_id, coalesce(person, MBI_NUM) as coverage_id,
    'cms' as payer_id, UTN as authorization_number,
    case
        when CLM_TYPE in ('B', 'D') then 'professional'
        when CLM_TYPE in ('I', 'O', 'H', 'C') then 'institutional'
        else CLM_TYPE
    end as type,
    min(PA_REQ_REC_DT) as received_at, max(PA_DT_UPDATED) as status_changed_at,
    UTN_VALID_ST_DT as valid_from, UTN_VALID_EN_DT as valid_to,
    NPI as requesting_provider_id, TOB as type_of_bill,
    min_by(_file, _row) as _file, min(_row) as _row
from requests
left join persons on mbi = MBI_NUM
group by all
