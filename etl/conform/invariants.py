"""Invariants of profiles: which of them are checked, by what, and what a broken one says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from etl.conform import fhirpath, natives_eob
from etl.conform.findings import ConformanceRule, IssueSeverity
from etl.conform.natives import NATIVES, meta_profile, signature

if TYPE_CHECKING:
    from etl.conform.visit import Holds
    from etl.profiles.guides import Guide
    from etl.profiles.structures import Element, Invariant, Profile

NOT_CHECKED: Final = frozenset({"dom-6", "ele-1"})
"""Left out: dom-6 only recommends a narrative; ele-1 is part of the structural checks."""

WHERE_CONTAINED: Final = frozenset({"dom-2", "dom-3", "dom-4", "dom-5"})
"""Invariants that say nothing about a resource without contained ones."""

_LONGEST: Final = 160


def test_of(invariant: Invariant, path: str, guide: Guide) -> Holds:
    """Return the test of an invariant: Python where there is some, else the FHIRPath library."""
    test = native(invariant.key, invariant.expression, guide)
    if test is None:
        test = fhirpath.holds(invariant.expression, path, guide)
    if invariant.key in WHERE_CONTAINED:
        return _guarded(test)
    return test


def native(key: str, expression: str, guide: Guide) -> Holds | None:
    """Return the Python test of an invariant, or None where only the library can tell."""
    made = NATIVES.get((key, signature(expression)))
    if made is not None:
        return made(guide)
    return natives_eob.care_team(expression) or meta_profile(expression)


def _guarded(test: Holds) -> Holds:
    return lambda value, root: "contained" not in value or test(value, root)


def rule_of(invariant: Invariant, profile: Profile, element: Element) -> ConformanceRule:
    """Return the rule that a broken invariant is reported as."""
    expression = " ".join(invariant.expression.split())
    if len(expression) > _LONGEST:
        expression = f"{expression[:_LONGEST]}…"
    return ConformanceRule(
        invariant.key,
        IssueSeverity(invariant.severity),
        f"{element.id} breaks the invariant {invariant.key} of {profile.name}: {expression}",
    )
