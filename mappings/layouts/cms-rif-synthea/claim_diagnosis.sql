with claims as (
    select
        CLM_ID as claim_id, [ADMTG_DGNS_CD] as admitting, [ADMTG_DGNS_VRSN_CD] as admitting_version,
        'other' as following, list_value(*columns('^ICD_DGNS_CD\d+$')) as codes,
        list_value(*columns('^ICD_DGNS_VRSN_CD\d+$')) as versions, list_value(*columns('^CLM_POA_IND_SW\d+$')) as poas,
        list_value(*columns('^ICD_DGNS_E_CD\d+$')) as causes, list_value(*columns('^ICD_DGNS_E_VRSN_CD\d+$')) as cause_versions,
        list_value(*columns('^CLM_E_POA_IND_SW\d+$')) as cause_poas,
        list_value(*columns('^RSN_VISIT_CD\d+$')) as reasons, list_value(*columns('^RSN_VISIT_VRSN_CD\d+$')) as reason_versions,
        min_by(_file, _row) as _file, min(_row) as _row
    from institutional
    group by all
    union all by name
    select
        CLM_ID as claim_id, 'secondary' as following, list_value(*columns('^ICD_DGNS_CD\d+$')) as codes,
        list_value(*columns('^ICD_DGNS_VRSN_CD\d+$')) as versions,
        min_by(_file, _row) as _file, min(_row) as _row
    from supplier
    group by all
),
diagnoses as (
    select claim_id, _file, _row, 1 as place, 'admitting' as type,
        unnest(admitting) as code, unnest(admitting_version) as version, null as poa
    from claims
    union all
    select claim_id, _file, _row, 1 + generate_subscripts(codes, 1) as place, if(place = 2, 'principal', following),
        unnest(codes), unnest(versions), unnest(poas)
    from claims
    union all
    select claim_id, _file, _row, 100 + generate_subscripts(causes, 1), 'externalcauseofinjury',
        unnest(causes), unnest(cause_versions), unnest(cause_poas)
    from claims
    union all
    select claim_id, _file, _row, 200 + generate_subscripts(reasons, 1), 'patientreasonforvisit',
        unnest(reasons), unnest(reason_versions), null
    from claims
)
-- Present on admission: 0, X, and Z mean that there is no value.
select
    claim_id, row_number() over (partition by claim_id, _file, _row order by place) as sequence, code, type,
    case version when '0' then '10' else version end as icd_version,
    if(poa in ('0', 'X', 'Z'), null, poa) as present_on_admission, _file, _row
from diagnoses
where code is not null
