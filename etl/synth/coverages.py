"""Rows about the member: `member`, addresses, telecoms and coverages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from etl.synth.codes import CARE, DENTAL_PLAN, FAR_PLAN, SENIOR_PLAN, VISION_PLAN, HealthPlan
from etl.synth.directory import Row, draw_address
from etl.synth.households import NO_END, Household, Person, PlanTerm
from etl.synth.names import SECOND_LINES, State, make_phone, shuffle_index
from etl.synth.seeded_random import Dice, draw_timestamp, iso_date

_STATUSES: Final = ("active", "active", "active", "active", "active", "Active", "ACTIVE")
_TELECOMS: Final[tuple[tuple[str, str], ...]] = CARE["telecoms"]


@dataclass(slots=True)
class Cover:
    """One coverage and its row.

    Attributes:
        role: medical, dental, vision or other (a second payer).
        start, end: ordinal days; `end` is the last day, or `NO_END`.
    """

    role: str
    plan: HealthPlan
    start: int
    end: int
    row: Row

    @property
    def identifier(self) -> str:
        """The coverage_id."""
        return self.row["coverage_id"]


def subscriber_id(salt: int, household: Household) -> str:
    """Return the number on the subscriber's card: three letters and nine digits."""
    return f"HPX{shuffle_index(household.first, salt):09d}"


def member_id(salt: int, household: Household, person: Person) -> str:
    """Return the member id: the subscriber's number and two digits for the person."""
    return f"{subscriber_id(salt, household)}{person.ordinal:02d}"


def member_row(
    dice: Dice, salt: int, identifier: str, person: Person, state: State, today: int
) -> Row:
    """Return the member's row: always with an address, mostly with telephone and e-mail."""
    name = person.name
    row = {
        "record_action": "A",
        "member_id": identifier,
        "unique_member_id": f"U{shuffle_index(person.index, 3 * salt + 7):010d}",
        "name_prefix": name.prefix,
        "family_name": name.family,
        "given_name": name.given,
        "middle_name": name.middle,
        "name_suffix": name.suffix,
        "full_name": name.full,
        "birth_date": iso_date(person.birth),
        "gender": _gender(dice, person.sex),
        "race": person.race,
        "ethnicity": person.ethnicity,
        "language": person.language,
    }
    if dice.chance(650) or person.script:
        row["birth_sex"] = person.sex if dice.chance(970) else "UNK"
    if person.death is not None:
        row["deceased"] = "Y"
        if person.script or dice.chance(800):
            row["death_date"] = iso_date(person.death)
    elif dice.chance(500):
        row["deceased"] = "N"
    if dice.chance(850):
        row["phone"] = make_phone(state.area, dice.below(100))
    if dice.chance(600):
        row["email"] = f"member.{shuffle_index(person.index, 5 * salt + 1):09d}@mail.example"
    row |= draw_address(dice, state)
    first_day = max(person.birth, today - 1800)
    row["last_updated"] = draw_timestamp(dice, first_day + dice.below(max(1, today - first_day)))
    return {column: text for column, text in row.items() if text}


def _gender(dice: Dice, sex: str) -> str:
    draw = dice.below(60)
    if draw == 0:
        return "U"
    if draw == 1:
        return "O"
    if draw < 6:
        return "female" if sex == "F" else "male"
    return sex


def further_addresses(
    dice: Dice, identifier: str, state: State, today: int, last_updated: str, many: bool
) -> list[Row]:
    """Return rows of `member_address`: former, billing and temporary addresses."""
    count = 3 if many else (0, 0, 0, 0, 1, 2)[dice.below(6)]
    rows = []
    for sequence, use in enumerate(("old", "billing", "temp")[:count], start=1):
        row = {"record_action": "A", "member_id": identifier, "sequence": str(sequence), "use": use}
        row |= draw_address(dice, state)
        if many:
            row["address_line_2"] = dice.pick(SECOND_LINES)
        moved = today - dice.between(400, 2500)
        row["start_date"] = iso_date(moved - dice.between(300, 2000) if use == "old" else moved)
        if use != "billing":
            row["end_date"] = iso_date(moved if use == "old" else moved + 180)
        row["last_updated"] = last_updated
        rows.append(row)
    return rows


def further_telecoms(
    dice: Dice, identifier: str, state: State, last_updated: str, many: bool
) -> list[Row]:
    """Return rows of `member_telecom`; their values differ, also from those in the member's row."""
    count = len(_TELECOMS) if many else (0, 0, 1, 2)[dice.below(4)]
    rows = []
    serial = dice.below(1_000_000)
    for sequence, (system, use) in enumerate(_TELECOMS[:count], start=1):
        digits = (serial + sequence) % 100
        value = {
            "email": f"work.{serial}@office.example",
            "url": f"https://people.example/{serial}",
        }.get(system, f"+1-{make_phone(state.area, digits)}")
        row = {"record_action": "A", "member_id": identifier, "sequence": str(sequence)}
        row |= {"system": system, "value": value, "use": use, "rank": str(sequence)}
        rows.append(row | {"last_updated": last_updated})
    return rows


class CoverageMaker:
    """Makes the coverages of one member, with their ids in order.

    Attributes:
        dice: the stream that the next coverage draws from.

    Args:
        salt: number of the world, which makes its ids differ from those of other seeds.
    """

    def __init__(self, dice: Dice, salt: int, household: Household, person: Person) -> None:
        self.dice = dice
        self._household = household
        self._person = person
        self._subscriber_id = subscriber_id(salt, household)
        self._member_id = member_id(salt, household, person)
        self._person_number = shuffle_index(person.index, salt)
        self._made_count = 0

    def make_all(self, today: int) -> list[Cover]:
        """Return every coverage that the member has or had up to `today`."""
        person, household = self._person, self._household
        covers = [cover for term in household.terms for cover in self.make("medical", term, today)]
        first, last = household.terms[0].start, household.terms[-1].end
        if household.dental:
            covers += self.make("dental", PlanTerm(DENTAL_PLAN, first, last), today)
        if household.vision:
            covers += self.make("vision", PlanTerm(VISION_PLAN, first + 31, last), today)
        if person.script.other_payer if person.script else self.dice.chance(60):
            plan = SENIOR_PLAN if person.age(today) >= 65 else FAR_PLAN
            covers += self.make("other", PlanTerm(plan, first, last), today)
        return covers

    def make(self, role: str, term: PlanTerm, today: int) -> list[Cover]:
        """Return the member's coverage for a term; none if the member was not alive in it."""
        dice, person, plan = self.dice, self._person, term.plan
        start = max(term.start, person.birth)
        end = min(term.end, NO_END if person.death is None else person.death)
        if start > end or start > today:
            return []
        self._made_count += 1
        row = {
            "record_action": "A",
            "coverage_id": f"C{self._person_number:09d}-{self._made_count:02d}",
            "member_id": self._member_id,
            "subscriber_id": self._subscriber_id,
            "relationship": person.relationship,
            "dependent_number": f"{person.ordinal:02d}",
            "coverage_type": plan.kind,
            "status": dice.pick(_STATUSES) if end >= today else "cancelled",
            "start_date": iso_date(start),
        }
        if end < NO_END:
            row["end_date"] = iso_date(end)
        if role == "other":
            row["card_member_id"] = f"OQ-{self._person_number:09d}-{person.ordinal}"
            row["status"] = row["status"].lower()
        elif dice.chance(300):
            row["card_member_id"] = self._member_id
        row |= self._subscriber_cells()
        row |= self._plan_cells(plan, role)
        row["payer_id"] = plan.payer
        change_day = start if end >= today else end
        row["last_updated"] = draw_timestamp(dice, min(today, change_day + dice.below(20)))
        return [Cover(role, plan, start, end, row)]

    def _subscriber_cells(self) -> Row:
        person, subscriber = self._person, self._household.subscriber
        if person.relationship == "self":
            return {}
        return {
            "subscriber_family_name": subscriber.name.family,
            "subscriber_given_name": subscriber.name.given,
            "subscriber_birth_date": iso_date(subscriber.birth),
            "subscriber_gender": subscriber.sex,
            "subscriber_relationship": _subscriber_role(person, subscriber),
        }

    def _plan_cells(self, plan: HealthPlan, role: str) -> Row:
        row = {"plan_id": plan.plan_id, "plan_name": plan.name}
        if plan.network:
            row["network_name"] = plan.network
        if self._household.group[0] and role != "other":
            row["group_id"], row["group_name"] = self._household.group
        return row


def _subscriber_role(person: Person, subscriber: Person) -> str:
    """Return what the subscriber is to the member (v3-RoleCode)."""
    is_woman = subscriber.sex == "F"
    return {
        "spouse": "WIFE" if is_woman else "HUSB",
        "common": "DOMPART",
        "child": "MTH" if is_woman else "FTH",
        "parent": "DAUC" if is_woman else "SONC",
    }.get(person.relationship, "GRMTH" if is_woman else "GRFTH")
