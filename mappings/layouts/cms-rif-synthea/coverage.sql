select
    BENE_ID as coverage_id, BENE_ID as member_id, MBI_NUM as card_member_id,
    'self' as relationship, 'cms' as payer_id, 'Medicare' as plan_name,
    coalesce(try_strptime(PTA_CVRG_STRT_DT, '%d-%b-%Y')::date::varchar, PTA_CVRG_STRT_DT) as start_date,
    coalesce(try_strptime(PTA_CVRG_END_DT, '%d-%b-%Y')::date::varchar, PTA_CVRG_END_DT) as end_date,
    _file, _row
from beneficiaries
qualify rank() over (partition by BENE_ID order by RFRNC_YR desc nulls last) = 1
