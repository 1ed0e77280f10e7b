"""Rows that only a provider directory needs, derived from accepted ones before mapping.

* A role has one row per network, and one row if it has no network.
* Phones, e-mails and URLs in columns of other tables become rows of the telecom table.
* A role without a telecom or endpoint takes the telecoms of its only location, or else of its
  organization. If they have none either, it is flagged as unreachable.
* Languages of practitioners become rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import (
    column_of,
    compound_keys,
    first_of_each,
    list_values,
    number_within_owner,
    true_where,
)
from etl.columns.navigation import positions
from etl.columns.places import take_places
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN, TABLES
from etl.rows import OF_NETWORK, table_of, table_schema

_PHONE_TO_URL: Final = (("phone", "phone"), ("fax", "fax"), ("email", "email"), ("url", "url"))
_CONTACT_COLUMNS: Final = (("contact_phone", "phone"), ("contact_email", "email"))
_TELECOM_COLUMNS: Final = (
    ("organization", "directory_organization", _PHONE_TO_URL),
    ("organization_contact", "directory_organization", _CONTACT_COLUMNS),
    ("network_contact", "network", (*_CONTACT_COLUMNS, ("url", "url"))),
    ("insurance_plan_contact", "insurance_plan", _CONTACT_COLUMNS),
    ("practitioner", "directory_practitioner", _PHONE_TO_URL),
    ("location", "location", _PHONE_TO_URL),
    ("healthcare_service", "healthcare_service", (("phone", "phone"),)),
    ("provider_role", "provider_role", _PHONE_TO_URL),
    ("affiliation", "affiliation", (("phone", "phone"),)),
    ("endpoint_contact", "endpoint", _CONTACT_COLUMNS),
)
"""Owner, table, and its telecom columns with their `ContactPoint.system`."""

_TELECOM_SOURCES: Final = ("provider_role", "location", "organization")


def directory_rows(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """Derive the rows that mappings of a provider directory need.

    Args:
        tables: accepted rows, each table in the order of its key and in one piece.
    """
    derived = dict(tables)
    derived["role_in_network"] = roles_in_networks(
        derived["provider_role"], derived["provider_role_network"]
    )
    derived["practitioner_language"] = _language_rows(derived["directory_practitioner"])
    telecoms = _add_telecom_columns(derived)
    derived["telecom"] = _sort_telecoms(
        [telecoms, *_inherited_telecoms(derived["provider_role"], telecoms)]
    )
    derived["role_in_network"] = _flag_unreachable(derived["role_in_network"], derived["telecom"])
    return derived


# Roles -------------------------------------------------------------------------------------------


def roles_in_networks(roles: pa.Table, exceptions: pa.Table) -> pa.Table:
    """Return one row per role and network (`role_in_network`).

    Args:
        roles: accepted rows of `provider_role`.
        exceptions: accepted rows of `provider_role_network`.
    """
    listed_networks, list_owners = list_values(column_of(roles, "network_ids"))
    exception_owners = positions(column_of(exceptions, "role_id"), column_of(roles, "role_id"))
    has_role = exception_owners >= 0
    networks = pa.concat_arrays(
        [
            listed_networks,
            column_of(exceptions, "network_id").filter(pa.array(has_role)),
            pa.nulls(0, pa.string()),
        ]
    )
    role_rows = np.concatenate([list_owners, exception_owners[has_role]])
    unlisted = np.setdiff1d(np.arange(roles.num_rows), role_rows)
    networks = pa.concat_arrays([networks, pa.nulls(len(unlisted), pa.string())])
    role_rows = np.concatenate([role_rows, unlisted])
    role_ids = column_of(roles, "role_id").take(pa.array(role_rows))
    keys = compound_keys(role_ids, pc.fill_null(networks, ""))
    unique = np.flatnonzero(first_of_each(keys))
    role_rows, networks, role_ids = (
        role_rows[unique],
        networks.take(pa.array(unique)),
        role_ids.take(pa.array(unique)),
    )
    order = pc.sort_indices(
        pa.table({"role": role_ids, "network": networks}),
        sort_keys=[("role", "ascending"), ("network", "ascending")],
    )
    role_rows, networks = role_rows[order.to_numpy()], networks.take(order)
    rows = roles.take(pa.array(role_rows))
    matching_exceptions = positions(
        compound_keys(column_of(rows, "role_id"), networks),
        compound_keys(column_of(exceptions, "role_id"), column_of(exceptions, "network_id")),
    )
    exception_rows = pa.array(matching_exceptions, mask=matching_exceptions < 0)

    def of_exception(column_name: str) -> pa.Array:
        return column_of(exceptions, column_name).take(exception_rows)

    columns = {name: column_of(rows, name) for name in rows.column_names}
    accepts_new, accepting = (columns["accepts_new_patients"], columns["accepts_from_network_id"])
    applies = pc.or_(pc.is_null(accepting), pc.fill_null(pc.equal(accepting, networks), False))
    flag = of_exception("accepts_new_patients")
    columns["accepts_new_patients"] = pc.coalesce(flag, pc.if_else(applies, accepts_new, None))
    columns["from_network_id"] = pc.if_else(
        pc.is_valid(flag), networks, pc.if_else(applies, accepting, None)
    )
    columns["accepts_characteristics"] = pc.if_else(
        pc.is_valid(flag),
        of_exception("accepts_characteristics"),
        pc.if_else(applies, columns["accepts_characteristics"], None),
    )
    for column in ("start_date", "end_date"):
        columns[column] = pc.coalesce(of_exception(column), columns[column])
    derived = table_of("role_in_network", len(role_rows), {**columns, "network_id": networks})
    for name, source_column in zip(OF_NETWORK, (FILE_COLUMN, ROW_COLUMN), strict=True):
        derived = derived.append_column(
            name, pc.if_else(pc.is_valid(flag), of_exception(source_column), None)
        )
    return derived


# Languages ---------------------------------------------------------------------------------------


def _language_rows(practitioners: pa.Table) -> pa.Table:
    values, owners = list_values(column_of(practitioners, "languages"))
    levels = [
        (text or "").split(";")
        for text in column_of(practitioners, "language_proficiency").to_pylist()
    ]
    numbers = number_within_owner(owners)
    proficiency = [
        levels[owner][number - 1].strip() or None if number <= len(levels[owner]) else None
        for owner, number in zip(owners.tolist(), map(int, numbers.to_pylist()), strict=True)
    ]
    practitioner_rows = pa.array(owners)
    return table_of(
        "practitioner_language",
        len(owners),
        {
            "practitioner_id": column_of(practitioners, "practitioner_id").take(practitioner_rows),
            "sequence": numbers,
            "language": values,
            "proficiency": pa.array(proficiency, pa.string()),
            **take_places(practitioners, practitioner_rows),
        },
    )


# Telecoms ----------------------------------------------------------------------------------------


def _add_telecom_columns(tables: Mapping[str, pa.Table]) -> pa.Table:
    """Add telecoms from columns of other tables, unless a row already states them."""
    stated_telecoms = tables["telecom"].select(table_schema("telecom").names)
    telecom_tables = [stated_telecoms]
    for owner, table_name, telecom_columns in _TELECOM_COLUMNS:
        table = tables[table_name]
        for column, system in telecom_columns:
            value = column_of(table, column)
            filled_rows = pa.array(np.flatnonzero(value.is_valid().to_numpy(zero_copy_only=False)))
            if not len(filled_rows):
                continue
            columns = {
                "owner": pa.repeat(owner, len(filled_rows)).cast(pa.string()),
                "owner_id": column_of(table, TABLES[table_name].key[0]).take(filled_rows),
                "system": pa.repeat(system, len(filled_rows)).cast(pa.string()),
                "value": value.take(filled_rows),
                **take_places(table, filled_rows),
            }
            telecom_tables.append(table_of("telecom", len(filled_rows), columns))
    all_telecoms = pa.concat_tables(telecom_tables).combine_chunks()
    keyed = [
        pc.fill_null(column_of(all_telecoms, name), "") for name in ("owner", "owner_id", "system")
    ]
    keys = compound_keys(*keyed, column_of(all_telecoms, "value"))
    keep = first_of_each(keys)  # a telecom without a value is never a duplicate
    keep[: stated_telecoms.num_rows] = True
    return all_telecoms.filter(pa.array(keep))


def _inherited_telecoms(roles: pa.Table, telecoms: pa.Table) -> Iterable[pa.Table]:
    """Yield inherited telecoms for roles that have no telecom and no endpoint."""
    owners, ids = column_of(telecoms, "owner"), column_of(telecoms, "owner_id")
    role_ids = column_of(roles, "role_id")
    locations = column_of(roles, "location_ids")
    single = pc.if_else(pc.match_substring(locations, ";"), None, locations)
    needs_telecom = pc.is_null(column_of(roles, "endpoint_ids"))
    for owner, source_ids in zip(
        _TELECOM_SOURCES, (role_ids, single, column_of(roles, "organization_id")), strict=True
    ):
        sources = np.flatnonzero(true_where(pc.equal(owners, owner)))
        has_telecom = true_where(
            pc.is_in(source_ids, value_set=ids.take(pa.array(sources)), skip_nulls=True)
        )
        if owner != _TELECOM_SOURCES[0]:
            heirs = np.flatnonzero(has_telecom & true_where(needs_telecom))
            if len(heirs):
                yield _copy_telecoms(telecoms.take(pa.array(sources)), source_ids, role_ids, heirs)
        needs_telecom = pc.and_(needs_telecom, pa.array(~has_telecom))


def _flag_unreachable(roles: pa.Table, telecoms: pa.Table) -> pa.Table:
    """Flag provider roles that have no telecom and no endpoint."""
    is_role_telecom = pc.equal(column_of(telecoms, "owner"), "provider_role")
    has_value = pc.and_(is_role_telecom, pc.is_valid(column_of(telecoms, "value")))
    is_reachable = pc.is_in(
        column_of(roles, "role_id"), value_set=column_of(telecoms.filter(has_value), "owner_id")
    )
    is_reachable = pc.or_(is_reachable, pc.is_valid(column_of(roles, "endpoint_ids")))
    flags = pc.if_else(is_reachable, pa.scalar(None, pa.string()), "Y")
    column_index = roles.schema.get_field_index("unreached")
    return roles.set_column(column_index, roles.schema.field(column_index), flags)


def _copy_telecoms(
    telecoms: pa.Table, source_ids: pa.StringArray, role_ids: pa.StringArray, inheriting_roles: Any
) -> pa.Table:
    """Copy the telecoms of each role's location or organization to the role.

    Args:
        telecoms: the telecoms of locations, or of organizations.
        source_ids: the ID of each role's location or organization.
        role_ids: the ids of the roles.
        inheriting_roles: numpy `int64`: positions of the roles that inherit.
    """
    sources = pa.table({"id": column_of(telecoms, "owner_id"), "row": np.arange(telecoms.num_rows)})
    role_rows = pa.array(inheriting_roles)
    inheriting = pa.table({"id": source_ids.take(role_rows), "role": role_ids.take(role_rows)})
    pairs = inheriting.join(sources, "id", join_type="inner").sort_by(
        [("role", "ascending"), ("row", "ascending")]
    )
    rows = telecoms.take(pairs.column("row").combine_chunks())
    size = pairs.num_rows
    columns = {name: column_of(rows, name) for name in rows.column_names}
    columns["owner"] = pa.repeat("provider_role", size).cast(pa.string())
    columns["owner_id"] = pairs.column("role").combine_chunks()
    columns["sequence"] = pa.nulls(size, pa.string())
    return table_of("telecom", size, columns)


def _sort_telecoms(telecom_tables: Iterable[pa.Table]) -> pa.Table:
    """Sort telecoms by owner and number; unnumbered ones come last."""
    all_telecoms = pa.concat_tables(telecom_tables).combine_chunks()
    keys = pa.table(
        {
            "owner": column_of(all_telecoms, "owner"),
            "id": column_of(all_telecoms, "owner_id"),
            "number": column_of(all_telecoms, "sequence").cast(pa.int64()),
            "place": np.arange(all_telecoms.num_rows),
        }
    )
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names])
    return all_telecoms.take(order)
