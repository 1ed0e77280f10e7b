"""Quality of a provider directory: what is in no network, closed, old, misplaced or there twice.

All figures are of accepted rows, that is of what is published. docs/reports.md has them for people.
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
"""Tables of which a row is an entry of its own -> what people call these; others are parts."""
ACCEPTING: Final = ("newpt", "existptfam", "existptonly", "nopt")
"""Codes of AcceptingPatientsCS: all; those of a patient's family; none but patients; nobody."""
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
"""Rows behind a figure; `group` numbers rows that are the same entry, and is null elsewhere."""

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
        rows: how many there are: the sum of the next four.
        recent: of `RECENT_DAYS` at most, or of a day to come.
        aging: older, of `OLD_DAYS` at most.
        old: older than that.
        undated: without a date.
        oldest: the first date; None where there is none.
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
    """Entries that lead to a network, and those that do not.

    Attributes:
        practitioners: how many there are.
        practitioners_without_role: in no role.
        practitioners_without_network: in no role that is in a network; those without a role too.
        organizations: those that give care: facilities, groups, atypical providers.
        organizations_without_network: of which neither an affiliation nor a role is in a network,
            nor of one that they are part of.
        roles: how many there are.
        roles_without_network: in no network.
        plans: how many there are.
        plans_without_network: without one.
        networks: how many there are.
        networks_without_provider: in which no role and no organization is.
        networks_without_plan: of no plan.
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
    """One network.

    Attributes:
        network: its key.
        name: its name.
        plans: plans that have it.
        organizations: organizations with an affiliation in it.
        practitioners: practitioners with a role in it.
        roles: roles in it, a PractitionerRole each.
        accepting: code of `ACCEPTING` -> how many of the roles say so; all codes, in order.
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
    """Addresses of a table; areas are left out, and addresses outside the USA.

    Attributes:
        table: the table.
        rows: how many there are.
        absent: without any part of an address.
        incomplete: with some part, and not all of `ADDRESS_PARTS`.
        missing: part -> how many of the incomplete ones lack it.
        impossible: with one of the faults that follow, or several.
        zip_shape: the ZIP code has not five or nine digits.
        zip_elsewhere: the ZIP code has that many, and is of another state.
        half_position: a latitude without a longitude, or the other way round.
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
    """Rows that seem to be one entry.

    Attributes:
        table: the table.
        by: `npi`; or `name-and-address`, where one of the rows at least has no NPI.
        groups: entries that are there several times.
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
        day: from which ages are counted.
        ages: by table.
        coverage: of practitioners, organizations, plans and networks.
        networks: each one, in the order of keys.
        addresses: by table.
        duplicates: by table and what they have in common.
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
    """Return the figures of a directory, and the rows behind them (`PLACES_SCHEMA`).

    Args:
        tables: accepted rows, each table in the order of its key.
        roles: roles in their networks (`role_in_network`).
        crosswalks: those of the directory's mappings.
        day: from which ages are counted.
    """
    rows = _Rows(tables)
    networks = tuple(_networks(rows, roles, crosswalks["plan-net/AcceptingPatientsVS"]))
    quality = DirectoryQuality(
        day,
        tuple(_ages(rows, name, day) for name in ENTRIES),
        _coverage(rows, roles, networks, crosswalks["plan-net/OrgTypeVS"]),
        networks,
        tuple(_addresses(rows, name, crosswalks["state_area"]) for name in _ADDRESSED),
        tuple(_duplicates(rows)),
    )
    return quality, rows.places()


class _Rows:
    """Tables of a directory, and the rows that were found in them."""

    def __init__(self, tables: Mapping[str, pa.Table]) -> None:
        self.tables = tables
        self._found: list[pa.Table] = []

    def count(self, table: str) -> int:
        return int(self.tables[table].num_rows)

    def column(self, table: str, name: str) -> pa.StringArray:
        return column_of(self.tables[table], name)

    def filled(self, table: str, name: str) -> Bools:
        return true_where(pc.is_valid(self.column(table, name)))

    def keys(self, table: str) -> pa.StringArray:
        return self.column(table, TABLES[table].key[0])

    def found(self, table: str, figure: str, where: Bools, groups: Indices | None = None) -> int:
        """Keep the places of rows, and return how many they are."""
        at = np.flatnonzero(where)
        if len(at):
            file, row = places_of(self.tables[table])
            self._found.append(
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

    def places(self) -> pa.Table:
        """Return all places that were kept, by file and row."""
        whole = pa.concat_tables([PLACES_SCHEMA.empty_table(), *self._found])
        return whole.sort_by([(name, "ascending") for name in ("file", "row", "table", "figure")])


# Age ---------------------------------------------------------------------------------------------


def _ages(rows: _Rows, table: str, day: date) -> EntryAges:
    texts = pc.utf8_slice_codeunits(rows.column(table, "last_updated"), 0, _DAY)
    days = read_dates(texts).days
    dated = days != NO_DAY
    ages = (day - date(1970, 1, 1)).days - days.astype(np.int64)
    old = dated & (ages > OLD_DAYS)
    aging = dated & (ages > RECENT_DAYS) & ~old
    oldest = None
    if dated.any():
        oldest = date(1970, 1, 1) + timedelta(int(days[dated].min()))
    return EntryAges(
        table,
        rows.count(table),
        int((dated & ~old & ~aging).sum()),
        rows.found(table, f"older-than-{RECENT_DAYS}-days", aging),
        rows.found(table, f"older-than-{OLD_DAYS}-days", old),
        rows.found(table, "undated", ~dated),
        oldest,
    )


# Networks ----------------------------------------------------------------------------------------


def _networks(rows: _Rows, roles: pa.Table, accepting: Crosswalk) -> Iterator[NetworkCounts]:
    keys, names = rows.keys("network"), rows.column("network", "name")
    size = len(keys)
    inside = positions(column_of(roles, "network_id"), keys)
    practitioners = positions(
        column_of(roles, "practitioner_id"), rows.keys("directory_practitioner")
    )
    of_list, owners = list_values(rows.column("affiliation", "network_ids"))
    participants = positions(
        rows.column("affiliation", "participating_organization_id"),
        rows.keys("directory_organization"),
    )
    of_plan, plans = list_values(rows.column("insurance_plan", "network_ids"))
    flags = over_distinct(
        column_of(roles, "accepts_new_patients"), lambda words: map(accepting.answer, words)
    )
    counts = {
        "plans": _distinct(positions(of_plan, keys), plans, size),
        "organizations": _distinct(positions(of_list, keys), participants[owners], size),
        "practitioners": _distinct(inside, practitioners, size),
        "roles": np.bincount(inside[inside >= 0], minlength=size),
    }
    by_code = {
        code: np.bincount(inside[(inside >= 0) & true_where(pc.equal(flags, code))], minlength=size)
        for code in ACCEPTING
    }
    rows.found(
        "network", "network-without-provider", (counts["roles"] + counts["organizations"]) == 0
    )
    rows.found("network", "network-without-plan", counts["plans"] == 0)
    for at, (key, name) in enumerate(zip(keys.to_pylist(), names.to_pylist(), strict=True)):
        yield NetworkCounts(
            key,
            name,
            **{what: int(of[at]) for what, of in counts.items()},
            accepting={code: int(of[at]) for code, of in by_code.items()},
        )


def _distinct(of: Indices, what: Indices, size: int) -> Indices:
    """Return how many different things belong to each of `size`; -1 is none."""
    there = (of >= 0) & (what >= 0)
    pairs = np.unique(np.stack([of[there], what[there]]), axis=1)
    return np.bincount(pairs[0], minlength=size)


def _coverage(
    rows: _Rows, roles: pa.Table, networks: Iterable[NetworkCounts], types: Crosswalk
) -> NetworkCoverage:
    networks = tuple(networks)
    inside = roles.filter(pc.is_valid(column_of(roles, "network_id")))
    people, organizations = "directory_practitioner", "directory_organization"
    without_role = ~_named(rows.keys(people), roles, "practitioner_id")
    without_network = ~_named(rows.keys(people), inside, "practitioner_id")
    affiliations = rows.tables["affiliation"]
    affiliations = affiliations.filter(pc.is_valid(column_of(affiliations, "network_ids")))
    keys = rows.keys(organizations)
    covered = _named(keys, inside, "organization_id")
    covered |= _named(keys, affiliations, "participating_organization_id")
    care = _of_types(rows.column(organizations, "type"), types)
    outside = care & ~_inherited(covered, _parents(rows))
    networkless = ~_named(rows.keys("provider_role"), inside, "role_id")
    planless = ~rows.filled("insurance_plan", "network_ids")
    return NetworkCoverage(
        rows.count(people),
        rows.found(people, "practitioner-without-role", without_role),
        rows.found(people, "practitioner-without-network", without_network),
        int(care.sum()),
        rows.found(organizations, "organization-without-network", outside),
        rows.count("provider_role"),
        rows.found("provider_role", "role-without-network", networkless),
        rows.count("insurance_plan"),
        rows.found("insurance_plan", "plan-without-network", planless),
        len(networks),
        sum(not (each.roles or each.organizations) for each in networks),
        sum(not each.plans for each in networks),
    )


def _named(keys: pa.StringArray, table: pa.Table, column: str) -> Bools:
    """Return which keys a column names."""
    return true_where(pc.is_in(keys, value_set=column_of(table, column).drop_null()))


def _of_types(column: pa.StringArray, types: Crosswalk) -> Bools:
    """Return which organizations give care; shape (n,)."""
    words, owners = list_values(column)
    codes = over_distinct(words, lambda texts: map(types.answer, texts))
    is_of_type = np.zeros(len(column), dtype=bool)
    is_of_type[owners[true_where(pc.is_in(codes, value_set=pa.array(_PROVIDERS)))]] = True
    return is_of_type


def _parents(rows: _Rows) -> Indices:
    """Return the position of what each organization is part of; its own where of nothing."""
    table = "directory_organization"
    parent = positions(rows.column(table, "part_of_id"), rows.keys(table))
    return np.where(parent >= 0, parent, np.arange(len(parent)))


def _inherited(where: Bools, parents: Indices) -> Bools:
    """Return where it holds of a row, or of one that it is a part of in some steps."""
    for _ in range(len(parents).bit_length() + 1):
        where, parents = where | where[parents], parents[parents]
    return where


def _roots(parents: Indices) -> Indices:
    """Return the last of the chain of each row."""
    for _ in range(len(parents).bit_length() + 1):
        parents = parents[parents]
    return parents


# Addresses ---------------------------------------------------------------------------------------


def _addresses(rows: _Rows, table: str, states: Crosswalk) -> AddressCounts:
    country = rows.column(table, "country")
    home = pc.is_in(pc.utf8_lower(country), value_set=pa.array(_USA))
    looked_at = true_where(pc.or_(pc.is_null(country), home))
    if table == "location":
        looked_at &= ~_areas(rows)
    filled = {part: rows.filled(table, part) for part in ADDRESS_PARTS}
    some = np.logical_or.reduce(list(filled.values()))
    incomplete = looked_at & some & ~np.logical_and.reduce(list(filled.values()))
    state, zips = rows.column(table, "state"), rows.column(table, "postal_code")
    latitude, longitude = rows.column(table, "latitude"), rows.column(table, "longitude")
    high, wide = degrees(latitude), degrees(longitude)
    zero = (high == 0) & (wide == 0)
    shaped = true_where(pc.match_substring_regex(zips, _ZIP))
    faults = {
        "zip_shape": filled["postal_code"] & ~shaped,
        "zip_elsewhere": zip_outside(states, state, zips) & shaped,
        "half_position": np.isnan(high) != np.isnan(wide),
        "zero_position": zero,
        "position_elsewhere": position_outside(states, state, latitude, longitude) & ~zero,
    }
    faults = {name: where & looked_at for name, where in faults.items()}
    return AddressCounts(
        table,
        int(looked_at.sum()),
        int((looked_at & ~some).sum()),
        rows.found(table, "address-incomplete", incomplete),
        {part: int((incomplete & ~filled[part]).sum()) for part in ADDRESS_PARTS},
        int(np.logical_or.reduce(list(faults.values())).sum()),
        **{
            name: rows.found(table, name.replace("_", "-"), where) for name, where in faults.items()
        },
    )


def _areas(rows: _Rows) -> Bools:
    """Return which rows of `location` are areas: those that a column of areas names."""
    named = [list_values(rows.column(table, column))[0] for table, column in _AREAS]
    return true_where(pc.is_in(rows.keys("location"), value_set=pa.concat_arrays(named)))


# Duplicates --------------------------------------------------------------------------------------


def _duplicates(rows: _Rows) -> Iterator[Duplicates]:
    people, organizations = "directory_practitioner", "directory_organization"
    # Departments may well have the number of what they are part of.
    of = {people: np.arange(rows.count(people)), organizations: _roots(_parents(rows))}
    for table, owners in of.items():
        codes = _codes(rows.column(table, "npi"))
        pairs = np.unique(np.stack([codes, owners]), axis=1)[0]
        several = np.bincount(pairs[pairs >= 0], minlength=_size(codes)) > 1
        yield _grouped(rows, table, "npi", codes, several)
    for table in _ADDRESSED:
        codes = _codes(_names_and_addresses(rows, table))
        several = np.bincount(codes[codes >= 0], minlength=_size(codes)) > 1
        if table in of:  # rows with a number each are different, whatever their name
            unnumbered = codes[~rows.filled(table, "npi")]
            several &= np.bincount(unnumbered[unnumbered >= 0], minlength=_size(codes)) > 0
        yield _grouped(rows, table, "name-and-address", codes, several)


def _codes(keys: pa.StringArray) -> Indices:
    """Return a number for each text, in the order in which they first occur; -1 for none."""
    indices = pc.fill_null(keys.dictionary_encode().indices, -1)
    return np.asarray(indices, dtype=np.int64)


def _size(codes: Indices) -> int:
    return int(codes.max(initial=-1)) + 1


def _grouped(rows: _Rows, table: str, by: str, codes: Indices, several: Bools) -> Duplicates:
    where = (codes >= 0) & np.append(several, False)[codes]
    groups = np.append(np.cumsum(several), 0)[codes]
    return Duplicates(table, by, int(several.sum()), rows.found(table, f"same-{by}", where, groups))


def _names_and_addresses(rows: _Rows, table: str) -> pa.StringArray:
    """Return name and address as they are compared; null where either is not there."""

    def text(name: str) -> Any:
        plain = pc.replace_substring_regex(
            pc.utf8_lower(rows.column(table, name)), r"[\s.,'#-]+", " "
        )
        return pc.fill_null(pc.utf8_trim_whitespace(plain), "")

    where = pc.utf8_slice_codeunits(text("postal_code"), 0, 5)
    where = pc.if_else(pc.equal(where, ""), text("city"), where)
    parts = [*map(text, _NAMES[table]), text("address_line"), text("address_line_2"), where]
    there = [parts[0], text("address_line"), where]
    known = np.logical_and.reduce([true_where(pc.not_equal(part, "")) for part in there])
    keys = pc.binary_join_element_wise(*parts, "\x1f")
    return pc.if_else(pa.array(known), keys, pa.scalar(None, pa.string()))
