with team as (
    select CLM_ID as claim_id, 1 as place, 'attending' as role, AT_PHYSN_NPI as provider_id,
        min_by(_file, _row) as _file, min(_row) as _row
    from institutional group by all
    union all
    select CLM_ID, 2, 'operating', OP_PHYSN_NPI, min_by(_file, _row), min(_row)
    from institutional group by all
    union all
    select CLM_ID, 1, 'referring', RFR_PHYSN_NPI, min_by(_file, _row), min(_row)
    from supplier group by all
    union all
    select PDE_ID, 1, 'prescribing', PRSCRBR_ID, _file, _row from pde
)
select
    claim_id, row_number() over (partition by claim_id, _file, _row order by place) as sequence, role, provider_id,
    _file, _row
from team
where provider_id is not null
