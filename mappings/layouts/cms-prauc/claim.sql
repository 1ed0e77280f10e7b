-- The file has no claims. A full extract must have the table, so this query returns no rows.
select
    UTN as claim_id, CLM_TYPE as claim_type, MBI_NUM as member_id, MBI_NUM as coverage_id, 'cms' as payer_id,
    PA_REQ_REC_DT as statement_from_date, PA_REQ_REC_DT as adjudication_date, NPI as billing_provider_id
from requests
where false
