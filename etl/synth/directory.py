"""Payers, and the organizations and practitioners of a region.

Members are in regions of a thousand, each with a directory of its own. So the providers of a member
depend on the member's index alone, and one region at a time is held in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from etl.synth import names
from etl.synth.names import State, read_data
from etl.synth.seeded_random import Dice, Purpose, iso, stamp
from etl.synth.spec import Spec

Row = dict[str, str]
Places = dict[str, tuple[str, ...]]
"""Role -> organization ids."""

REGION_SIZE: Final = 1000

DIRECTORY_DATA: Final = read_data("directory")

MEDICAL_PAYERS: Final = ("PAY0001", "PAY0002", "PAY0003")
PAYER_NAMES: Final[dict[str, str]] = {
    f"PAY{place:04d}": name for place, name in enumerate(DIRECTORY_DATA["payers"], start=1)
}


@dataclass(frozen=True, slots=True)
class Trade:
    """A kind of practitioner.

    Attributes:
        role: their name in this package.
        taxonomy: NUCC Health Care Provider Taxonomy code, ten characters.
        words: our own words for `specialty`.
        count: how many a region has.
        place: kind of organization they work for; empty for those on their own.
    """

    role: str
    taxonomy: str
    words: str
    count: int
    place: str


TRADES: Final = tuple(Trade(*entry) for entry in DIRECTORY_DATA["trades"])
PRACTITIONERS: Final = sum(trade.count for trade in TRADES)
"""Practitioners of a region."""


@dataclass(frozen=True, slots=True)
class Place:
    """A kind of organization, as `directory.toml` describes it.

    Attributes:
        organization, location, service, hours: cells that only this kind has.
        networks: those that it may be in; none for all medical ones.
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


PLACES: Final = tuple(Place(**entry) for entry in DIRECTORY_DATA["places"])


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
        number: which one, from 0.
        state: where it lies.
        doctors: trade -> its practitioners.
        places: role -> organization ids.
        organizations, practitioners: the rows, in order.
        people: name and gender of each row of `practitioners`, as cells.
    """

    number: int
    state: State
    doctors: dict[str, tuple[Doctor, ...]]
    places: Places
    organizations: tuple[Row, ...]
    practitioners: tuple[Row, ...]
    people: tuple[Row, ...]


def address(dice: Dice, state: State) -> Row:
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
    """Return the organization rows of the payers; they come before every region's."""
    dice = Dice(spec.seed, Purpose.REGION, -1)
    rows = []
    for place, (identifier, name) in enumerate(PAYER_NAMES.items(), start=1):
        row = {
            "record_action": "A",
            "organization_id": identifier,
            "kind": "payer",
            "tax_id": names.tax_id(9_000_000 + place),
            "naic": f"00{900 + place}",
            "payer_code": f"{name[:3].upper()}{place:02d}",
            "name": name,
            "phone": names.phone("800", place),
            "active": "Y",
        }
        row |= address(dice, names.STATES[place % len(names.STATES)])
        del row["county"]
        if place == 1:
            row["npi"] = names.npi(99_000_000 + place)
            row["address_line_2"] = names.SECOND_LINES[0]
        row["last_updated"] = iso(spec.as_of.toordinal() - dice.below(900))
        rows.append(row)
    return rows


@lru_cache(maxsize=4)
def region_of(spec: Spec, number: int) -> Region:
    """Return a region's directory as it was on day 0."""
    dice = Dice(spec.seed, Purpose.REGION, number)
    state = names.STATES[number % len(names.STATES)]
    places: Places = {}
    organizations: list[Row] = []
    for place in PLACES:
        rows = [_organization(spec, dice, number, state, place) for _ in range(place.count)]
        for row in rows:
            serial = number * 100 + len(organizations) + 1
            row["organization_id"] = f"ORG{serial:06d}"
            row["npi"] = names.npi(serial)
            row["tax_id"] = names.tax_id(serial)
            if place.role in {"laboratory", "hospital"}:
                row["clia"] = names.clia(serial)
            organizations.append(row)
        places[place.role] = tuple(row["organization_id"] for row in rows)
    practitioners: list[Row] = []
    people: list[Row] = []
    doctors: dict[str, tuple[Doctor, ...]] = {}
    for trade in TRADES:
        rows = []
        for _ in range(trade.count):
            serial = number * 100 + len(practitioners) + 1
            row, person = _practitioner(spec, dice, serial, state, trade, places)
            practitioners.append(row)
            people.append(person)
            rows.append(row)
        doctors[trade.role] = tuple(
            Doctor(row["practitioner_id"], row["npi"], trade.taxonomy) for row in rows
        )
    rows_by_kind = (tuple(organizations), tuple(practitioners))
    return Region(number, state, doctors, places, *rows_by_kind, tuple(people))


def _organization(spec: Spec, dice: Dice, number: int, state: State, place: Place) -> Row:
    row = {"record_action": "A", "kind": place.kind}
    row |= address(dice, state)
    del row["county"]
    row["name"] = f"{place.name} of {row['city']}" if number == 0 else f"{place.name} {number}"
    row["phone"] = names.phone(state.area, dice.below(100))
    row["active"] = "N" if dice.chance(30) else "Y"
    row["last_updated"] = iso(spec.as_of.toordinal() - dice.below(1500))
    return row


def _practitioner(
    spec: Spec, dice: Dice, serial: int, state: State, trade: Trade, places: Places
) -> tuple[Row, Row]:
    heritage = dice.pick(names.HERITAGES)
    family = dice.pick(heritage.families)
    is_woman = dice.chance(500)
    given = dice.pick(heritage.women if is_woman else heritage.men)
    row = {
        "record_action": "A",
        "practitioner_id": f"PRC{serial:07d}",
        "npi": names.npi(50_000_000 + serial),
        "active": "N" if dice.chance(20) else "Y",
        "taxonomy_code": trade.taxonomy,
        "specialty": trade.words,
        "phone": names.phone(state.area, dice.below(100)),
    }
    name = {"name_prefix": "Dr.", "family_name": family, "given_name": given}
    if serial % 9 == 4:
        row["full_name"] = f"{given} {family}, M.D."
    else:
        row |= name
        if dice.chance(300):
            row["middle_name"] = "Q."
        if dice.chance(200):
            row["name_suffix"] = "D.D.S." if trade.place == "dental" else "M.D., F.A.C.P."
    if trade.place:
        row["organization_id"] = dice.pick(places[trade.place])
    else:
        row["tax_id"] = names.tax_id(5_000_000 + serial)
    row |= address(dice, state)
    del row["county"]
    row["last_updated"] = iso(spec.as_of.toordinal() - dice.below(1500))
    return row, name | {"gender": "F" if is_woman else "M"}


def practitioners_on(spec: Spec, number: int, day: int) -> Iterator[tuple[Row, int]]:
    """Yield a region's practitioners on a day after day 0, and on which day each last changed.

    Every day one practitioner of each region gets another telephone number.
    """
    region = region_of(spec, number)
    changed: dict[int, tuple[int, Row]] = {}
    for today in range(1, day + 1):
        dice = Dice(spec.seed, Purpose.DIRECTORY_DAY, number, today)
        place = dice.below(len(region.practitioners))
        row = dict(region.practitioners[place])
        row["phone"] = names.phone(region.state.area, dice.below(100))
        row["last_updated"] = stamp(dice, spec.as_of.toordinal() + today)
        changed[place] = (today, row)
    for place, row in enumerate(region.practitioners):
        today, now = changed.get(place, (0, row))
        yield now, today
