select
    PRVDR_NPI_NUM as practitioner_id, nullif(PRVDR_LAST_NAME, '~') as family_name,
    nullif(PRVDR_1ST_NAME, '~') as given_name, nullif(PRVDR_MDL_NAME, '~') as middle_name,
    nullif(PRVDR_TXNMY_CMPST_CD, '~') as taxonomy_code, _file, _row
from providers
