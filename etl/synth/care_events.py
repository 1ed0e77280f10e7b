"""Care over the years of a member: conditions, seasons, checks, teeth, eyes, accidents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from typing import Final

from etl.synth import (
    institutional_claims,
    pharmacy_oral_claims,
    professional_claims,
)
from etl.synth import (
    sample_codes as codes,
)
from etl.synth.adjustments import later, pay_after_all, replace_claim, void_claim
from etl.synth.claim_drafts import MOST_CLAIMS, Claim, Encounter, Life
from etl.synth.example_claims import complete, on_header_alone
from etl.synth.households import Household, Person
from etl.synth.sample_codes import Ailment, Drug
from etl.synth.scripted_members import Twist
from etl.synth.seeded_random import Dice, Weighted, first_of_year, year_of

Telling = Callable[[Encounter], Claim | None]
Happening = tuple[int, str, Telling, Twist]
"""Day, roles of the coverages that may pay (blank between), writer of the claim, and a twist."""

_MEDICAL, _DENTAL, _VISION = "medical", "dental medical", "vision medical"


def _office(visit: Encounter) -> Claim | None:
    return professional_claims.office(visit, _ailment(visit.life.dice, visit.day))


def _telehealth(visit: Encounter) -> Claim | None:
    return professional_claims.telehealth(visit, _ailment(visit.life.dice, visit.day))


def _fill(visit: Encounter) -> Claim | None:
    return pharmacy_oral_claims.fill(visit, codes.PAINKILLER)


SCENES: Final[dict[str, tuple[str, Telling]]] = {
    "office": (_MEDICAL, _office),
    "telehealth": (_MEDICAL, _telehealth),
    "check": (_MEDICAL, professional_claims.check),
    "therapy": (_MEDICAL, professional_claims.therapy),
    "anesthesia": (_MEDICAL, professional_claims.anesthesia),
    "ambulance": (_MEDICAL, professional_claims.ambulance),
    "walker": (_MEDICAL, professional_claims.device),
    "injury": (_MEDICAL, institutional_claims.injury),
    "lab": (_MEDICAL, institutional_claims.laboratory),
    "chemo": (_MEDICAL, institutional_claims.infusion),
    "dialysis": (_MEDICAL, institutional_claims.dialysis),
    "home": (_MEDICAL, institutional_claims.home_health),
    "nursing": (_MEDICAL, institutional_claims.nursing),
    "newborn": (_MEDICAL, institutional_claims.newborn),
    "old-stay": (_MEDICAL, institutional_claims.old_stay),
    "delivery": (_MEDICAL, partial(institutional_claims.stay, case=codes.DELIVERY)),
    "chest-stay": (_MEDICAL, partial(institutional_claims.stay, case=codes.PNEUMONIA)),
    "heart-stay": (_MEDICAL, partial(institutional_claims.stay, case=codes.HEART_FAILURE)),
    "failure-stay": (_MEDICAL, partial(institutional_claims.stay, case=codes.HEART_FAILURE)),
    "attack-stay": (_MEDICAL, partial(institutional_claims.stay, case=codes.HEART_ATTACK)),
    "appendix-stay": (_MEDICAL, partial(institutional_claims.stay, case=codes.APPENDIX)),
    "knee-stay": (_MEDICAL, partial(institutional_claims.stay, case=codes.KNEE)),
    "hip-stay": (_MEDICAL, partial(institutional_claims.stay, case=codes.HIP_FRACTURE)),
    "fill": (_MEDICAL, _fill),
    "compound": (_MEDICAL, pharmacy_oral_claims.compound),
    "checkup": (_DENTAL, pharmacy_oral_claims.checkup),
    "child-dental": (_DENTAL, pharmacy_oral_claims.checkup),
    "filling": (_DENTAL, pharmacy_oral_claims.filling),
    "front-filling": (_DENTAL, pharmacy_oral_claims.front_filling),
    "crown": (_DENTAL, pharmacy_oral_claims.crown),
    "scaling": (_DENTAL, pharmacy_oral_claims.scaling),
    "denture": (_DENTAL, pharmacy_oral_claims.denture),
    "extraction": (_DENTAL, pharmacy_oral_claims.extraction),
    "braces": (_DENTAL, pharmacy_oral_claims.braces),
    "eye-exam": (_VISION, professional_claims.eye_exam),
    "glasses": (_VISION, professional_claims.glasses),
}
"""Every possible event: the coverages that pay for it, in their order, and the claim's writer."""

_RATE: Final = (
    (0.0, 0.0),
    (0.25, 0.3),
    (0.6, 1.2),
    (0.85, 3.0),
    (0.96, 7.0),
    (0.995, 18),
    (1.0, 70),
)
"""Visits a year for an acute reason: most have few, some have very many."""
_BAD_LUCK: Final = Weighted(office=64, telehealth=9, injury=8, therapy=5, lab=13, compound=1)
_OLD_LUCK: Final = Weighted(
    office=46, telehealth=5, injury=7, therapy=9, lab=13, ambulance=5, walker=3, home=3, nursing=2,
    compound=1, stay=6,
)  # fmt: skip
_TEETH: Final = Weighted(filling=45, front=14, crown=14, scaling=10, extraction=13, denture=4)
_TWISTS: Final = Weighted(none=900, refused=38, partly=27, replaced=25, twice=3, voided=7)
_TWIST_OF: Final = {
    "none": Twist.NONE,
    "refused": Twist.REFUSED,
    "partly": Twist.PARTLY_REFUSED,
    "replaced": Twist.REPLACED,
    "twice": Twist.REPLACED_TWICE,
    "voided": Twist.VOIDED,
}
_REFUSED: Final = {
    Twist.REFUSED: "all",
    Twist.REFUSED_REPLACED: "all",
    Twist.PARTLY_REFUSED: "last",
    Twist.PARTLY_REFUSED_REPLACED: "last",
}
_SUCCESSORS: Final = {
    Twist.REPLACED: 1,
    Twist.REPLACED_TWICE: 2,
    Twist.VOIDED: 1,
    Twist.PARTLY_REFUSED_REPLACED: 1,
}
_SOME_TEETH: Final = {
    "filling": "filling",
    "front": "front-filling",
    "crown": "crown",
    "scaling": "scaling",
    "extraction": "extraction",
    "denture": "denture",
}


def _ailment(dice: Dice, day: int) -> Ailment:
    """Return an acute ailment that goes round in the quarter of the day."""
    quarter = min(3, (day - first_of_year(year_of(day))) // 92)
    for _ in range(3):
        ailment = dice.pick(codes.ACUTE)
        if dice.below(4) < ailment.season[quarter]:
            break
    return ailment


def happening(name: str, day: int, twist: Twist) -> Happening:
    """Return a named scene on a day."""
    roles, telling = SCENES[name]
    return day, roles, telling, twist


def tell(life: Life, what: Happening, adjudicated: int | None = None) -> list[Claim]:
    """Return the claims of an event: none where no coverage was in force.

    Args:
        life: of the member.
        what: the event.
        adjudicated: the day on which it was decided; None for one by chance.
    """
    day, roles, telling, twist = what
    if life.count >= MOST_CLAIMS:
        return []
    cover = life.cover_on(day, *roles.split(" "))
    if cover is None:
        return []
    second = None
    if twist is Twist.OTHER_PAYER or life.dice.chance(500):
        second = life.cover_on(day, "other")
    visit = Encounter(life, day, cover, _REFUSED.get(twist, ""), second, adjudicated)
    claim = telling(visit)
    if claim is None:
        return []
    if life.whole:
        complete(claim)
    chain = [claim]
    if twist is Twist.REFUSED_REPLACED:
        return chain + _paid_after_all(claim, visit, telling)
    for _ in range(_SUCCESSORS.get(twist, 0)):
        when = later(life.dice, chain[-1])
        if when > life.today:
            break
        successor = void_claim if twist is Twist.VOIDED else replace_claim
        chain.append(successor(life, chain[-1], when))
        if life.whole:
            on_header_alone(chain[-1])
    return chain


def _paid_after_all(claim: Claim, visit: Encounter, telling: Telling) -> list[Claim]:
    """Return the claim that replaces a refused one, if it is decided within the days seen."""
    life = visit.life
    when, paid = later(life.dice, claim), telling(visit._replace(refused=""))
    if when > life.today or paid is None:
        return []
    if life.whole:
        complete(paid)
    return [pay_after_all(life, claim, paid, when)]


def live(life: Life, household: Household) -> list[Claim]:
    """Return every claim of a member up to the last day that can be seen, in order of service."""
    days = sorted(_happenings(life, household), key=lambda what: what[0])
    return [claim for what in days for claim in tell(life, what)]


def _happenings(life: Life, household: Household) -> Iterator[Happening]:
    person, dice = life.person, life.dice
    part = person.part
    if part:
        for scene in part.scenes:
            yield happening(scene.name, scene.day.toordinal(), scene.twist)
        if part.sessions:
            yield from _sessions(life, part.sessions.toordinal())
    else:
        yield from _births(person, household)
        yield from _grave(life)
    if part and not part.busy:
        return
    rate = dice.quantile(_RATE)
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
    return _TWIST_OF[dice.weighted(_TWISTS)]


def _year(life: Life, visits: float, share: float, start: int, end: int) -> Iterator[Happening]:
    dice, age = life.dice, life.person.age(start)
    days = end - start + 1

    def some(name: str, rate: float) -> Iterator[Happening]:
        for _ in range(int(rate + dice.random())):
            yield happening(name, start + dice.below(days), _twist(dice))

    for _ in range(int(visits + dice.random())):
        day = start + dice.below(days)
        name = dice.weighted(_OLD_LUCK if age >= 60 else _BAD_LUCK)
        if name == "stay":
            case = dice.pick(codes.STAYS)
            yield day, _MEDICAL, partial(institutional_claims.stay, case=case), _twist(dice)
        elif name == "office":
            yield from _visit_and_drug(dice, day)
        else:
            yield happening(name, day, _twist(dice))
    yield from some("check", 0.75 * share if age < 18 or age > 60 else 0.45 * share)
    yield from some("checkup", 1.1 * share if age > 2 else 0)
    if age > 5 and dice.chance(int(300 * share)):
        work = _SOME_TEETH[dice.weighted(_TEETH)]
        if work in {"denture", "crown", "scaling"} and age < 40:
            work = "filling"
        yield happening(work, start + dice.below(days), _twist(dice))
    if 11 <= age <= 15 and dice.chance(int(120 * share)):
        yield happening("braces", start + dice.below(days), _twist(dice))
    yield from some("eye-exam", 0.25 * share if age > 4 else 0)
    yield from some("glasses", 0.18 * share if age > 4 else 0)


def _visit_and_drug(dice: Dice, day: int) -> Iterator[Happening]:
    ailment = _ailment(dice, day)
    yield day, _MEDICAL, partial(professional_claims.office, ailment=ailment), _twist(dice)
    if ailment.drugs and dice.chance(600):
        yield day + dice.below(3), _MEDICAL, _filling_of(dice.pick(ailment.drugs)), _twist(dice)


def _filling_of(drug: Drug, refill: int = 0) -> Telling:
    return partial(pharmacy_oral_claims.fill, drug=drug, refill=refill)


def _chronic(dice: Dice, age: int) -> list[Ailment]:
    share = 40 if age < 18 else 90 if age < 40 else 260 if age < 65 else 550
    if not dice.chance(share):
        return []
    count = 1 + (dice.below(1000) < share) + (dice.below(1000) < share // 3)
    first = dice.below(len(codes.CHRONIC))
    return [codes.CHRONIC[(first + place) % len(codes.CHRONIC)] for place in range(count)]


def _treatment(life: Life, ailment: Ailment, start: int, end: int) -> Iterator[Happening]:
    """Yield a chronic ailment's visits, some four months apart, and its refills."""
    dice = life.dice
    day = start + dice.below(120)
    while day <= end:
        yield day, _MEDICAL, partial(professional_claims.office, ailment=ailment), _twist(dice)
        day += dice.between(100, 200)
    drug = dice.pick(ailment.drugs)
    day, refill = start + dice.below(drug.days), 0
    while day <= end:
        yield day, _MEDICAL, _filling_of(drug, refill), _twist(dice)
        day += drug.days + dice.below(25)
        refill += 1


def _sessions(life: Life, start: int) -> Iterator[Happening]:
    """Yield dialysis on Mondays, Wednesdays and Fridays."""
    for day in range(start, life.today + 1):
        if date.fromordinal(day).weekday() in {0, 2, 4}:
            yield happening("dialysis", day, Twist.NONE if day % 31 else Twist.REPLACED)


def _grave(life: Life) -> Iterator[Happening]:
    """Yield rare conditions with many claims: failed kidneys, cancer."""
    dice, age = life.dice, life.person.age(life.today)
    first = life.covers[0].start if life.covers else life.today
    span = max(1, life.today - first)
    if age > 40 and dice.chance(4):
        yield from _sessions(life, first + dice.below(span))
    if age > 30 and dice.chance(8):
        day = first + dice.below(span)
        for month in range(dice.between(4, 9)):
            yield happening("chemo", day + 28 * month, _twist(dice))


def _births(person: Person, household: Household) -> Iterator[Happening]:
    """Yield the member's own birth, and those of the member's children, where covered."""
    if person.relationship == "child":
        yield happening("newborn", person.birth, Twist.NONE)
    parents = [other for other in household.people[:2] if other.relationship in {"self", "spouse"}]
    mother = next((other for other in parents if other.sex == "F"), None)
    if mother is person:
        for child in household.people:
            if child.relationship == "child":
                yield happening("delivery", child.birth, Twist.NONE)
