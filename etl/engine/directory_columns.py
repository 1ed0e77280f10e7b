"""Columns of a directory that the engine derives: keys of owners, texts made of parts, times.

They are listed in `etl.mapping.rows`; docs/mapping.md says what each means.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import compound_keys, joined_lists
from etl.engine.related_rows import RelatedRows
from etl.model.canonical_tables import OWNERS, TABLES
from etl.model.relations import RELATIONS, Many

_WEEK: Final = "mon;tue;wed;thu;fri;sat;sun"
_NAME: Final = ("name_prefix", "given_name", "middle_name", "family_name", "name_suffix")


def directory_column(partition: RelatedRows, table: str, name: str) -> pa.StringArray:
    """Return a derived column of a table; shape (rows of the table,), null where absent.

    Raises:
        KeyError: there is no such column.
    """
    return _MADE[table, name](partition)


def _keyed(owner: str) -> Callable[[RelatedRows], pa.StringArray]:
    """Return a function for the keys by which rows refer to an owner, prefixed by its kind."""
    table = OWNERS.get(owner, owner)
    key = "role_id" if owner == "provider_role" else TABLES[table].key[0]
    rows = "role_in_network" if owner == "provider_role" else table
    return lambda partition: compound_keys(owner, partition.column(rows, key))


def _owner_key(table: str) -> Callable[[RelatedRows], pa.StringArray]:
    return lambda partition: compound_keys(
        partition.column(table, "owner"), partition.column(table, "owner_id")
    )


def _telecom_key(table: str, sequence: str) -> Callable[[RelatedRows], pa.StringArray]:
    return lambda partition: compound_keys(
        partition.column(table, "owner"),
        partition.column(table, "owner_id"),
        partition.column(table, sequence),
    )


def _own_time(partition: RelatedRows, *, absences: bool) -> pa.StringArray:
    """Return the owner's key of rows that are its own hours, or its own absences."""
    whole = pc.is_null(partition.column("availability", "telecom_sequence"))
    absent = pc.is_valid(partition.column("availability", "not_available_text"))
    is_own = pc.and_(whole, absent if absences else pc.invert(absent))
    return pc.if_else(is_own, _owner_key("availability")(partition), None)


def _full_name(partition: RelatedRows) -> pa.StringArray:
    parts = [partition.column("directory_practitioner", part) for part in _NAME]
    return _joined(parts, " ")


def _address_text(table: str) -> Callable[[RelatedRows], pa.StringArray]:
    def text(partition: RelatedRows) -> pa.StringArray:
        def cell(name: str) -> pa.StringArray:
            return partition.column(table, name)

        last = _joined([cell("state"), cell("postal_code")], " ")
        first = [cell(name) for name in ("address_line", "address_line_2", "city")]
        return _joined([*first, last], ", ")

    return text


def _region(partition: RelatedRows) -> pa.StringArray:
    """Return GeoJSON as FHIR's base64Binary."""
    texts = partition.column("location", "region_geojson").to_pylist()
    coded = [None if text is None else b64encode(text.encode()).decode() for text in texts]
    return pa.array(coded, pa.string())


def _exceptions(partition: RelatedRows) -> pa.StringArray:
    """Return the exceptions of a place's hours, its absences among them."""
    own = partition.column("location", "availability_exceptions")
    relation = RELATIONS["location"]["absences"]
    if not isinstance(relation, Many):
        raise AssertionError(relation)
    children = partition.children("location", relation)
    if not len(children.rows):
        return own
    at = pa.array(children.rows)
    text, first, last = (
        partition.column("availability", f"not_available_{name}").take(at)
        for name in ("text", "from", "to")
    )
    days = pc.binary_join_element_wise(" (", _joined([first, last], " to "), ")", "")
    reasons = _joined([text, days], "")
    counts = np.diff(children.starts)
    absences = joined_lists(reasons, counts, "; ")
    return _joined([own, pc.if_else(pc.equal(absences, ""), None, absences)], "; ")


def _joined(parts: Sequence[pa.StringArray], separator: str) -> pa.StringArray:
    """Return the parts of each row that are there; null where none is.

    Arrow leaves out rows in which every part is null, so each row begins with an empty part.
    """
    begun = pa.repeat("", len(parts[0])).cast(pa.string())
    whole = pc.binary_join_element_wise(begun, *parts, separator, null_handling="skip")
    texts = pc.utf8_slice_codeunits(whole, len(separator))
    return pc.if_else(pc.equal(texts, ""), None, texts)


def _time(name: str) -> Callable[[RelatedRows], pa.StringArray]:
    """Return a function that makes FHIR's time of `HH:MM`."""

    def made(partition: RelatedRows) -> pa.StringArray:
        texts = partition.column("availability", name)
        shaped = pc.match_substring_regex(texts, r"^([01][0-9]|2[0-3]):[0-5][0-9]$")
        times = pc.binary_join_element_wise(texts, ":00", "")
        return pc.if_else(shaped, times, None)

    return made


def _via_role(partition: RelatedRows) -> pa.StringArray:
    """Return the key of the first network's role, where a telecom leads by way of a role."""
    roles = partition.column("role_in_network", "role_id")
    keys = partition.column("role_in_network", "key")
    owners = pc.utf8_lower(partition.column("telecom", "via_owner"))
    meant = pc.equal(owners, "provider_role")
    named = pc.if_else(meant, partition.column("telecom", "via_id"), None)
    return keys.take(pc.index_in(named, value_set=roles, skip_nulls=True))


def _role_key(partition: RelatedRows) -> pa.StringArray:
    network = pc.fill_null(partition.column("role_in_network", "network_id"), "")
    return compound_keys(partition.column("role_in_network", "role_id"), network)


_MADE: Final[Mapping[tuple[str, str], Callable[[RelatedRows], pa.StringArray]]] = {
    **{
        ("role_in_network" if owner == "provider_role" else table, f"{owner}_key"): _keyed(owner)
        for owner, table in OWNERS.items()
    },
    ("directory_practitioner", "full_name"): _full_name,
    **{
        (table, "address_text"): _address_text(table)
        for table in ("directory_organization", "directory_practitioner", "location")
    },
    ("location", "region_base64"): _region,
    ("location", "exceptions_text"): _exceptions,
    ("role_in_network", "key"): _role_key,
    ("qualification", "owner_key"): _owner_key("qualification"),
    ("telecom", "owner_key"): _owner_key("telecom"),
    ("telecom", "telecom_key"): _telecom_key("telecom", "sequence"),
    ("telecom", "via_role_key"): _via_role,
    ("availability", "hours_key"): lambda partition: _own_time(partition, absences=False),
    ("availability", "absence_key"): lambda partition: _own_time(partition, absences=True),
    ("availability", "telecom_key"): _telecom_key("availability", "telecom_sequence"),
    ("availability", "open_days"): lambda partition: pc.fill_null(
        partition.column("availability", "days"), _WEEK
    ),
    ("availability", "opening"): _time("opens"),
    ("availability", "closing"): _time("closes"),
}
