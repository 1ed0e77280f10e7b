-- If a beneficiary has several rows, the one with the latest obsolete date is used. "~" means an empty cell. Unknown
-- codes are kept unchanged, so that the checks report them. The OMB standard has no category for the race codes
-- 0 (unknown), 3 (other), and 5 (Hispanic).
with persons as (
    select nullif(columns(* exclude (_file, _row)), '~'), _file, _row from beneficiaries
)
select
    BENE_SK as member_id, BENE_MBI_ID as unique_member_id,
    BENE_LAST_NAME as family_name, BENE_1ST_NAME as given_name, BENE_MIDL_NAME as middle_name,
    BENE_BRTH_DT as birth_date, BENE_DEATH_DT as death_date,
    case BENE_SEX_CD when '1' then 'M' when '2' then 'F' when '0' then 'U' else BENE_SEX_CD end as gender,
    case
        when BENE_RACE_CD in ('0', '3', '5') then null
        when BENE_RACE_CD = '1' then '2106-3' when BENE_RACE_CD = '2' then '2054-5'
        when BENE_RACE_CD = '4' then '2028-9' when BENE_RACE_CD = '6' then '1002-5' else BENE_RACE_CD
    end as race,
    BENE_LINE_1_ADR as address_line, BENE_LINE_2_ADR as address_line_2,
    GEO_ZIP_PLC_NAME as city, GEO_USPS_STATE_CD as state, GEO_ZIP5_CD as postal_code, _file, _row
from persons
qualify rank() over (
    partition by BENE_SK order by IDR_TRANS_OBSLT_TS desc nulls last, IDR_TRANS_EFCTV_TS desc nulls last
) = 1
