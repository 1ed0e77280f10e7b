"""Columns of provider directories and drug formularies that the engine derives.

They are keys of owners, texts made of parts, times, and numbers. They are listed in
`etl.mapping.row_columns`; docs/mapping.md says what each means.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import compound_keys, join_lists, over_distinct
from etl.engine.related_rows import DeriveColumn, RelatedRows
from etl.model.canonical_tables import OWNERS, TABLES
from etl.model.relations import RELATIONS, Many

_ALL_DAYS: Final = "mon;tue;wed;thu;fri;sat;sun"
_NAME_PARTS: Final = ("name_prefix", "given_name", "middle_name", "family_name", "name_suffix")


def memberless_column(partition: RelatedRows, table: str, name: str) -> pa.StringArray:
    """Return a derived column of a table; shape (rows of the table,), null if absent.

    Raises:
        KeyError: no derived column has that name.
    """
    return _DERIVED[table, name](partition)


def _owner_keys(owner_kind: str) -> DeriveColumn:
    """Return a function for an owner's keys, each prefixed with the kind of owner."""
    table = OWNERS.get(owner_kind, owner_kind)
    id_column = "role_id" if owner_kind == "provider_role" else TABLES[table].key[0]
    key_table = "role_in_network" if owner_kind == "provider_role" else table
    return lambda partition: compound_keys(owner_kind, partition.column(key_table, id_column))


def _owner_key(table: str) -> DeriveColumn:
    return lambda partition: compound_keys(
        partition.column(table, "owner"), partition.column(table, "owner_id")
    )


def _telecom_key(table: str, sequence: str) -> DeriveColumn:
    return lambda partition: compound_keys(
        partition.column(table, "owner"),
        partition.column(table, "owner_id"),
        partition.column(table, sequence),
    )


def _owner_availability(partition: RelatedRows, *, absences: bool) -> pa.StringArray:
    """Return owner keys for rows about the owner's hours or absences; else null."""
    is_about_owner = pc.is_null(partition.column("availability", "telecom_sequence"))
    is_absence = pc.is_valid(partition.column("availability", "not_available_text"))
    is_selected = pc.and_(is_about_owner, is_absence if absences else pc.invert(is_absence))
    return pc.if_else(is_selected, _owner_key("availability")(partition), None)


def _full_name(partition: RelatedRows) -> pa.StringArray:
    parts = [partition.column("directory_practitioner", part) for part in _NAME_PARTS]
    return _join(parts, " ")


def _address_text(table: str) -> DeriveColumn:
    def text(partition: RelatedRows) -> pa.StringArray:
        def cell(name: str) -> pa.StringArray:
            return partition.column(table, name)

        state_and_code = _join([cell("state"), cell("postal_code")], " ")
        address_parts = [cell(name) for name in ("address_line", "address_line_2", "city")]
        return _join([*address_parts, state_and_code], ", ")

    return text


def _region_base64(table: str) -> DeriveColumn:
    """Return a function that converts GeoJSON to FHIR's base64Binary."""

    def encoded(partition: RelatedRows) -> pa.StringArray:
        texts = partition.column(table, "region_geojson").to_pylist()
        return pa.array(
            [None if text is None else b64encode(text.encode()).decode() for text in texts],
            pa.string(),
        )

    return encoded


def _availability_exceptions(partition: RelatedRows) -> pa.StringArray:
    """Return a location's exceptions to its hours, including its absences."""
    stated_exceptions = partition.column("location", "availability_exceptions")
    relation = RELATIONS["location"]["absences"]
    if not isinstance(relation, Many):
        raise AssertionError(relation)
    children = partition.children("location", relation)
    if not len(children.rows):
        return stated_exceptions
    absence_rows = pa.array(children.rows)
    reason, first_day, last_day = (
        partition.column("availability", f"not_available_{name}").take(absence_rows)
        for name in ("text", "from", "to")
    )
    date_ranges = pc.binary_join_element_wise(" (", _join([first_day, last_day], " to "), ")", "")
    absence_texts = _join([reason, date_ranges], "")
    counts = np.diff(children.starts)
    absences = join_lists(absence_texts, counts, "; ")
    return _join([stated_exceptions, pc.if_else(pc.equal(absences, ""), None, absences)], "; ")


def _join(parts: Sequence[pa.StringArray], separator: str) -> pa.StringArray:
    """Join the non-null parts of each row; null if all are null.

    Arrow leaves out rows in which every part is null, so each row begins with an empty part.
    """
    empty_part = pa.repeat("", len(parts[0])).cast(pa.string())
    joined_texts = pc.binary_join_element_wise(empty_part, *parts, separator, null_handling="skip")
    texts = pc.utf8_slice_codeunits(joined_texts, len(separator))
    return pc.if_else(pc.equal(texts, ""), None, texts)


def _fhir_time(column_name: str) -> DeriveColumn:
    """Return a function that converts `HH:MM` to a FHIR time."""

    def time(partition: RelatedRows) -> pa.StringArray:
        texts = partition.column("availability", column_name)
        is_time = pc.match_substring_regex(texts, r"^([01][0-9]|2[0-3]):[0-5][0-9]$")
        times = pc.binary_join_element_wise(texts, ":00", "")
        return pc.if_else(is_time, times, None)

    return time


def _contact_role_key(partition: RelatedRows) -> pa.StringArray:
    """Return the key of the role through which a telecom is reached."""
    role_ids = partition.column("role_in_network", "role_id")
    role_keys = partition.column("role_in_network", "key")
    via_owners = pc.utf8_lower(partition.column("telecom", "via_owner"))
    is_role = pc.equal(via_owners, "provider_role")
    via_role_ids = pc.if_else(is_role, partition.column("telecom", "via_id"), None)
    return role_keys.take(pc.index_in(via_role_ids, value_set=role_ids, skip_nulls=True))


def _role_key(partition: RelatedRows) -> pa.StringArray:
    network = pc.fill_null(partition.column("role_in_network", "network_id"), "")
    return compound_keys(partition.column("role_in_network", "role_id"), network)


def _pharmacy_key(partition: RelatedRows) -> pa.StringArray:
    """Return plan and kind of pharmacy, which is compared by its code."""
    crosswalk = partition.crosswalks["drug-formulary/PharmacyBenefitTypeVS"]
    codes = over_distinct(
        partition.column("formulary_cost", "pharmacy_type"),
        lambda words: [crosswalk.answer(word) or word for word in words],
    )
    return compound_keys(partition.column("formulary_cost", "plan_id"), codes)


def _limit_count(partition: RelatedRows) -> pa.StringArray:
    """Return the limits that are whole numbers above 0."""
    amounts = partition.column("formulary_item", "limit_amount")
    is_count = pc.match_substring_regex(amounts, r"^[1-9][0-9]{0,8}(\.0+)?$")
    whole = pc.replace_substring_regex(amounts, pattern=r"\.0+$", replacement="")
    return pc.if_else(is_count, whole, None)


_DERIVED: Final[Mapping[tuple[str, str], DeriveColumn]] = {
    **{
        ("role_in_network" if owner == "provider_role" else table, f"{owner}_key"): _owner_keys(
            owner
        )
        for owner, table in OWNERS.items()
    },
    ("directory_practitioner", "full_name"): _full_name,
    **{
        (table, "address_text"): _address_text(table)
        for table in ("directory_organization", "directory_practitioner", "location")
    },
    ("location", "region_base64"): _region_base64("location"),
    ("location", "exceptions_text"): _availability_exceptions,
    ("role_in_network", "key"): _role_key,
    ("qualification", "owner_key"): _owner_key("qualification"),
    ("telecom", "owner_key"): _owner_key("telecom"),
    ("telecom", "telecom_key"): _telecom_key("telecom", "sequence"),
    ("telecom", "via_role_key"): _contact_role_key,
    ("availability", "hours_key"): lambda partition: _owner_availability(partition, absences=False),
    ("availability", "absence_key"): lambda partition: _owner_availability(
        partition, absences=True
    ),
    ("availability", "telecom_key"): _telecom_key("availability", "telecom_sequence"),
    ("availability", "open_days"): lambda partition: pc.fill_null(
        partition.column("availability", "days"), _ALL_DAYS
    ),
    ("availability", "opening"): _fhir_time("opens"),
    ("availability", "closing"): _fhir_time("closes"),
    ("formulary_area", "region_base64"): _region_base64("formulary_area"),
    ("formulary_cost", "pharmacy_key"): _pharmacy_key,
    ("formulary_item", "limit_count"): _limit_count,
}
