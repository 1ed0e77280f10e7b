"""Care over the years of a member: conditions, seasons, checks, teeth, eyes, accidents."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Final

from etl.model.canonical_tables import AMOUNT_COLUMNS
from etl.synth.adjustments import later_day, pay_after_all, replace_claim, void_claim
from etl.synth.claim_drafts import MOST_CLAIMS, Claim, Encounter, Life
from etl.synth.claim_scenes import CareEvent, acute_ailment, write_claim
from etl.synth.codes import CARE, CHANCE_STAYS, CHRONIC, COMPLETE, DRUGS, WEIGHTS, Ailment
from etl.synth.households import Household, Person
from etl.synth.scripted_members import Twist
from etl.synth.seeded_random import Dice, first_of_year, year_of
from etl.synth.templates import fill

_VISITS_A_YEAR: Final = CARE["visits_a_year"]
_REFUSED: Final[dict[str, str]] = CARE["twists"]["refused"]
_SUCCESSORS: Final[dict[str, int]] = CARE["twists"]["successors"]
_NOTE: Final = "This claim is made up; it shows what a claim of its type can hold."


def write_claims(life: Life, event: CareEvent, adjudicated: int | None = None) -> list[Claim]:
    """Return the claims of an event: none if no coverage was in force.

    Args:
        life: of the member.
        event: what happens.
        adjudicated: the day on which it was decided; None for one by chance.
    """
    day, twist = event.day, event.twist
    if life.count >= MOST_CLAIMS:
        return []
    cover = life.cover_on(day, *event.definition.covers.split(" "))
    if cover is None:
        return []
    second = None
    if twist is Twist.OTHER_PAYER or life.dice.chance(500):
        second = life.cover_on(day, "other")
    visit = Encounter(life, day, cover, _REFUSED.get(twist, ""), second, adjudicated)
    claim = write_claim(visit, event)
    if claim is None:
        return []
    if life.whole:
        _complete(claim)
    chain = [claim]
    if twist is Twist.REFUSED_REPLACED:
        when, paid = later_day(life.dice, claim), write_claim(visit._replace(refused=""), event)
        if when > life.today or paid is None:
            return chain
        if life.whole:
            _complete(paid)
        return [claim, pay_after_all(life, claim, paid, when)]
    for _ in range(_SUCCESSORS.get(twist, 0)):
        when = later_day(life.dice, chain[-1])
        if when > life.today:
            break
        successor = void_claim if twist is Twist.VOIDED else replace_claim
        chain.append(successor(life, chain[-1], when))
        if life.whole:
            _state_on_header_alone(chain[-1])
    return chain


def _complete(claim: Claim) -> None:
    """Fill the empty columns that the claim's profile can show."""
    header, line = claim.header, claim.rows["claim_line"][0]
    cells_of = COMPLETE.get(header["claim_type"], {})
    for name, row in (("header", header), ("line", line)):
        for column, text in cells_of.get(name, {}).items():
            row.setdefault(column, fill(text, {"units": "1"} | header | row))
    notes = claim.rows.setdefault("claim_note", [])
    if not any("line_number" in note for note in notes):
        note = {"record_action": "A", "claim_id": header["claim_id"], "text": _NOTE}
        note |= {"sequence": str(len(notes) + 1), "line_number": line["line_number"]}
        notes.append(note | {"last_updated": header["last_updated"]})


def _state_on_header_alone(claim: Claim) -> None:
    """Remove the amounts from the lines of an institutional claim, which has one place for them."""
    if claim.header["claim_type"] in ("inpatient", "outpatient"):
        claim.rows.pop("claim_adjustment", None)
        for line in claim.rows["claim_line"]:
            for column in AMOUNT_COLUMNS:
                line.pop(column, None)


def claims_of(life: Life, household: Household) -> list[Claim]:
    """Return every claim of a member up to the last day that can be seen, in order of service."""
    events = sorted(_events(life, household), key=lambda event: event.day)
    return [claim for event in events for claim in write_claims(life, event)]


def _events(life: Life, household: Household) -> Iterator[CareEvent]:
    person, dice = life.person, life.dice
    part = person.part
    if part:
        for line in part.scenes.splitlines():
            day, scene, *twist = line.split()
            yield CareEvent(date.fromisoformat(day).toordinal(), scene, Twist("".join(twist)))
        if part.sessions:
            yield from _sessions(life, part.sessions.toordinal())
    else:
        yield from _births(person, household)
        yield from _grave(life)
    if part and not part.busy:
        return
    rate = dice.quantile(_VISITS_A_YEAR)
    ailments = _chronic(dice, person.age(life.today))
    for start, end in _spans(life):
        share = (end - start + 1) / 365
        yield from _year(life, rate * share, share, start, end)
        for ailment in ailments:
            yield from _treatment(life, ailment, start, end)


def _spans(life: Life) -> Iterator[tuple[int, int]]:
    """Yield the covered days, cut at New Year."""
    for cover in life.covers:
        if cover.role != "medical":
            continue
        start, last = cover.start, min(cover.end, life.today)
        while start <= last:
            end = min(last, first_of_year(year_of(start) + 1) - 1)
            yield start, end
            start = end + 1


def _twist(dice: Dice) -> Twist:
    return Twist(dice.pick(WEIGHTS["twists"]))


def _year(life: Life, visits: float, share: float, start: int, end: int) -> Iterator[CareEvent]:
    dice, age = life.dice, life.person.age(start)
    days = end - start + 1

    def some(name: str, rate: float) -> Iterator[CareEvent]:
        for _ in range(int(rate + dice.random())):
            yield CareEvent(start + dice.below(days), name, _twist(dice))

    for _ in range(int(visits + dice.random())):
        day = start + dice.below(days)
        name = dice.pick(WEIGHTS["accidents_of_the_old" if age >= 60 else "accidents"])
        if name == "stay":
            yield CareEvent(day, f"{dice.pick(CHANCE_STAYS)}-stay", _twist(dice))
        elif name == "office":
            yield from _visit_and_drug(dice, day)
        else:
            yield CareEvent(day, name, _twist(dice))
    yield from some("check", 0.75 * share if age < 18 or age > 60 else 0.45 * share)
    yield from some("checkup", 1.1 * share if age > 2 else 0)
    if age > 5 and dice.chance(int(300 * share)):
        work = dice.pick(WEIGHTS["dental_work"])
        if work in {"denture", "crown", "scaling"} and age < 40:
            work = "filling"
        yield CareEvent(start + dice.below(days), work, _twist(dice))
    if 11 <= age <= 15 and dice.chance(int(120 * share)):
        yield CareEvent(start + dice.below(days), "braces", _twist(dice))
    yield from some("eye-exam", 0.25 * share if age > 4 else 0)
    yield from some("glasses", 0.18 * share if age > 4 else 0)


def _visit_and_drug(dice: Dice, day: int) -> Iterator[CareEvent]:
    ailment = acute_ailment(dice, day)
    yield CareEvent(day, "office", _twist(dice), ailment)
    if ailment.drugs and dice.chance(600):
        day += dice.below(3)
        drug = DRUGS[dice.pick(ailment.drugs)]
        yield CareEvent(day, "fill", _twist(dice), drug=drug)


def _chronic(dice: Dice, age: int) -> list[Ailment]:
    share = 40 if age < 18 else 90 if age < 40 else 260 if age < 65 else 550
    if not dice.chance(share):
        return []
    count = 1 + (dice.below(1000) < share) + (dice.below(1000) < share // 3)
    first = dice.below(len(CHRONIC))
    return [CHRONIC[(first + place) % len(CHRONIC)] for place in range(count)]


def _treatment(life: Life, ailment: Ailment, start: int, end: int) -> Iterator[CareEvent]:
    """Yield a chronic ailment's visits, some four months apart, and its refills."""
    dice = life.dice
    day = start + dice.below(120)
    while day <= end:
        yield CareEvent(day, "office", _twist(dice), ailment)
        day += dice.between(100, 200)
    drug = DRUGS[dice.pick(ailment.drugs)]
    day, refill = start + dice.below(drug.days), 0
    while day <= end:
        yield CareEvent(day, "fill", _twist(dice), drug=drug, refill=refill)
        day += drug.days + dice.below(25)
        refill += 1


def _sessions(life: Life, start: int) -> Iterator[CareEvent]:
    """Yield dialysis on Mondays, Wednesdays and Fridays."""
    for day in range(start, life.today + 1):
        if date.fromordinal(day).weekday() in {0, 2, 4}:
            twist = Twist.NONE if day % 31 else Twist.REPLACED
            yield CareEvent(day, "dialysis", twist)


def _grave(life: Life) -> Iterator[CareEvent]:
    """Yield rare conditions with many claims: failed kidneys, cancer."""
    dice, age = life.dice, life.person.age(life.today)
    first = life.covers[0].start if life.covers else life.today
    span = max(1, life.today - first)
    if age > 40 and dice.chance(4):
        yield from _sessions(life, first + dice.below(span))
    if age > 30 and dice.chance(8):
        day = first + dice.below(span)
        for month in range(dice.between(4, 9)):
            yield CareEvent(day + 28 * month, "chemo", _twist(dice))


def _births(person: Person, household: Household) -> Iterator[CareEvent]:
    """Yield the member's own birth, and those of the member's children, where covered."""
    if person.relationship == "child":
        yield CareEvent(person.birth, "newborn")
    parents = [other for other in household.people[:2] if other.relationship in {"self", "spouse"}]
    mother = next((other for other in parents if other.sex == "F"), None)
    if mother is person:
        for child in household.people:
            if child.relationship == "child":
                yield CareEvent(child.birth, "delivery")
