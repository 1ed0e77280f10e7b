"""A parsed search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from etl.gateway.http.responses import FhirError
from etl.gateway.supported_fhir import ResourceType, SearchParameter

Summary = Literal["true", "text", "data", "count", "false"]


@dataclass(frozen=True, slots=True)
class SearchCondition:
    """The condition that one parameter puts on a resource.

    Attributes:
        parameter: the parameter.
        test: whether one of its values is one of those asked for.
        negated: whether no value may be one of them (`:not`).
        missing: whether there must be no value, or any (`:missing`); None for no such condition.
        ids: for `_id`, the requested ids; empty for others.
        references: for a reference, those that meet it, as `Type/id`; empty for others.
        is_folded: whether `test` takes texts without case and accents (`comparisons.folded`).
        link: for a chain or `_has`, by way of what it is put on other resources; None for a
            condition on the resource itself.
        compared: values asked for that are compared with each value of the column one by one:
            dates, texts, places.
        column: the search column that `test` takes; empty for that of the parameter's name.
        text: name and value as the client wrote them: equal for equal conditions on a type.
            Empty for those within a link.
    """

    parameter: SearchParameter
    test: Callable[[str], bool]
    negated: bool = False
    missing: bool | None = None
    ids: frozenset[str] = frozenset()
    references: frozenset[str] = frozenset()
    is_folded: bool = False
    link: ReferenceLink | None = None
    compared: int = 0
    column: str = ""
    text: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class ReferenceLink:
    """A condition on the resources that one refers to, or that refer to it.

    Attributes:
        type: type of the other resources.
        parameter: search parameter with the references: of the searched type, or where `reverse`
            of the other one.
        reverse: whether the other resources refer to the searched one.
        condition: what one of them has to meet.
    """

    type: str
    parameter: str
    reverse: bool
    condition: SearchCondition


@dataclass(frozen=True, slots=True)
class RequestedInclude:
    """References that an answer follows.

    Attributes:
        type: type of the resources that refer.
        parameter: search parameter that holds the references.
        target: the only type that is wanted; None for any.
        iterate: whether references of what was included are followed too.
    """

    type: str
    parameter: str
    target: str | None
    iterate: bool


@dataclass(frozen=True, slots=True)
class SortKey:
    """One parameter to sort by."""

    parameter: str
    descending: bool


@dataclass(frozen=True, slots=True)
class Query:
    """One search of one resource type.

    Attributes:
        kind: the type.
        conditions: conditions that every match meets.
        includes: references of the matches to follow.
        revincludes: references to a match; the resources that have them are included.
        count: matches per page; None for the server's page size.
        sorts: sort keys, the most significant first; empty for the block's order.
        summary: which elements of the matches to return.
        elements: top-level elements to return; empty for all.
        total: whether the number of matches is returned.
        cost: points (`search.cost`).
        used: supported parameters, as requested.
        ignored: which parameters were ignored and why, one sentence each.
    """

    kind: ResourceType
    conditions: tuple[SearchCondition, ...]
    includes: tuple[RequestedInclude, ...]
    revincludes: tuple[RequestedInclude, ...]
    count: int | None
    sorts: tuple[SortKey, ...]
    summary: Summary
    elements: tuple[str, ...]
    total: bool
    cost: int
    used: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...]


BUDGET: Final = 64
"""Maximum cost of one search, in points."""

CONDITION: Final = 3
"""One pass over the values and rows of a column."""

COMPARED_VALUE: Final = 1
"""A requested date, text or location: it is compared with each value of the column."""

CROSSED_REFERENCE: Final = 5
"""A step of a chain or of `_has`: keys of one type are looked up among the rows of another."""

SORT_KEY: Final = 16
INCLUDE: Final = 1
REVINCLUDE: Final = 10


def require_affordable(points: int) -> int:
    """Return `points` unchanged if they are within the budget.

    Raises:
        FhirError: 400 `too-costly`: the points exceed the budget.
    """
    if points > BUDGET:
        raise FhirError(
            "too-costly",
            f"this search costs more than {BUDGET} points: ask for fewer chains, conditions, "
            "dates, texts, places, includes or sort keys at once",
        )
    return points


def condition_cost(condition: SearchCondition) -> int:
    """Return the cost of a condition and the references that it follows, in points."""
    if condition.link:
        return CROSSED_REFERENCE + condition_cost(condition.link.condition)
    return CONDITION + COMPARED_VALUE * condition.compared
