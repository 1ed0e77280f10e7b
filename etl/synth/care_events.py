"""Care over the years of a member: conditions, seasons, checks, teeth, eyes, accidents."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Final

from etl.model.canonical_tables import AMOUNT_COLUMNS
from etl.synth.adjustments import draw_adjustment_day, pay_refused_claim, replace_claim, void_claim
from etl.synth.claim_drafts import MOST_CLAIMS, Claim, Encounter, Life
from etl.synth.claim_scenes import CareEvent, acute_ailment, write_claim
from etl.synth.codes import CARE, CHANCE_STAYS, CHRONIC, COMPLETE, DRUGS, WEIGHTS, Ailment
from etl.synth.households import Household, Person
from etl.synth.scripted_members import ClaimCourse
from etl.synth.seeded_random import Dice, first_of_year, year_of
from etl.synth.templates import fill

_VISITS_A_YEAR: Final = CARE["visits_a_year"]
_REFUSED: Final[dict[str, str]] = CARE["claim_courses"]["refused"]
_SUCCESSORS: Final[dict[str, int]] = CARE["claim_courses"]["successors"]
_NOTE: Final = "This claim is made up; it shows what a claim of its type can hold."


def draft_claims(life: Life, event: CareEvent, decision_day: int | None = None) -> list[Claim]:
    """Return the claims of an event: none if no coverage was in force.

    Args:
        life: of the member.
        event: what happens.
        decision_day: when the payer decides the claim; None draws it.
    """
    day, course = event.day, event.course
    if life.count >= MOST_CLAIMS:
        return []
    cover = life.cover_on(day, *event.definition.covers.split(" "))
    if cover is None:
        return []
    other_cover = None
    if course is ClaimCourse.OTHER_PAYER or life.dice.chance(500):
        other_cover = life.cover_on(day, "other")
    visit = Encounter(life, day, cover, _REFUSED.get(course, ""), other_cover, decision_day)
    claim = write_claim(visit, event)
    if claim is None:
        return []
    if life.whole:
        _fill_empty_columns(claim)
    if course is ClaimCourse.REFUSED_REPLACED:
        return [claim, *_pay_after_refusal(visit, event, claim)]
    chain = [claim]
    for _ in range(_SUCCESSORS.get(course, 0)):
        adjustment_day = draw_adjustment_day(life.dice, chain[-1])
        if adjustment_day > life.today:
            break
        adjust = void_claim if course is ClaimCourse.VOIDED else replace_claim
        chain.append(adjust(life, chain[-1], adjustment_day))
        if life.whole:
            _remove_line_amounts(chain[-1])
    return chain


def _pay_after_refusal(visit: Encounter, event: CareEvent, refused_claim: Claim) -> list[Claim]:
    """Return the paid claim that replaces a refused one; none if it lies after the last day."""
    life = visit.life
    adjustment_day = draw_adjustment_day(life.dice, refused_claim)
    paid_claim = write_claim(visit._replace(refused=""), event)
    if adjustment_day > life.today or paid_claim is None:
        return []
    if life.whole:
        _fill_empty_columns(paid_claim)
    return [pay_refused_claim(life, refused_claim, paid_claim, adjustment_day)]


def _fill_empty_columns(claim: Claim) -> None:
    """Fill the empty columns that the claim's profile can show."""
    header, line = claim.header, claim.rows["claim_line"][0]
    templates = COMPLETE.get(header["claim_type"], {})
    for name, row in (("header", header), ("line", line)):
        for column, text in templates.get(name, {}).items():
            row.setdefault(column, fill(text, {"units": "1"} | header | row))
    notes = claim.rows.setdefault("claim_note", [])
    if not any("line_number" in note for note in notes):
        note = {"record_action": "A", "claim_id": header["claim_id"], "text": _NOTE}
        note |= {"sequence": str(len(notes) + 1), "line_number": line["line_number"]}
        notes.append(note | {"last_updated": header["last_updated"]})


def _remove_line_amounts(claim: Claim) -> None:
    """Remove the amounts from the lines of an institutional claim: only its header has them."""
    if claim.header["claim_type"] in ("inpatient", "outpatient"):
        claim.rows.pop("claim_adjustment", None)
        for line in claim.rows["claim_line"]:
            for column in AMOUNT_COLUMNS:
                line.pop(column, None)


def draft_all_claims(life: Life, household: Household) -> list[Claim]:
    """Return a member's claims up to the last visible day, in order of service."""
    events = sorted(_care_events(life, household), key=lambda event: event.day)
    return [claim for event in events for claim in draft_claims(life, event)]


def _care_events(life: Life, household: Household) -> Iterator[CareEvent]:
    person, dice, script = life.person, life.dice, life.person.script
    if script:
        for line in script.scenes.splitlines():
            day, scene, *course = line.split()
            yield CareEvent(
                date.fromisoformat(day).toordinal(), scene, ClaimCourse("".join(course))
            )
        if script.sessions:
            yield from _dialysis_sessions(life, script.sessions.toordinal())
    else:
        yield from _births(person, household)
        yield from _rare_conditions(life)
    if script and not script.busy:
        return
    yearly_visits = dice.quantile(_VISITS_A_YEAR)
    chronic_ailments = _draw_chronic_ailments(dice, person.age(life.today))
    for start, end in _covered_years(life):
        yield from _yearly_care(life, yearly_visits, start, end)
        for ailment in chronic_ailments:
            yield from _chronic_care(life, ailment, start, end)


def _covered_years(life: Life) -> Iterator[tuple[int, int]]:
    """Yield the first and last day of each stretch of medical coverage within one year."""
    for cover in life.covers:
        if cover.role != "medical":
            continue
        start, last = cover.start, min(cover.end, life.today)
        while start <= last:
            end = min(last, first_of_year(year_of(start) + 1) - 1)
            yield start, end
            start = end + 1


def _draw_course(dice: Dice) -> ClaimCourse:
    return ClaimCourse(dice.pick(WEIGHTS["claim_courses"]))


def _yearly_care(life: Life, yearly_visits: float, start: int, end: int) -> Iterator[CareEvent]:
    """Yield visits, checks, dental work and glasses in a year, or in the covered part of one."""
    dice, age = life.dice, life.person.age(start)
    days = end - start + 1
    share = days / 365

    def draw_events(scene: str, rate: float) -> Iterator[CareEvent]:
        for _ in range(int(rate + dice.random())):
            yield CareEvent(start + dice.below(days), scene, _draw_course(dice))

    for _ in range(int(yearly_visits * share + dice.random())):
        day = start + dice.below(days)
        scene = dice.pick(WEIGHTS["accidents_of_the_old" if age >= 60 else "accidents"])
        if scene == "stay":
            yield CareEvent(day, f"{dice.pick(CHANCE_STAYS)}-stay", _draw_course(dice))
        elif scene == "office":
            yield from _office_visit(dice, day)
        else:
            yield CareEvent(day, scene, _draw_course(dice))
    yield from draw_events("check", 0.75 * share if age < 18 or age > 60 else 0.45 * share)
    yield from draw_events("checkup", 1.1 * share if age > 2 else 0)
    if age > 5 and dice.chance(int(300 * share)):
        work = dice.pick(WEIGHTS["dental_work"])
        if work in {"denture", "crown", "scaling"} and age < 40:
            work = "filling"
        yield CareEvent(start + dice.below(days), work, _draw_course(dice))
    if 11 <= age <= 15 and dice.chance(int(120 * share)):
        yield CareEvent(start + dice.below(days), "braces", _draw_course(dice))
    yield from draw_events("eye-exam", 0.25 * share if age > 4 else 0)
    yield from draw_events("glasses", 0.18 * share if age > 4 else 0)


def _office_visit(dice: Dice, day: int) -> Iterator[CareEvent]:
    """Yield a visit for an acute ailment, and perhaps the drug that was prescribed."""
    ailment = acute_ailment(dice, day)
    yield CareEvent(day, "office", _draw_course(dice), ailment)
    if ailment.drugs and dice.chance(600):
        day += dice.below(3)
        drug = DRUGS[dice.pick(ailment.drugs)]
        yield CareEvent(day, "fill", _draw_course(dice), drug=drug)


def _draw_chronic_ailments(dice: Dice, age: int) -> list[Ailment]:
    share = 40 if age < 18 else 90 if age < 40 else 260 if age < 65 else 550
    if not dice.chance(share):
        return []
    count = 1 + (dice.below(1000) < share) + (dice.below(1000) < share // 3)
    first = dice.below(len(CHRONIC))
    return [CHRONIC[(first + offset) % len(CHRONIC)] for offset in range(count)]


def _chronic_care(life: Life, ailment: Ailment, start: int, end: int) -> Iterator[CareEvent]:
    """Yield a chronic ailment's visits, about four months apart, and its refills."""
    dice = life.dice
    day = start + dice.below(120)
    while day <= end:
        yield CareEvent(day, "office", _draw_course(dice), ailment)
        day += dice.between(100, 200)
    drug = DRUGS[dice.pick(ailment.drugs)]
    day, refill = start + dice.below(drug.days), 0
    while day <= end:
        yield CareEvent(day, "fill", _draw_course(dice), drug=drug, refill=refill)
        day += drug.days + dice.below(25)
        refill += 1


def _dialysis_sessions(life: Life, first_day: int) -> Iterator[CareEvent]:
    """Yield dialysis on Mondays, Wednesdays and Fridays."""
    for day in range(first_day, life.today + 1):
        if date.fromordinal(day).weekday() in {0, 2, 4}:
            course = ClaimCourse.NONE if day % 31 else ClaimCourse.REPLACED
            yield CareEvent(day, "dialysis", course)


def _rare_conditions(life: Life) -> Iterator[CareEvent]:
    """Yield the claims of kidney failure and cancer, of which there are many."""
    dice, age = life.dice, life.person.age(life.today)
    first_day = life.covers[0].start if life.covers else life.today
    covered_days = max(1, life.today - first_day)
    if age > 40 and dice.chance(4):
        yield from _dialysis_sessions(life, first_day + dice.below(covered_days))
    if age > 30 and dice.chance(8):
        day = first_day + dice.below(covered_days)
        for month in range(dice.between(4, 9)):
            yield CareEvent(day + 28 * month, "chemo", _draw_course(dice))


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
