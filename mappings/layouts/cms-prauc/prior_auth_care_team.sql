-- Segments of a request may have different providers for the same role, so each row lists its lines.
with team as (
    select
        UTN as prior_auth_id, CURRENT_SEGMENT as segment, _file, _row,
        unnest(['referring', 'attending', 'operating']) as role,
        unnest([ORDER_REFER_NPI, ATT_PHY_NPI, OPERATE_NPI]) as provider_id,
        unnest([1, 2, 3]) as place
    from requests
),
of_requests as (
    select
        prior_auth_id, role, place, provider_id, string_agg(segment, ';' order by _row) as line_numbers,
        min_by(_file, _row) as _file, min(_row) as _row
    from team
    where provider_id is not null
    group by all
)
select
    prior_auth_id, row_number() over (partition by prior_auth_id order by place, _row) as sequence,
    role, provider_id, line_numbers, _file, _row
from of_requests
