"""Members in households of up to six, with their plans over time.

Each block of six member indexes is split into households by its own draws, so a member's relatives
depend only on the member's index. The subscriber comes first, so an extract with a member also has
the subscriber, unless the subscriber is no member.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from etl.synth import names
from etl.synth.codes import CARE, MEDICAL_PLANS, WEIGHTS, HealthPlan
from etl.synth.names import Heritage
from etl.synth.scripted_members import SCRIPTED_MEMBERS, ScriptedMember
from etl.synth.seeded_random import Dice, Purpose, first_of_year, year_of
from etl.synth.spec import SINCE, Spec

BLOCK_SIZE: Final = 6
NO_END: Final = 3_000_000
"""End of a coverage that has not ended: an ordinal day after every other."""


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
        ordinal: within the household, from 0: the last two digits of the member id.
        relationship: to the subscriber, as the layout has it.
        sex: F or M.
        birth, death: ordinal days; death None while alive.
        race, ethnicity, language: as in the layout.
        script: scripted facts of the member, or None.
    """

    index: int
    ordinal: int
    relationship: str
    name: Name
    sex: str
    birth: int
    death: int | None
    race: str
    ethnicity: str
    language: str
    script: ScriptedMember | None = None

    def age(self, day: int) -> int:
        """Return the approximate age in years."""
        return (day - self.birth) // 365


@dataclass(frozen=True, slots=True)
class PlanTerm:
    """A period under one plan; `end` is the last day, or `NO_END`."""

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
        terms: its medical plans over time, oldest first; they do not overlap.
        group: employer's account number and name; empty if the plan is not an employer's.
        dental, vision: whether it also has such plans.
    """

    first: int
    people: tuple[Person, ...]
    subscriber: Person
    terms: tuple[PlanTerm, ...]
    group: tuple[str, str]
    dental: bool
    vision: bool


def household_of(spec: Spec, index: int) -> Household:
    """Return the household of a member."""
    for household in _draw_block(spec, index // BLOCK_SIZE):
        if index - household.first < len(household.people):
            return household
    raise AssertionError(index)  # the households of a block contain all its indexes


@lru_cache(maxsize=4)
def _draw_block(spec: Spec, block: int) -> tuple[Household, ...]:
    """Return the households of a block of member indexes."""
    dice = Dice(spec.seed, Purpose.HOUSEHOLD, block)
    households: list[Household] = []
    index, end = block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE
    while index < end:
        if index in SCRIPTED_MEMBERS:
            size, kind = SCRIPTED_MEMBERS[index].household, SCRIPTED_MEMBERS[index].house
        else:
            kind = dice.pick(WEIGHTS["households"])
            size = _draw_size(dice, kind)
        size = min(size, end - index)
        households.append(_draw_household(spec, dice, index, size, kind))
        index += size
    return tuple(households)


def _draw_size(dice: Dice, kind: str) -> int:
    if kind == "family":
        return dice.between(3, 6)
    if kind == "lone":
        return dice.between(2, 4)
    return {"single": 1, "couple": 2, "outsider": dice.between(1, 2), "elder": 2}[kind]


def _draw_household(spec: Spec, dice: Dice, first: int, size: int, kind: str) -> Household:
    """Return a household; `first` is the index of its first member."""
    today = spec.as_of.toordinal()
    heritage = dice.pick(names.HERITAGES)
    surname = dice.pick(heritage.families) + (
        dice.pick(names.SURNAME_PARTICLES) if heritage is names.HERITAGES[0] else ""
    )
    family = _Family(dice, heritage, surname, kind, today)
    elder_years = dice.between(66, 88) if dice.chance(280 if size < 3 else 0) else 0
    head_birth = today - 365 * (elder_years or dice.between(24, 58)) - dice.below(365)
    people: list[Person] = []
    head = family.draw_person(head_birth, "self", 0)
    first_ordinal = 1 if kind == "outsider" else 0
    for offset in range(size):
        ordinal = first_ordinal + offset
        person = family.draw_relative(head, ordinal) if ordinal else head
        people.append(_apply_script(dice, replace(person, index=first + offset), today))
    subscriber = head if kind == "outsider" else people[0]
    script = people[0].script
    terms = _draw_terms(spec, dice, script, is_elder=elder_years > 0)
    has_group = dice.chance(750)
    group = (f"{dice.below(100_000):05d}", dice.pick(names.EMPLOYERS)) if has_group else ("", "")
    dental = dice.chance(600) or script is not None
    vision = dice.chance(350) or script is not None
    return Household(first, tuple(people), subscriber, terms, group, dental, vision)


@dataclass(frozen=True, slots=True)
class _Family:
    """What the people of a household have in common; draws each of them."""

    dice: Dice
    heritage: Heritage
    surname: str
    kind: str
    today: int

    def draw_relative(self, head: Person, ordinal: int) -> Person:
        dice = self.dice
        if self.kind == "couple" or (self.kind == "family" and ordinal == 1):
            relationship = "spouse" if dice.chance(900) else "common"
            birth = head.birth + dice.between(-2500, 2500)
        elif self.kind == "elder":
            relationship = "parent"
            birth = head.birth - 365 * dice.between(22, 30)
        else:
            relationship = "child" if dice.chance(960) else "other"
            birth = head.birth + 365 * dice.between(21, 37) + dice.below(365)
            birth = min(max(birth, self.today - 26 * 365), self.today - 20)
        return self.draw_person(birth, relationship, ordinal)

    def draw_person(self, birth: int, relationship: str, ordinal: int) -> Person:
        """Return a person without a member index."""
        dice, heritage = self.dice, self.heritage
        sex = "F" if dice.chance(510) else "M"
        given = dice.pick(heritage.women if sex == "F" else heritage.men)
        name = Name(
            self.surname,
            given,
            dice.pick(names.MIDDLE_NAMES) if dice.chance(350) else "",
            dice.pick(names.PREFIXES[sex]) if dice.chance(150) else "",
            dice.pick(names.SUFFIXES) if sex == "M" and dice.chance(80) else "",
            f"{given} {self.surname}" if dice.chance(100) else "",
        )
        race = heritage.race
        if dice.chance(60):
            race = dice.pick(names.MIXED_RACES)
        elif dice.chance(50):
            race = names.RACE_WORDS.get(race, race)
        ethnicity = heritage.ethnicity if dice.chance(900) else ""
        language = dice.pick(heritage.languages)
        return Person(-1, ordinal, relationship, name, sex, birth, None, race, ethnicity, language)


def _apply_script(dice: Dice, person: Person, today: int) -> Person:
    """Return the person as scripted; one without a script may have died."""
    script = SCRIPTED_MEMBERS.get(person.index)
    if script is None or script.birth.toordinal() > today - 30:
        # 33 of 1,000 people above 75, and 1 of 1,000 below, died in the last three years.
        if dice.chance(33 if person.age(today) > 75 else 1):
            return replace(person, death=max(person.birth, today - dice.between(40, 1000)))
        return person
    name = person.name
    if script.name:
        family, given, middle, suffix, full = script.name
        name = Name(family, given, middle, name.prefix, suffix, full)
    if script.prefix:
        name = replace(name, prefix=script.prefix)
    death = script.death.toordinal() if script.death else None
    return replace(
        person,
        script=script,
        name=name,
        sex=script.sex,
        birth=script.birth.toordinal(),
        death=None if death is None or death > today else death,
        relationship=script.relationship,
        race=script.race or person.race,
        ethnicity=script.ethnicity or person.ethnicity,
        language=script.language or person.language,
    )


def _draw_terms(
    spec: Spec, dice: Dice, script: ScriptedMember | None, *, is_elder: bool
) -> tuple[PlanTerm, ...]:
    """Return plans over time: a start, changes at New Year, perhaps a gap, perhaps an end."""
    today, since = spec.as_of.toordinal(), spec.since.toordinal()
    plans = MEDICAL_PLANS[:3] if is_elder else MEDICAL_PLANS
    if script and script.since:
        # Only the member with ICD-9, which ended in 2015, was covered before all others.
        start = script.since.toordinal()
        start = start if script.since < SINCE else max(start, since)
        end = NO_END
    else:
        days = int(dice.quantile(CARE["years_of_stay"]) * 365)
        end = NO_END if dice.chance(800) else today - dice.below(700)
        start = max(since, min(end, today) - max(days, 120))
    terms: list[PlanTerm] = []
    plan = dice.pick(plans)
    changes_yearly = script is not None and script.changes
    for year in range(year_of(start) + 1, year_of(today) + 1):
        new_year = first_of_year(year)
        if new_year >= end or not (changes_yearly or dice.chance(200)) or new_year <= start:
            continue
        gap = dice.between(30, 150) if dice.chance(150) and not script else 0
        last = new_year - 1 - gap
        if last > start:
            terms.append(PlanTerm(plan, start, last))
        start = new_year
        plan = dice.pick([other for other in plans if other is not plan])
    return (*terms, PlanTerm(plan, start, max(end, start + 30)))
