"""One obligation of a profile towards the resources of a plan, and how it is met."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from etl.mapping.plan import CitedMark
from etl.mapping.row_tests import Test
from etl.profiles.structures import Profile

What: TypeAlias = Literal[
    "required", "limit", "pattern", "binding", "form", "code", "reference", "invariant", "guide"
]


@dataclass(frozen=True, slots=True)
class Obligation:
    """One thing that a profile requires of the resources of a plan.

    Attributes:
        rule: id under which a row that breaks it is reported: `c4bb.oral.adjudication`, or the
            key of the invariant.
        what: kind of obligation.
        path: FHIR path with slices, without the resource type.
        profile: name of the profile.
        place: where the mapping makes what it is about.
        proved: why no row can break it; "" where one could.
        test: finds the rows that break it; None where it is proved or listed.
        listed: why it is not checked; "" else.
    """

    rule: str
    what: What
    path: str
    profile: str
    place: CitedMark
    proved: str = ""
    test: Test | None = None
    listed: str = ""


def of_data(every: tuple[Obligation, ...]) -> tuple[Obligation, ...]:
    """Return the obligations that rows can break, one for each different test."""
    kept: list[Obligation] = []
    # A rule has few, and to hash a test goes all through it.
    tests: dict[str, list[Test]] = defaultdict(list)
    for obligation in every:
        test, same_rule = obligation.test, tests[obligation.rule]
        if test is not None and test not in same_rule:
            same_rule.append(test)
            kept.append(obligation)
    return tuple(kept)


def profile_slug(profile: Profile) -> str:
    """Return how rule ids name a profile: `c4bb.oral`, `c4bb.patient`, `us-core-location`."""
    name = profile.name.removeprefix("C4BB-")
    if name == profile.name:
        return name.lower()
    return "c4bb." + (name.removeprefix("ExplanationOfBenefit-") or "eob").lower()


def counted(every: Iterable[Obligation]) -> Mapping[str, int]:
    """Return how many obligations are proved, checked in the run, and listed."""
    result = {"proved": 0, "of data": 0, "listed": 0}
    for obligation in every:
        key = "proved" if obligation.proved else "listed" if obligation.listed else "of data"
        result[key] += 1
    return result
