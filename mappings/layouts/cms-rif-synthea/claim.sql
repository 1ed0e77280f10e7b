-- Each line repeats the cells of its claim. If lines contradict each other, there are several rows for the claim, and
-- the checks reject it (duplicate-conflict).
with claims as (
    select
        CLM_ID as claim_id, BENE_ID as member_id,
        if(regexp_matches(lower(_file), 'inpatient|snf'), 'inpatient', 'outpatient') as claim_type,
        CLM_FROM_DT as statement_from_date, CLM_THRU_DT as statement_thru_date,
        NCH_WKLY_PROC_DT as adjudication_date,
        CLM_ADMSN_DT as admission_date, NCH_BENE_DSCHRG_DT as discharge_date,
        CLM_IP_ADMSN_TYPE_CD as admission_type, CLM_SRC_IP_ADMSN_CD as point_of_origin,
        lpad(PTNT_DSCHRG_STUS_CD, greatest(2, length(PTNT_DSCHRG_STUS_CD))::int, '0') as discharge_status,
        CLM_FAC_TYPE_CD as bill_facility_type, CLM_SRVC_CLSFCTN_TYPE_CD as bill_classification,
        CLM_FREQ_CD as bill_frequency, CLM_DRG_CD as drg_code, ORG_NPI_NUM as billing_provider_id,
        CLM_TOT_CHRG_AMT as amount_submitted, CLM_PMT_AMT as amount_benefit,
        NCH_PRMRY_PYR_CLM_PD_AMT as amount_priorpayerpaid, NCH_IP_NCVRD_CHRG_AMT as amount_noncovered,
        coalesce(NCH_BENE_IP_DDCTBL_AMT, NCH_BENE_PTB_DDCTBL_AMT) as amount_deductible,
        coalesce(NCH_BENE_PTA_COINSRNC_LBLTY_AM, NCH_BENE_PTB_COINSRNC_AMT) as amount_coinsurance,
        min_by(_file, _row) as _file, min(_row) as _row
    from institutional
    group by all
    union all by name
    select
        CLM_ID as claim_id, BENE_ID as member_id, 'professional' as claim_type,
        CLM_FROM_DT as statement_from_date, CLM_THRU_DT as statement_thru_date,
        NCH_WKLY_PROC_DT as adjudication_date,
        coalesce(CARR_CLM_BLG_NPI_NUM, ORG_NPI_NUM, PRVDR_NPI) as billing_provider_id,
        NCH_CARR_CLM_SBMTD_CHRG_AMT as amount_submitted, NCH_CARR_CLM_ALOWD_AMT as amount_eligible,
        CLM_PMT_AMT as amount_benefit, NCH_CLM_PRVDR_PMT_AMT as amount_paidtoprovider,
        NCH_CLM_BENE_PMT_AMT as amount_paidtopatient, CARR_CLM_CASH_DDCTBL_APLD_AMT as amount_deductible,
        CARR_CLM_PRMRY_PYR_PD_AMT as amount_priorpayerpaid,
        min_by(_file, _row) as _file, min(_row) as _row
    from supplier
    group by all
    union all by name
    select
        PDE_ID as claim_id, BENE_ID as member_id, 'pharmacy' as claim_type,
        SRVC_DT as statement_from_date, coalesce(PD_DT, SRVC_DT) as adjudication_date, PD_DT as paid_date,
        SRVC_PRVDR_ID as billing_provider_id, DAYS_SUPLY_NUM as days_supply, DAW_PROD_SLCTN_CD as daw_code,
        FILL_NUM as refill_number, RX_ORGN_CD as rx_origin_code, BRND_GNRC_CD as brand_generic_code,
        CMPND_CD as compound_code, TOT_RX_CST_AMT as amount_submitted, CVRD_D_PLAN_PD_AMT as amount_benefit,
        PTNT_PAY_AMT as amount_paidbypatient, _file, _row
    from pde
)
-- Amounts with more than two decimal places are rounded to cents, half to even.
select
    columns(lambda name: not regexp_matches(name, '_date$|^amount_')),
    member_id as coverage_id,
    'cms' as payer_id,
    coalesce(try_strptime(columns('_date$'), '%d-%b-%Y')::date::varchar, columns('_date$')),
    case
        when regexp_full_match(columns('^amount_'), '-?\d{1,20}\.\d{3,18}')
        then round_even(columns('^amount_')::decimal(38, 18), 2)::varchar
        else columns('^amount_')
    end
from claims
