-- The file has no claims and therefore no claim lines.
select UTN as claim_id, CURRENT_SEGMENT as line_number, PA_REQ_REC_DT as service_from_date
from requests
where false
