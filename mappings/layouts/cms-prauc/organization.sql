-- If a provider has several names, the name in the most recently updated request is used.
with named as (
    select NPI, NAME, max(PA_DT_UPDATED) as updated, min_by(_file, _row) as _file, min(_row) as _row
    from requests
    where NPI is not null
    group by NPI, NAME
)
select NPI as organization_id, NPI as npi, NAME as name, _file, _row
from named
qualify rank() over (partition by NPI order by updated desc nulls last) = 1
