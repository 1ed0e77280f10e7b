-- The states of plans. Plans that are offered in a region of states have no state here.
select
    STATE as area_id,
    STATE as name,
    STATE as state,
    'US' as country,
    min_by(_file, _row) as _file,
    min(_row) as _row
from plans
where STATE is not null and PLAN_SUPPRESSED_YN is distinct from 'Y'
group by STATE
