"""Rows of a directory that are in no file, derived from accepted ones before mapping.

* A role stands once in each of its networks, and once where it has none.
* Phones, e-mails and addresses of wide columns are telecoms like those of the table of telecoms.
* A role without a way to reach it takes the telecoms of its only place, else of its organization;
  where they have none either it is marked as not reached.
* Identifiers of plans and languages of practitioners become rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import column_of, compound_keys, first_of_each, list_values, true_where
from etl.columns.navigation import positions
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN, TABLES
from etl.rows import table_of, table_schema

_PHONE_TO_URL: Final = (("phone", "phone"), ("fax", "fax"), ("email", "email"), ("url", "url"))
_OF_CONTACT: Final = (("contact_phone", "phone"), ("contact_email", "email"))
_WIDE: Final = (
    ("organization", "directory_organization", _PHONE_TO_URL),
    ("organization_contact", "directory_organization", _OF_CONTACT),
    ("network_contact", "network", (*_OF_CONTACT, ("url", "url"))),
    ("insurance_plan_contact", "insurance_plan", _OF_CONTACT),
    ("practitioner", "directory_practitioner", _PHONE_TO_URL),
    ("location", "location", _PHONE_TO_URL),
    ("healthcare_service", "healthcare_service", (("phone", "phone"),)),
    ("provider_role", "provider_role", _PHONE_TO_URL),
    ("affiliation", "affiliation", (("phone", "phone"),)),
    ("endpoint_contact", "endpoint", _OF_CONTACT),
)
"""Owner, table, and (wide column, `ContactPoint.system` of the telecom that it is)."""

_ROLE_OWN: Final = ("provider_role", "location", "organization")


def directory_rows(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """Return the tables of a directory as mappings want them.

    Args:
        tables: accepted rows, each table in the order of its key.
    """
    made = {name: table.combine_chunks() for name, table in tables.items()}
    made["role_in_network"] = roles_in_networks(
        made["provider_role"], made["provider_role_network"]
    )
    made["plan_identifier"] = _plan_identifiers(made["insurance_plan"])
    made["practitioner_language"] = _languages(made["directory_practitioner"])
    telecoms = _with_wide(made)
    made["telecom"] = _in_order([telecoms, *_borrowed(made["provider_role"], telecoms)])
    made["role_in_network"] = _marked(made["role_in_network"], made["telecom"])
    return made


def _places(table: pa.Table, at: pa.Array) -> dict[str, Any]:
    return {name: column_of(table, name).take(at) for name in (FILE_COLUMN, ROW_COLUMN)}


# Roles -------------------------------------------------------------------------------------------


def roles_in_networks(roles: pa.Table, exceptions: pa.Table) -> pa.Table:
    """Return a row for each network of a role, and one for a role in none (`role_in_network`).

    Args:
        roles: accepted rows of `provider_role`.
        exceptions: accepted rows of `provider_role_network`.
    """
    listed, of_list = list_values(column_of(roles, "network_ids"))
    named = positions(column_of(exceptions, "role_id"), column_of(roles, "role_id"))
    there = named >= 0
    network = pa.concat_arrays(
        [
            listed,
            column_of(exceptions, "network_id").filter(pa.array(there)),
            pa.nulls(0, pa.string()),
        ]
    )
    owner = np.concatenate([of_list, named[there]])
    without = np.setdiff1d(np.arange(roles.num_rows), owner)
    network = pa.concat_arrays([network, pa.nulls(len(without), pa.string())])
    owner = np.concatenate([owner, without])
    role = column_of(roles, "role_id").take(pa.array(owner))
    keys = compound_keys(role, pc.fill_null(network, ""))
    first = np.flatnonzero(first_of_each(keys))
    owner, network, role = owner[first], network.take(pa.array(first)), role.take(pa.array(first))
    order = pc.sort_indices(
        pa.table({"role": role, "network": network}),
        sort_keys=[("role", "ascending"), ("network", "ascending")],
    )
    owner, network = owner[order.to_numpy()], network.take(order)
    rows = roles.take(pa.array(owner))
    differing = positions(
        compound_keys(column_of(rows, "role_id"), network),
        compound_keys(column_of(exceptions, "role_id"), column_of(exceptions, "network_id")),
    )
    at = pa.array(differing, mask=differing < 0)

    def of_exception(column: str) -> pa.StringArray:
        return column_of(exceptions, column).take(at)

    columns = {name: column_of(rows, name) for name in rows.column_names}
    own_flag, wanted = columns["accepts_new_patients"], columns["accepts_from_network_id"]
    own_holds = pc.or_(pc.is_null(wanted), pc.fill_null(pc.equal(wanted, network), False))
    flag = of_exception("accepts_new_patients")
    columns["accepts_new_patients"] = pc.coalesce(flag, pc.if_else(own_holds, own_flag, None))
    columns["from_network_id"] = pc.if_else(
        pc.is_valid(flag), network, pc.if_else(own_holds, wanted, None)
    )
    columns["accepts_characteristics"] = pc.if_else(
        pc.is_valid(flag),
        of_exception("accepts_characteristics"),
        pc.if_else(own_holds, columns["accepts_characteristics"], None),
    )
    for column in ("start_date", "end_date"):
        columns[column] = pc.coalesce(of_exception(column), columns[column])
    return table_of("role_in_network", len(owner), {**columns, "network_id": network})


# Lists that become rows --------------------------------------------------------------------------


def _numbered(owners: Any) -> pa.StringArray:
    """Return 1, 2, … within each owner; owners are ascending."""
    starts = np.searchsorted(owners, owners)
    return pa.array(np.arange(len(owners)) - starts + 1).cast(pa.string())


def _plan_identifiers(plans: pa.Table) -> pa.Table:
    values, owners = list_values(column_of(plans, "identifiers"))
    parts = [[*text.split("|", 2), "", ""][:3] for text in values.to_pylist()]
    stripped = [[part.strip() or None for part in identifier] for identifier in parts]
    # One that names no system is a value alone.
    whole = [three if three[1] else [None, three[0], None] for three in stripped]
    system, value, assigner = (
        pa.array([three[place] for three in whole], pa.string()) for place in range(3)
    )
    at = pa.array(owners)
    return table_of(
        "plan_identifier",
        len(owners),
        {
            "plan_id": column_of(plans, "plan_id").take(at),
            "sequence": _numbered(owners),
            "system": system,
            "value": value,
            "assigner_id": assigner,
            **_places(plans, at),
        },
    )


def _languages(practitioners: pa.Table) -> pa.Table:
    values, owners = list_values(column_of(practitioners, "languages"))
    levels = [
        (text or "").split(";")
        for text in column_of(practitioners, "language_proficiency").to_pylist()
    ]
    numbers = _numbered(owners)
    proficiency = [
        levels[owner][number - 1].strip() or None if number <= len(levels[owner]) else None
        for owner, number in zip(owners.tolist(), map(int, numbers.to_pylist()), strict=True)
    ]
    at = pa.array(owners)
    return table_of(
        "practitioner_language",
        len(owners),
        {
            "practitioner_id": column_of(practitioners, "practitioner_id").take(at),
            "sequence": numbers,
            "language": values,
            "proficiency": pa.array(proficiency, pa.string()),
            **_places(practitioners, at),
        },
    )


# Telecoms ----------------------------------------------------------------------------------------


def _with_wide(tables: Mapping[str, pa.Table]) -> pa.Table:
    """Return the telecoms, with those of wide columns where no row states the same."""
    own = tables["telecom"].select(table_schema("telecom").names)
    parts = [own]
    for owner, name, wide in _WIDE:
        table = tables[name]
        for column, system in wide:
            value = column_of(table, column)
            at = pa.array(np.flatnonzero(value.is_valid().to_numpy(zero_copy_only=False)))
            if not len(at):
                continue
            columns = {
                "owner": pa.repeat(owner, len(at)).cast(pa.string()),
                "owner_id": column_of(table, TABLES[name].key[0]).take(at),
                "system": pa.repeat(system, len(at)).cast(pa.string()),
                "value": value.take(at),
                **_places(table, at),
            }
            parts.append(table_of("telecom", len(at), columns))
    whole = pa.concat_tables(parts).combine_chunks()
    named = [pc.fill_null(column_of(whole, name), "") for name in ("owner", "owner_id", "system")]
    keys = compound_keys(*named, column_of(whole, "value"))
    keep = first_of_each(keys)  # telecoms without a value are like no other
    keep[: own.num_rows] = True
    return whole.filter(pa.array(keep))


def _borrowed(roles: pa.Table, telecoms: pa.Table) -> Iterable[pa.Table]:
    """Yield telecoms for roles that have neither one nor an endpoint of their own."""
    owners, ids = column_of(telecoms, "owner"), column_of(telecoms, "owner_id")
    role_ids = column_of(roles, "role_id")
    locations = column_of(roles, "location_ids")
    single = pc.if_else(pc.match_substring(locations, ";"), None, locations)
    wanting = pc.is_null(column_of(roles, "endpoint_ids"))
    for owner, named in zip(
        _ROLE_OWN, (role_ids, single, column_of(roles, "organization_id")), strict=True
    ):
        lent = np.flatnonzero(true_where(pc.equal(owners, owner)))
        has = true_where(pc.is_in(named, value_set=ids.take(pa.array(lent)), skip_nulls=True))
        if owner != _ROLE_OWN[0]:
            taking = np.flatnonzero(has & true_where(wanting))
            if len(taking):
                yield _copies(telecoms.take(pa.array(lent)), named, role_ids, taking)
        wanting = pc.and_(wanting, pa.array(~has))


def _marked(roles: pa.Table, telecoms: pa.Table) -> pa.Table:
    """Return the roles, those marked that have neither a telecom nor an endpoint."""
    of_roles = pc.equal(column_of(telecoms, "owner"), "provider_role")
    with_value = pc.and_(of_roles, pc.is_valid(column_of(telecoms, "value")))
    reached = pc.is_in(
        column_of(roles, "role_id"), value_set=column_of(telecoms.filter(with_value), "owner_id")
    )
    reached = pc.or_(reached, pc.is_valid(column_of(roles, "endpoint_ids")))
    flags = pc.if_else(reached, pa.scalar(None, pa.string()), "Y")
    place = roles.schema.get_field_index("unreached")
    return roles.set_column(place, roles.schema.field(place), flags)


def _copies(
    telecoms: pa.Table, named: pa.StringArray, role_ids: pa.StringArray, taking: Any
) -> pa.Table:
    """Return the telecoms of what each role names, as the role's.

    Args:
        telecoms: of locations, or of organizations.
        named: the id of the location or organization that each role names.
        role_ids: the ids of the roles.
        taking: numpy `int64`: places of the roles that take them.
    """
    lent = pa.table({"id": column_of(telecoms, "owner_id"), "row": np.arange(telecoms.num_rows)})
    at = pa.array(taking)
    roles = pa.table({"id": named.take(at), "role": role_ids.take(at)})
    pairs = roles.join(lent, "id", join_type="inner").sort_by(
        [("role", "ascending"), ("row", "ascending")]
    )
    rows = telecoms.take(pairs.column("row").combine_chunks())
    size = pairs.num_rows
    columns = {name: column_of(rows, name) for name in rows.column_names}
    columns["owner"] = pa.repeat("provider_role", size).cast(pa.string())
    columns["owner_id"] = pairs.column("role").combine_chunks()
    columns["sequence"] = pa.nulls(size, pa.string())
    return table_of("telecom", size, columns)


def _in_order(parts: Iterable[pa.Table]) -> pa.Table:
    """Return telecoms by owner and number, those without a number last, in the order of columns."""
    whole = pa.concat_tables(parts).combine_chunks()
    keys = pa.table(
        {
            "owner": column_of(whole, "owner"),
            "id": column_of(whole, "owner_id"),
            "number": column_of(whole, "sequence").cast(pa.int64()),
            "place": np.arange(whole.num_rows),
        }
    )
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names])
    return whole.take(order)
