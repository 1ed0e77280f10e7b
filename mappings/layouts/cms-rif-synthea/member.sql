-- If a beneficiary is in several yearly files, the latest one is used. Unknown codes and dates that can't be read are
-- kept unchanged, so that the checks report them. The OMB standard has no category for the race codes 0 (unknown),
-- 3 (other), and 5 (Hispanic).
select
    BENE_ID as member_id, MBI_NUM as unique_member_id,
    BENE_SRNM_NAME as family_name, BENE_GVN_NAME as given_name, BENE_MDL_NAME as middle_name,
    coalesce(try_strptime(BENE_BIRTH_DT, '%d-%b-%Y')::date::varchar, BENE_BIRTH_DT) as birth_date,
    coalesce(try_strptime(DEATH_DT, '%d-%b-%Y')::date::varchar, DEATH_DT) as death_date,
    case BENE_SEX_IDENT_CD when '1' then 'M' when '2' then 'F' when '0' then 'U' else BENE_SEX_IDENT_CD end as gender,
    case
        when BENE_RACE_CD in ('0', '3', '5') then null
        when BENE_RACE_CD = '1' then '2106-3' when BENE_RACE_CD = '2' then '2054-5'
        when BENE_RACE_CD = '4' then '2028-9' when BENE_RACE_CD = '6' then '1002-5' else BENE_RACE_CD
    end as race,
    DRVD_LINE_1_ADR as address_line, CITY_NAME as city, STATE_CD as state, STATE_CNTY_ZIP_CD as postal_code,
    _file, _row
from beneficiaries
qualify rank() over (partition by BENE_ID order by RFRNC_YR desc nulls last) = 1
