"""Payers, and the organizations and practitioners of a region.

Every thousand members form a region with its own directory, so a member's providers depend only on
the member's index, and only one region at a time is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from etl.synth import names
from etl.synth.names import State, read_toml
from etl.synth.seeded_random import Dice, Purpose, draw_timestamp, iso_date
from etl.synth.spec import Spec

Row = dict[str, str]
OrganizationIds = dict[str, tuple[str, ...]]
"""Role -> organization ids."""

REGION_SIZE: Final = 1000

DIRECTORY_DATA: Final = read_toml("directory")

MEDICAL_PAYERS: Final = ("PAY0001", "PAY0002", "PAY0003")
PAYER_NAMES: Final[dict[str, str]] = {
    f"PAY{number:04d}": name for number, name in enumerate(DIRECTORY_DATA["payers"], start=1)
}


@dataclass(frozen=True, slots=True)
class PractitionerKind:
    """A kind of practitioner.

    Attributes:
        role: its name in this package.
        taxonomy: NUCC Health Care Provider Taxonomy code, ten characters.
        specialty: text of the column `specialty`.
        count: number per region.
        workplace: role of the organizations that they work for; empty if self-employed.
    """

    role: str
    taxonomy: str
    specialty: str
    count: int
    workplace: str


PRACTITIONER_KINDS: Final = tuple(PractitionerKind(*entry) for entry in DIRECTORY_DATA["trades"])
PRACTITIONERS: Final = sum(kind.count for kind in PRACTITIONER_KINDS)
"""Number of practitioners of a region."""


@dataclass(frozen=True, slots=True)
class OrganizationKind:
    """A kind of organization, as `directory.toml` describes it.

    Attributes:
        organization, location, service, hours: cells that only this kind has.
        networks: the networks that it can be in; empty for all medical ones.
    """

    role: str
    kind: str
    count: int
    name: str
    codes: Row
    organization: Row = field(default_factory=dict)
    location: Row = field(default_factory=dict)
    service: Row = field(default_factory=dict)
    hours: Row = field(default_factory=dict)
    networks: tuple[str, ...] = ()


ORGANIZATION_KINDS: Final = tuple(OrganizationKind(**entry) for entry in DIRECTORY_DATA["places"])


@dataclass(frozen=True, slots=True)
class Doctor:
    """A practitioner as named in a claim."""

    identifier: str
    npi: str
    taxonomy: str


@dataclass(frozen=True, slots=True)
class Region:
    """One region's directory.

    Attributes:
        number: index of the region, from 0.
        state: the state that it is in.
        doctors: role -> its practitioners.
        organization_ids: role -> organization ids.
        organizations, practitioners: the rows, in order.
        practitioner_names: name and gender of each row of `practitioners`, as cells.
    """

    number: int
    state: State
    doctors: dict[str, tuple[Doctor, ...]]
    organization_ids: OrganizationIds
    organizations: tuple[Row, ...]
    practitioners: tuple[Row, ...]
    practitioner_names: tuple[Row, ...]


def draw_address(dice: Dice, state: State) -> Row:
    """Return the cells of a made-up address (MapIDs 158, 192, 125, 126, 131, 127)."""
    town, county = dice.pick(state.towns)
    row = {"address_line": f"{dice.between(1, 1999)} {dice.pick(names.STREETS)}"}
    if dice.chance(250):
        row["address_line_2"] = dice.pick(names.SECOND_LINES)
    zip_code = f"{dice.pick(state.zips)}{dice.below(100):02d}"
    if dice.chance(120):
        zip_code += f"-{dice.below(10_000):04d}"
    row |= {"city": town, "county": county, "state": state.code, "postal_code": zip_code}
    row["country"] = "US"
    return row


def payer_rows(spec: Spec) -> list[Row]:
    """Return the organization rows of the payers."""
    dice = Dice(spec.seed, Purpose.REGION, -1)
    rows = []
    for number, (identifier, name) in enumerate(PAYER_NAMES.items(), start=1):
        row = {
            "record_action": "A",
            "organization_id": identifier,
            "kind": "payer",
            "tax_id": names.make_tax_id(9_000_000 + number),
            "naic": f"00{900 + number}",
            "payer_code": f"{name[:3].upper()}{number:02d}",
            "name": name,
            "phone": names.make_phone("800", number),
            "active": "Y",
        }
        row |= draw_address(dice, names.STATES[number % len(names.STATES)])
        del row["county"]
        if number == 1:
            row["npi"] = names.make_npi(99_000_000 + number)
            row["address_line_2"] = names.SECOND_LINES[0]
        row["last_updated"] = iso_date(spec.as_of.toordinal() - dice.below(900))
        rows.append(row)
    return rows


@lru_cache(maxsize=4)
def region_of(spec: Spec, number: int) -> Region:
    """Return a region's directory on day 0."""
    dice = Dice(spec.seed, Purpose.REGION, number)
    state = names.STATES[number % len(names.STATES)]
    organization_ids: OrganizationIds = {}
    organizations: list[Row] = []
    for kind in ORGANIZATION_KINDS:
        rows = [_draw_organization(spec, dice, number, state, kind) for _ in range(kind.count)]
        for row in rows:
            serial = number * 100 + len(organizations) + 1
            row["organization_id"] = f"ORG{serial:06d}"
            row["npi"] = names.make_npi(serial)
            row["tax_id"] = names.make_tax_id(serial)
            if kind.role in {"laboratory", "hospital"}:
                row["clia"] = names.make_clia(serial)
            organizations.append(row)
        organization_ids[kind.role] = tuple(row["organization_id"] for row in rows)
    practitioners: list[Row] = []
    practitioner_names: list[Row] = []
    doctors: dict[str, tuple[Doctor, ...]] = {}
    for specialty in PRACTITIONER_KINDS:
        rows = []
        for _ in range(specialty.count):
            serial = number * 100 + len(practitioners) + 1
            row, name = _draw_practitioner(spec, dice, serial, state, specialty, organization_ids)
            practitioners.append(row)
            practitioner_names.append(name)
            rows.append(row)
        doctors[specialty.role] = tuple(
            Doctor(row["practitioner_id"], row["npi"], specialty.taxonomy) for row in rows
        )
    all_rows = (tuple(organizations), tuple(practitioners), tuple(practitioner_names))
    return Region(number, state, doctors, organization_ids, *all_rows)


def _draw_organization(
    spec: Spec, dice: Dice, number: int, state: State, kind: OrganizationKind
) -> Row:
    row = {"record_action": "A", "kind": kind.kind}
    row |= draw_address(dice, state)
    del row["county"]
    row["name"] = f"{kind.name} of {row['city']}" if number == 0 else f"{kind.name} {number}"
    row["phone"] = names.make_phone(state.area, dice.below(100))
    row["active"] = "N" if dice.chance(30) else "Y"
    row["last_updated"] = iso_date(spec.as_of.toordinal() - dice.below(1500))
    return row


def _draw_practitioner(
    spec: Spec, dice: Dice, serial: int, state: State, kind: PractitionerKind, ids: OrganizationIds
) -> tuple[Row, Row]:
    heritage = dice.pick(names.HERITAGES)
    family = dice.pick(heritage.families)
    is_woman = dice.chance(500)
    given = dice.pick(heritage.women if is_woman else heritage.men)
    row = {
        "record_action": "A",
        "practitioner_id": f"PRC{serial:07d}",
        "npi": names.make_npi(50_000_000 + serial),
        "active": "N" if dice.chance(20) else "Y",
        "taxonomy_code": kind.taxonomy,
        "specialty": kind.specialty,
        "phone": names.make_phone(state.area, dice.below(100)),
    }
    name = {"name_prefix": "Dr.", "family_name": family, "given_name": given}
    if serial % 9 == 4:
        row["full_name"] = f"{given} {family}, M.D."
    else:
        row |= name
        if dice.chance(300):
            row["middle_name"] = "Q."
        if dice.chance(200):
            row["name_suffix"] = "D.D.S." if kind.workplace == "dental" else "M.D., F.A.C.P."
    if kind.workplace:
        row["organization_id"] = dice.pick(ids[kind.workplace])
    else:
        row["tax_id"] = names.make_tax_id(5_000_000 + serial)
    row |= draw_address(dice, state)
    del row["county"]
    row["last_updated"] = iso_date(spec.as_of.toordinal() - dice.below(1500))
    return row, name | {"gender": "F" if is_woman else "M"}


def practitioners_on_day(spec: Spec, region_number: int, day: int) -> Iterator[tuple[Row, int]]:
    """Yield a region's practitioners on a day, and the day on which each last changed.

    Every day, one practitioner of each region gets a new telephone number.
    """
    region = region_of(spec, region_number)
    changed: dict[int, tuple[int, Row]] = {}
    for today in range(1, day + 1):
        dice = Dice(spec.seed, Purpose.DIRECTORY_DAY, region_number, today)
        index = dice.below(len(region.practitioners))
        row = dict(region.practitioners[index])
        row["phone"] = names.make_phone(region.state.area, dice.below(100))
        row["last_updated"] = draw_timestamp(dice, spec.as_of.toordinal() + today)
        changed[index] = (today, row)
    for index, row in enumerate(region.practitioners):
        today, current_row = changed.get(index, (0, row))
        yield current_row, today
