"""Search cost: estimated from the query alone, before any work, and bounded by one budget.

A point is at most a millisecond of processor time in a directory of 6,000 practitioners, for the
type with the most rows. Points do not depend on the release: a search that is accepted today is
still accepted when the directory has grown. Parsing stops where the budget is spent, so that a
refusal is cheap too.
"""

from __future__ import annotations

from typing import Final

from etl.gateway.fhir_errors import FhirError
from etl.gateway.search.query import SearchCondition

BUDGET: Final = 64
"""Most points of one search."""

CONDITION: Final = 3
"""One pass over the values and rows of a column."""

COMPARED_VALUE: Final = 1
"""A date, text or place that is asked for: it is compared with each value of the column."""

CROSSED_REFERENCE: Final = 5
"""A step of a chain or of `_has`: keys of one type are looked up among the rows of another."""

SORT_KEY: Final = 16
INCLUDE: Final = 1
REVINCLUDE: Final = 10


def require_affordable(points: int) -> int:
    """Return the points of a search, or of its parameters so far.

    Raises:
        FhirError: 400 `too-costly`: they exceed the budget.
    """
    if points > BUDGET:
        raise FhirError(
            "too-costly",
            f"this search costs more than {BUDGET} points: ask for fewer chains, conditions, "
            "dates, texts, places, includes or sort keys at once",
        )
    return points


def condition_cost(condition: SearchCondition) -> int:
    """Return the points of one condition, with those of the references that it crosses."""
    if condition.links:
        return sum(CROSSED_REFERENCE + condition_cost(link.condition) for link in condition.links)
    return CONDITION + COMPARED_VALUE * condition.compared
