select
    BENE_SK as coverage_id, BENE_SK as member_id, nullif(BENE_MBI_ID, '~') as card_member_id,
    'self' as relationship, 'cms' as payer_id, 'Medicare' as plan_name, _file, _row
from beneficiaries
qualify rank() over (
    partition by BENE_SK order by IDR_TRANS_OBSLT_TS desc nulls last, IDR_TRANS_EFCTV_TS desc nulls last
) = 1
