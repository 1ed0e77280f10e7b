-- Affirmed (A), non-affirmed (N), and pending (P) become the X12 review actions A1, A3, and A4. The number of services
-- is the requested quantity and, if the segment is affirmed, also the approved quantity.
with segments as (select *, HCPCS_OR_CPT_OR_HIPPS as code, PA_DECISION = 'A' as affirmed from requests)
select
    UTN as prior_auth_id, CURRENT_SEGMENT as line_number, code as service_code,
    case
        when code is null then null when CLM_TYPE = 'I' then 'HIPPS'
        when regexp_matches(code, '^[0-9]') then 'CPT' else 'HCPCS'
    end as service_code_system,
    PRICE_MOD1 as modifier_1, PRICE_MOD2 as modifier_2, REV_CODE_1 as revenue_code,
    PLACE_OF_SERV as place_of_service, RENDER_NPI as provider_id, SERVICE_CNTS as units_requested,
    case PA_DECISION when 'A' then SERVICE_CNTS when 'N' then '0' end as units_approved,
    case PA_DECISION when 'A' then 'A1' when 'N' then 'A3' when 'P' then 'A4' else PA_DECISION end as review_action,
    PA_DECISION_DT as decided_at, if(affirmed, PA_DECISION_DT, null) as issued_at,
    if(affirmed, PA_DECISION_EXP_DT, null) as valid_to, _file, _row
from segments
