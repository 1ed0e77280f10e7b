"""Measure the quality of a provider directory: networks, ages, addresses and duplicates.

All figures are about accepted rows, which are published. docs/reports.md explains them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, Indices, column_of, list_values, over_distinct, true_where
from etl.columns.dates import NO_DAY, read_dates
from etl.columns.navigation import positions
from etl.columns.places import places_of
from etl.model.canonical_tables import TABLES
from etl.model.crosswalks import Crosswalk
from etl.quality.checks.directory import degrees, position_outside, zip_outside

ENTRIES: Final = {
    "directory_organization": "organizations",
    "directory_practitioner": "practitioners",
    "network": "networks",
    "insurance_plan": "plans",
    "location": "places",
    "healthcare_service": "services",
    "provider_role": "roles",
    "affiliation": "affiliations",
    "endpoint": "endpoints",
}
"""Tables whose rows are entries -> what people call them; rows of other tables are parts."""
ACCEPTING: Final = ("newpt", "existptfam", "existptonly", "nopt")
"""Codes of AcceptingPatientsCS: all; patients' families; existing patients only; nobody."""
ADDRESS_PARTS: Final = ("address_line", "city", "state", "postal_code")
RECENT_DAYS, OLD_DAYS = 30, 90
"""Days of 42 CFR 422.120(b), and of section 2799A-5(a)(2) of the Public Health Service Act."""

PLACES_SCHEMA: Final = pa.schema(
    [
        ("file", pa.int64()),
        ("row", pa.int64()),
        ("table", pa.string()),
        ("figure", pa.string()),
        ("group", pa.int64()),
    ]
)
"""Rows behind a figure; `group` numbers duplicates of one entry, and is null otherwise."""

_ADDRESSED: Final = ("directory_organization", "directory_practitioner", "location")
_PROVIDERS: Final = ("fac", "prvgrp", "atyprv")
"""Types of organizations that give care."""
_USA: Final = ("us", "usa")
_ZIP: Final = r"^[0-9]{5}(-[0-9]{4})?$"
_DAY: Final = len("2026-01-01")
_AREAS: Final = (
    ("network", "area_location_ids"),
    ("insurance_plan", "area_location_ids"),
    ("insurance_plan", "plan_area_location_ids"),
    ("healthcare_service", "area_location_ids"),
)
_NAMES: Final = {
    "directory_organization": ("name",),
    "directory_practitioner": ("family_name", "given_name"),
    "location": ("name",),
}


@dataclass(frozen=True, slots=True)
class EntryAges:
    """Entries of a table by the age of their `last_updated`.

    Attributes:
        table: the table.
        rows: all rows: the sum of the next four.
        recent: at most `RECENT_DAYS` old, or in the future.
        aging: older, but at most `OLD_DAYS` old.
        old: older than that.
        undated: without a date.
        oldest: the earliest date; None if no row has one.
    """

    table: str
    rows: int
    recent: int
    aging: int
    old: int
    undated: int
    oldest: date | None


@dataclass(frozen=True, slots=True)
class NetworkCoverage:
    """Counts of entries with and without a network.

    Attributes:
        practitioners: all practitioners.
        practitioners_without_role: in no role.
        practitioners_without_network: without a role in a network.
        organizations: those that give care: facilities, groups, atypical providers.
        organizations_without_network: neither they nor their parents have an affiliation or a role
            in a network.
        roles: all roles.
        roles_without_network: in no network.
        plans: all plans.
        plans_without_network: without a network.
        networks: all networks.
        networks_without_provider: without roles and organizations.
        networks_without_plan: without plans.
    """

    practitioners: int
    practitioners_without_role: int
    practitioners_without_network: int
    organizations: int
    organizations_without_network: int
    roles: int
    roles_without_network: int
    plans: int
    plans_without_network: int
    networks: int
    networks_without_provider: int
    networks_without_plan: int


@dataclass(frozen=True, slots=True)
class NetworkCounts:
    """Counts of one network.

    Attributes:
        network: its key.
        name: its name.
        plans: plans that have it.
        organizations: organizations with an affiliation in it.
        practitioners: practitioners with a role in it.
        roles: roles in it, a PractitionerRole each.
        accepting: code of `ACCEPTING` -> number of roles with it; all codes, in order.
    """

    network: str
    name: str
    plans: int
    organizations: int
    practitioners: int
    roles: int
    accepting: Mapping[str, int]

    @property
    def unstated(self) -> int:
        """Roles that do not say whether new patients are accepted."""
        return self.roles - sum(self.accepting.values())


@dataclass(frozen=True, slots=True)
class AddressCounts:
    """Counts of a table's addresses in the USA, without areas.

    Attributes:
        table: the table.
        rows: all addresses.
        absent: without any part of an address.
        incomplete: with some, but not all of `ADDRESS_PARTS`.
        missing: part -> how many of the incomplete ones lack it.
        impossible: with at least one of the following faults.
        zip_shape: the ZIP code doesn't have five or nine digits.
        zip_elsewhere: a well-formed ZIP code of another state.
        half_position: a latitude without a longitude, or vice versa.
        zero_position: at 0, 0.
        position_elsewhere: outside the box of its state, and not at 0, 0.
    """

    table: str
    rows: int
    absent: int
    incomplete: int
    missing: Mapping[str, int]
    impossible: int
    zip_shape: int
    zip_elsewhere: int
    half_position: int
    zero_position: int
    position_elsewhere: int


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Counts of rows that seem to be the same entry.

    Attributes:
        table: the table.
        by: `npi`; or `name-and-address` if at least one of the rows has no NPI.
        groups: entries with several rows.
        rows: rows of all groups.
    """

    table: str
    by: str
    groups: int
    rows: int


@dataclass(frozen=True, slots=True)
class DirectoryQuality:
    """Figures of a directory.

    Attributes:
        day: the day that ages are counted from.
        ages: by table.
        coverage: of practitioners, organizations, plans and networks.
        networks: every network, sorted by key.
        addresses: by table.
        duplicates: by table and shared value.
    """

    day: date
    ages: tuple[EntryAges, ...]
    coverage: NetworkCoverage
    networks: tuple[NetworkCounts, ...]
    addresses: tuple[AddressCounts, ...]
    duplicates: tuple[Duplicates, ...]


def directory_quality(
    tables: Mapping[str, pa.Table],
    roles: pa.Table,
    crosswalks: Mapping[str, Crosswalk],
    day: date,
) -> tuple[DirectoryQuality, pa.Table]:
    """Measure a provider directory; also return the rows behind the figures (`PLACES_SCHEMA`).

    Args:
        tables: accepted rows, each table in the order of its key.
        roles: roles in their networks (`role_in_network`).
        crosswalks: those of the provider directory's mappings.
        day: the day that ages are counted from.
    """
    rows = _Rows(tables)
    networks = tuple(_count_networks(rows, roles, crosswalks["plan-net/AcceptingPatientsVS"]))
    quality = DirectoryQuality(
        day,
        tuple(_count_ages(rows, name, day) for name in ENTRIES),
        _count_coverage(rows, roles, networks, crosswalks["plan-net/OrgTypeVS"]),
        networks,
        tuple(_count_addresses(rows, name, crosswalks["state_area"]) for name in _ADDRESSED),
        tuple(_find_duplicates(rows)),
    )
    return quality, rows.positions()


class _Rows:
    """Tables of a provider directory, and the places of notable rows."""

    def __init__(self, tables: Mapping[str, pa.Table]) -> None:
        self.tables = tables
        self._noted: list[pa.Table] = []

    def count(self, table: str) -> int:
        return int(self.tables[table].num_rows)

    def column(self, table: str, name: str) -> pa.StringArray:
        return column_of(self.tables[table], name)

    def filled(self, table: str, name: str) -> Bools:
        return true_where(pc.is_valid(self.column(table, name)))

    def keys(self, table: str) -> pa.StringArray:
        return self.column(table, TABLES[table].key[0])

    def note(self, table: str, figure: str, where: Bools, groups: Indices | None = None) -> int:
        """Record the places of rows and return their number."""
        at = np.flatnonzero(where)
        if len(at):
            file, row = places_of(self.tables[table])
            self._noted.append(
                pa.table(
                    [
                        pa.array(file[at], pa.int64()),
                        pa.array(row[at], pa.int64()),
                        pa.repeat(table, len(at)).cast(pa.string()),
                        pa.repeat(figure, len(at)).cast(pa.string()),
                        pa.nulls(len(at), pa.int64()) if groups is None else pa.array(groups[at]),
                    ],
                    schema=PLACES_SCHEMA,
                )
            )
        return len(at)

    def positions(self) -> pa.Table:
        """Return all recorded places, sorted by file and row."""
        rows = pa.concat_tables([PLACES_SCHEMA.empty_table(), *self._noted])
        return rows.sort_by([(name, "ascending") for name in ("file", "row", "table", "figure")])


# Age ---------------------------------------------------------------------------------------------


def _count_ages(rows: _Rows, table: str, day: date) -> EntryAges:
    update_texts = pc.utf8_slice_codeunits(rows.column(table, "last_updated"), 0, _DAY)
    days = read_dates(update_texts).days
    dated = days != NO_DAY
    ages = (day - date(1970, 1, 1)).days - days.astype(np.int64)
    is_old = dated & (ages > OLD_DAYS)
    aging = dated & (ages > RECENT_DAYS) & ~is_old
    oldest = None
    if dated.any():
        oldest = date(1970, 1, 1) + timedelta(int(days[dated].min()))
    return EntryAges(
        table,
        rows.count(table),
        int((dated & ~is_old & ~aging).sum()),
        rows.note(table, f"older-than-{RECENT_DAYS}-days", aging),
        rows.note(table, f"older-than-{OLD_DAYS}-days", is_old),
        rows.note(table, "undated", ~dated),
        oldest,
    )


# Networks ----------------------------------------------------------------------------------------


def _count_networks(rows: _Rows, roles: pa.Table, accepting: Crosswalk) -> Iterator[NetworkCounts]:
    keys, names = rows.keys("network"), rows.column("network", "name")
    size = len(keys)
    inside = positions(column_of(roles, "network_id"), keys)
    practitioners = positions(
        column_of(roles, "practitioner_id"), rows.keys("directory_practitioner")
    )
    networks, owners = list_values(rows.column("affiliation", "network_ids"))
    participants = positions(
        rows.column("affiliation", "participating_organization_id"),
        rows.keys("directory_organization"),
    )
    plan_networks, plans = list_values(rows.column("insurance_plan", "network_ids"))
    flags = over_distinct(
        column_of(roles, "accepts_new_patients"), lambda words: map(accepting.answer, words)
    )
    counts = {
        "plans": _count_distinct(positions(plan_networks, keys), plans, size),
        "organizations": _count_distinct(positions(networks, keys), participants[owners], size),
        "practitioners": _count_distinct(inside, practitioners, size),
        "roles": np.bincount(inside[inside >= 0], minlength=size),
    }
    by_code = {
        code: np.bincount(inside[(inside >= 0) & true_where(pc.equal(flags, code))], minlength=size)
        for code in ACCEPTING
    }
    rows.note(
        "network", "network-without-provider", (counts["roles"] + counts["organizations"]) == 0
    )
    rows.note("network", "network-without-plan", counts["plans"] == 0)
    for index, (key, name) in enumerate(zip(keys.to_pylist(), names.to_pylist(), strict=True)):
        yield NetworkCounts(
            key,
            name,
            **{kind: int(values[index]) for kind, values in counts.items()},
            accepting={code: int(values[index]) for code, values in by_code.items()},
        )


def _count_distinct(groups: Indices, members: Indices, size: int) -> Indices:
    """Count the distinct members of each of `size` groups; -1 is none."""
    is_valid = (groups >= 0) & (members >= 0)
    pairs = np.unique(np.stack([groups[is_valid], members[is_valid]]), axis=1)
    return np.bincount(pairs[0], minlength=size)


def _count_coverage(
    rows: _Rows, roles: pa.Table, networks: Iterable[NetworkCounts], types: Crosswalk
) -> NetworkCoverage:
    networks = tuple(networks)
    network_roles = roles.filter(pc.is_valid(column_of(roles, "network_id")))
    people, organizations = "directory_practitioner", "directory_organization"
    without_role = ~_is_referenced(rows.keys(people), roles, "practitioner_id")
    without_network = ~_is_referenced(rows.keys(people), network_roles, "practitioner_id")
    affiliations = rows.tables["affiliation"]
    affiliations = affiliations.filter(pc.is_valid(column_of(affiliations, "network_ids")))
    keys = rows.keys(organizations)
    covered = _is_referenced(keys, network_roles, "organization_id")
    covered |= _is_referenced(keys, affiliations, "participating_organization_id")
    caregivers = _are_caregivers(rows.column(organizations, "type"), types)
    outside = caregivers & ~_inherit(covered, _find_parents(rows))
    is_networkless = ~_is_referenced(rows.keys("provider_role"), network_roles, "role_id")
    is_planless = ~rows.filled("insurance_plan", "network_ids")
    return NetworkCoverage(
        rows.count(people),
        rows.note(people, "practitioner-without-role", without_role),
        rows.note(people, "practitioner-without-network", without_network),
        int(caregivers.sum()),
        rows.note(organizations, "organization-without-network", outside),
        rows.count("provider_role"),
        rows.note("provider_role", "role-without-network", is_networkless),
        rows.count("insurance_plan"),
        rows.note("insurance_plan", "plan-without-network", is_planless),
        len(networks),
        sum(not (each.roles or each.organizations) for each in networks),
        sum(not each.plans for each in networks),
    )


def _is_referenced(keys: pa.StringArray, table: pa.Table, column: str) -> Bools:
    """Return which keys occur in a column."""
    return true_where(pc.is_in(keys, value_set=column_of(table, column).drop_null()))


def _are_caregivers(column: pa.StringArray, types: Crosswalk) -> Bools:
    """Return which organizations give care; shape (n,)."""
    words, owners = list_values(column)
    codes = over_distinct(words, lambda texts: map(types.answer, texts))
    is_of_type = np.zeros(len(column), dtype=bool)
    is_of_type[owners[true_where(pc.is_in(codes, value_set=pa.array(_PROVIDERS)))]] = True
    return is_of_type


def _find_parents(rows: _Rows) -> Indices:
    """Return the index of each organization's parent; its own if it has none."""
    table = "directory_organization"
    parent = positions(rows.column(table, "part_of_id"), rows.keys(table))
    return np.where(parent >= 0, parent, np.arange(len(parent)))


def _inherit(holds: Bools, parents: Indices) -> Bools:
    """Return which rows, or any of their ancestors, are true."""
    for _ in range(len(parents).bit_length() + 1):
        holds, parents = holds | holds[parents], parents[parents]
    return holds


def _find_roots(parents: Indices) -> Indices:
    """Return the topmost ancestor of each row."""
    for _ in range(len(parents).bit_length() + 1):
        parents = parents[parents]
    return parents


# Addresses ---------------------------------------------------------------------------------------


def _count_addresses(rows: _Rows, table: str, states: Crosswalk) -> AddressCounts:
    country = rows.column(table, "country")
    is_american = pc.is_in(pc.utf8_lower(country), value_set=pa.array(_USA))
    is_checked = true_where(pc.or_(pc.is_null(country), is_american))
    if table == "location":
        is_checked &= ~_are_areas(rows)
    filled = {part: rows.filled(table, part) for part in ADDRESS_PARTS}
    has_parts = np.logical_or.reduce(list(filled.values()))
    incomplete = is_checked & has_parts & ~np.logical_and.reduce(list(filled.values()))
    state, zip_codes = rows.column(table, "state"), rows.column(table, "postal_code")
    latitude, longitude = rows.column(table, "latitude"), rows.column(table, "longitude")
    latitudes, longitudes = degrees(latitude), degrees(longitude)
    is_zero = (latitudes == 0) & (longitudes == 0)
    is_zip = true_where(pc.match_substring_regex(zip_codes, _ZIP))
    faults = {
        "zip_shape": filled["postal_code"] & ~is_zip,
        "zip_elsewhere": zip_outside(states, state, zip_codes) & is_zip,
        "half_position": np.isnan(latitudes) != np.isnan(longitudes),
        "zero_position": is_zero,
        "position_elsewhere": position_outside(states, state, latitude, longitude) & ~is_zero,
    }
    faults = {name: where & is_checked for name, where in faults.items()}
    return AddressCounts(
        table,
        int(is_checked.sum()),
        int((is_checked & ~has_parts).sum()),
        rows.note(table, "address-incomplete", incomplete),
        {part: int((incomplete & ~filled[part]).sum()) for part in ADDRESS_PARTS},
        int(np.logical_or.reduce(list(faults.values())).sum()),
        **{name: rows.note(table, name.replace("_", "-"), where) for name, where in faults.items()},
    )


def _are_areas(rows: _Rows) -> Bools:
    """Return which rows of `location` are areas, because another table says so."""
    area_ids = [list_values(rows.column(table, column))[0] for table, column in _AREAS]
    return true_where(pc.is_in(rows.keys("location"), value_set=pa.concat_arrays(area_ids)))


# Duplicates --------------------------------------------------------------------------------------


def _find_duplicates(rows: _Rows) -> Iterator[Duplicates]:
    people, organizations = "directory_practitioner", "directory_organization"
    # Departments may well have the NPI of their organization.
    roots = {people: np.arange(rows.count(people)), organizations: _find_roots(_find_parents(rows))}
    for table, owners in roots.items():
        codes = _number_keys(rows.column(table, "npi"))
        pairs = np.unique(np.stack([codes, owners]), axis=1)[0]
        is_repeated = np.bincount(pairs[pairs >= 0], minlength=_size(codes)) > 1
        yield _summarize(rows, table, "npi", codes, is_repeated)
    for table in _ADDRESSED:
        codes = _number_keys(_name_address_keys(rows, table))
        is_repeated = np.bincount(codes[codes >= 0], minlength=_size(codes)) > 1
        if table in roots:  # rows that all have an NPI differ, whatever their names
            without_npi = codes[~rows.filled(table, "npi")]
            is_repeated &= np.bincount(without_npi[without_npi >= 0], minlength=_size(codes)) > 0
        yield _summarize(rows, table, "name-and-address", codes, is_repeated)


def _number_keys(keys: pa.StringArray) -> Indices:
    """Number the distinct texts in the order in which they first occur; -1 if null."""
    indices = pc.fill_null(keys.dictionary_encode().indices, -1)
    return np.asarray(indices, dtype=np.int64)


def _size(codes: Indices) -> int:
    return int(codes.max(initial=-1)) + 1


def _summarize(rows: _Rows, table: str, by: str, codes: Indices, repeated: Bools) -> Duplicates:
    hits = (codes >= 0) & np.append(repeated, False)[codes]
    groups = np.append(np.cumsum(repeated), 0)[codes]
    return Duplicates(table, by, int(repeated.sum()), rows.note(table, f"same-{by}", hits, groups))


def _name_address_keys(rows: _Rows, table: str) -> pa.StringArray:
    """Build keys of normalized name and address; null if either is missing."""

    def text(name: str) -> Any:
        normalized = pc.replace_substring_regex(
            pc.utf8_lower(rows.column(table, name)), r"[\s.,'#-]+", " "
        )
        return pc.fill_null(pc.utf8_trim_whitespace(normalized), "")

    city = pc.utf8_slice_codeunits(text("postal_code"), 0, 5)
    city = pc.if_else(pc.equal(city, ""), text("city"), city)
    key_parts = [*map(text, _NAMES[table]), text("address_line"), text("address_line_2"), city]
    required = [key_parts[0], text("address_line"), city]
    is_complete = np.logical_and.reduce([true_where(pc.not_equal(part, "")) for part in required])
    keys = pc.binary_join_element_wise(*key_parts, "\x1f")
    return pc.if_else(pa.array(is_complete), keys, pa.scalar(None, pa.string()))
