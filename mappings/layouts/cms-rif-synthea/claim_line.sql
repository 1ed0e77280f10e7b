with lines as (
    select
        CLM_ID as claim_id, CLM_LINE_NUM as line_number,
        coalesce(REV_CNTR_DT, CLM_FROM_DT) as service_from_date,
        lpad(REV_CNTR, greatest(4, length(REV_CNTR))::int, '0') as revenue_code, HCPCS_CD as service_code,
        HCPCS_1ST_MDFR_CD as modifier_1, HCPCS_2ND_MDFR_CD as modifier_2,
        REV_CNTR_UNIT_CNT as units, RNDRNG_PHYSN_NPI as rendering_provider_id,
        REV_CNTR_TOT_CHRG_AMT as amount_submitted, REV_CNTR_NCVRD_CHRG_AMT as amount_noncovered,
        REV_CNTR_PMT_AMT_AMT as amount_benefit, REV_CNTR_PRVDR_PMT_AMT as amount_paidtoprovider,
        REV_CNTR_BENE_PMT_AMT as amount_paidtopatient, REV_CNTR_CASH_DDCTBL_AMT as amount_deductible,
        REV_CNTR_PTNT_RSPNSBLTY_PMT as amount_paidbypatient, _file, _row
    from institutional
    union all by name
    select
        CLM_ID as claim_id, LINE_NUM as line_number,
        LINE_1ST_EXPNS_DT as service_from_date, LINE_LAST_EXPNS_DT as service_to_date,
        HCPCS_CD as service_code, HCPCS_1ST_MDFR_CD as modifier_1, HCPCS_2ND_MDFR_CD as modifier_2,
        HCPCS_3RD_MDFR_CD as modifier_3, HCPCS_4TH_MDFR_CD as modifier_4,
        LINE_NDC_CD as ndc, LINE_SRVC_CNT as units,
        lpad(LINE_PLACE_OF_SRVC_CD, greatest(2, length(LINE_PLACE_OF_SRVC_CD))::int, '0') as place_of_service,
        PRF_PHYSN_NPI as rendering_provider_id,
        LINE_SBMTD_CHRG_AMT as amount_submitted, LINE_ALOWD_CHRG_AMT as amount_eligible,
        LINE_NCH_PMT_AMT as amount_benefit, LINE_PRVDR_PMT_AMT as amount_paidtoprovider,
        LINE_BENE_PMT_AMT as amount_paidtopatient, LINE_BENE_PTB_DDCTBL_AMT as amount_deductible,
        LINE_COINSRNC_AMT as amount_coinsurance, LINE_BENE_PRMRY_PYR_PD_AMT as amount_priorpayerpaid,
        _file, _row
    from supplier
    union all by name
    select
        PDE_ID as claim_id, '1' as line_number, SRVC_DT as service_from_date,
        PROD_SRVC_ID as ndc, QTY_DSPNSD_NUM as ndc_quantity,
        TOT_RX_CST_AMT as amount_submitted, CVRD_D_PLAN_PD_AMT as amount_benefit,
        PTNT_PAY_AMT as amount_paidbypatient, _file, _row
    from pde
)
select
    columns(lambda name: not regexp_matches(name, '_date$|^amount_')),
    coalesce(try_strptime(columns('_date$'), '%d-%b-%Y')::date::varchar, columns('_date$')),
    case
        when regexp_full_match(columns('^amount_'), '-?\d{1,20}\.\d{3,18}')
        then round_even(columns('^amount_')::decimal(38, 18), 2)::varchar
        else columns('^amount_')
    end
from lines
