"""Members in households of up to six, with their plans over time.

Six member indexes make a block, which the block's own draws split into households, so that a
member's relatives follow from the member's index alone. The subscriber comes first, so every member
of an extract has the subscriber there too, unless the subscriber is no member at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from etl.synth import names
from etl.synth.codes import CARE, MEDICAL_PLANS, WEIGHTS, HealthPlan
from etl.synth.names import Heritage
from etl.synth.scripted_members import CAST, CastMember
from etl.synth.seeded_random import Dice, Purpose, first_of_year, year_of
from etl.synth.spec import SINCE, Spec

BLOCK: Final = 6
OPEN: Final = 3_000_000
"""An ordinal day after every other: the end of what has not ended."""


@dataclass(frozen=True, slots=True)
class Name:
    """A person's name, in parts or as one text."""

    family: str
    given: str
    middle: str = ""
    prefix: str = ""
    suffix: str = ""
    full: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """A member, or a subscriber who is no member.

    Attributes:
        index: of the member; -1 for a subscriber who is no member.
        place: within the household, from 0: the last two digits of the member id.
        relationship: to the subscriber, as the layout has it.
        sex: F or M.
        birth, death: ordinal days; death None while alive.
        race, ethnicity, language: as in the layout.
        part: scripted facts of this member, or None.
    """

    index: int
    place: int
    relationship: str
    name: Name
    sex: str
    birth: int
    death: int | None
    race: str
    ethnicity: str
    language: str
    part: CastMember | None = None

    def age(self, day: int) -> int:
        """Return the approximate age in years."""
        return (day - self.birth) // 365


@dataclass(frozen=True, slots=True)
class Term:
    """A time under one plan; `end` is the last day, or `OPEN`."""

    plan: HealthPlan
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Household:
    """People under one subscriber.

    Attributes:
        first: index of its first member.
        people: the members, in the order of their indexes.
        subscriber: the first of them, or a person who is no member.
        terms: its plans over time, oldest first; they do not overlap.
        group: employer's account number and name; empty where the plan was bought alone.
        dental, vision: whether it has such plans beside.
    """

    first: int
    people: tuple[Person, ...]
    subscriber: Person
    terms: tuple[Term, ...]
    group: tuple[str, str]
    dental: bool
    vision: bool


def household_of(spec: Spec, index: int) -> Household:
    """Return the household of a member."""
    for household in _block(spec, index // BLOCK):
        if index - household.first < len(household.people):
            return household
    raise AssertionError(index)  # the households of a block hold every index of it


@lru_cache(maxsize=4)
def _block(spec: Spec, number: int) -> tuple[Household, ...]:
    dice = Dice(spec.seed, Purpose.HOUSEHOLD, number)
    households: list[Household] = []
    index, end = number * BLOCK, number * BLOCK + BLOCK
    while index < end:
        if index in CAST:
            size, kind = CAST[index].household, CAST[index].house
        else:
            kind = dice.pick(WEIGHTS["households"])
            size = _draw_size(dice, kind)
        size = min(size, end - index)
        households.append(_make_household(spec, dice, index, size, kind))
        index += size
    return tuple(households)


def _draw_size(dice: Dice, kind: str) -> int:
    if kind == "family":
        return dice.between(3, 6)
    if kind == "lone":
        return dice.between(2, 4)
    return {"single": 1, "couple": 2, "outsider": dice.between(1, 2), "elder": 2}[kind]


def _make_household(spec: Spec, dice: Dice, first: int, size: int, kind: str) -> Household:
    today = spec.as_of.toordinal()
    heritage = dice.pick(names.HERITAGES)
    family = dice.pick(heritage.families) + (
        dice.pick(names.SURNAME_PARTICLES) if heritage is names.HERITAGES[0] else ""
    )
    elder_years = dice.between(66, 88) if dice.chance(280 if size < 3 else 0) else 0
    head_birth = today - 365 * (elder_years or dice.between(24, 58)) - dice.below(365)
    people: list[Person] = []
    head = _make_person(dice, heritage, family, head_birth, "self", 0)
    for place in range(size):
        person = head
        if place > 0 or kind == "outsider":
            offset = 1 if kind == "outsider" else 0
            person = _make_relative(dice, heritage, family, head, kind, place + offset, today)
        people.append(_apply_script(dice, replace(person, index=first + place), today))
    subscriber = head if kind == "outsider" else people[0]
    terms = _make_terms(spec, dice, people[0].part, elder_years > 0)
    numbered = dice.chance(750)
    group = (f"{dice.below(100_000):05d}", dice.pick(names.EMPLOYERS)) if numbered else ("", "")
    is_scripted = bool(people[0].part)
    dental = dice.chance(600) or is_scripted
    vision = dice.chance(350) or is_scripted
    return Household(first, tuple(people), subscriber, terms, group, dental, vision)


def _make_relative(
    dice: Dice, heritage: Heritage, family: str, head: Person, kind: str, place: int, today: int
) -> Person:
    if kind == "couple" or (kind == "family" and place == 1):
        relationship = "spouse" if dice.chance(900) else "common"
        birth = head.birth + dice.between(-2500, 2500)
    elif kind == "elder":
        relationship = "parent"
        birth = head.birth - 365 * dice.between(22, 30)
    else:
        relationship = "child" if dice.chance(960) else "other"
        birth = head.birth + 365 * dice.between(21, 37) + dice.below(365)
        birth = min(max(birth, today - 26 * 365), today - 20)
    return _make_person(dice, heritage, family, birth, relationship, place)


def _make_person(
    dice: Dice, heritage: Heritage, family: str, birth: int, relationship: str, place: int
) -> Person:
    """Return a person who is no member yet."""
    sex = "F" if dice.chance(510) else "M"
    given = dice.pick(heritage.women if sex == "F" else heritage.men)
    name = Name(
        family,
        given,
        dice.pick(names.MIDDLE_NAMES) if dice.chance(350) else "",
        dice.pick(names.PREFIXES[sex]) if dice.chance(150) else "",
        dice.pick(names.SUFFIXES) if sex == "M" and dice.chance(80) else "",
        f"{given} {family}" if dice.chance(100) else "",
    )
    race = heritage.race
    if dice.chance(60):
        race = dice.pick(names.MIXED_RACES)
    elif dice.chance(50):
        race = names.RACE_WORDS.get(race, race)
    ethnicity = heritage.ethnicity if dice.chance(900) else ""
    language = dice.pick(heritage.languages)
    return Person(-1, place, relationship, name, sex, birth, None, race, ethnicity, language)


def _apply_script(dice: Dice, person: Person, today: int) -> Person:
    """Return the person as scripted, or with a random death."""
    part = CAST.get(person.index)
    if part is None or part.birth.toordinal() > today - 30:
        # A death in the last three years, of one in thirty above 75 and one in 900 below.
        if dice.chance(33 if person.age(today) > 75 else 1):
            return replace(person, death=max(person.birth, today - dice.between(40, 1000)))
        return person
    name = person.name
    if part.name:
        family, given, middle, suffix, full = part.name
        name = Name(family, given, middle, name.prefix, suffix, full)
    if part.prefix:
        name = replace(name, prefix=part.prefix)
    return replace(
        person,
        part=part,
        name=name,
        sex=part.sex,
        birth=part.birth.toordinal(),
        death=part.death.toordinal() if part.death and part.death.toordinal() <= today else None,
        relationship=part.relationship,
        race=part.race or person.race,
        ethnicity=part.ethnicity or person.ethnicity,
        language=part.language or person.language,
    )


def _make_terms(spec: Spec, dice: Dice, part: CastMember | None, elder: bool) -> tuple[Term, ...]:
    """Return plans over time: a start, changes at New Year, perhaps a gap, perhaps an end."""
    today, since = spec.as_of.toordinal(), spec.since.toordinal()
    plans = MEDICAL_PLANS[:3] if elder else MEDICAL_PLANS
    if part and part.since:
        # Only the member with ICD-9, which ended in 2015, was covered before all others.
        start = part.since.toordinal()
        start = start if part.since < SINCE else max(start, since)
        end = OPEN
    else:
        days = int(dice.quantile(CARE["years_of_stay"]) * 365)
        end = OPEN if dice.chance(800) else today - dice.below(700)
        start = max(since, min(end, today) - max(days, 120))
    terms: list[Term] = []
    plan = dice.pick(plans)
    for year in range(year_of(start) + 1, year_of(today) + 1):
        change = first_of_year(year)
        always = part is not None and part.changes
        if change >= end or not (always or dice.chance(200)) or change <= start:
            continue
        gap = dice.between(30, 150) if dice.chance(150) and not part else 0
        terms.append(Term(plan, start, change - 1 - gap))
        if terms[-1].end <= start:
            terms.pop()
        start = change
        plan = dice.pick([other for other in plans if other is not plan])
    return (*terms, Term(plan, start, max(end, start + 30)))
