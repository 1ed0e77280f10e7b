"""Checks of search values: whether they have the form that their parameter is searched in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from etl.errors import MappingError
from etl.mapping import expressions as ex
from etl.mapping.plan import Fixed, Leaf, Plan, nodes_of

_SEPARATORS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {"token": ("|", "system|code"), "reference": ("/", "Type/id")}
)
"""Type of a search parameter -> what its stored values must hold, and their form."""


def search_problems(plan: Plan, types: Mapping[str, str]) -> Iterator[MappingError]:
    """Yield search values that no search could find.

    Args:
        plan: a compiled mapping.
        types: search parameter of the plan's resource -> its FHIR type.
    """
    for parameter, values in plan.search.items():
        name, _, modifier = parameter.partition(":")
        if types.get(name) not in _SEPARATORS or modifier == "text":
            continue
        separator, form = _SEPARATORS[types[name]]
        for _, node in nodes_of(values):
            if isinstance(node, Fixed | Leaf) and not _holds(node, separator):
                what = f"search.{parameter}: no search finds a value without the form {form}"
                yield MappingError(str(node.place), "map-search", what)


def _holds(node: Fixed | Leaf, separator: str) -> bool:
    if isinstance(node, Fixed):
        return separator in node.json
    return _always_has(node.expr, separator)


def _always_has(expr: ex.Expr, separator: str) -> bool:
    """Return whether each value of an expression holds a separator that the mapping writes."""
    match expr:
        case ex.Constant(value=value):
            return separator in value
        case ex.Joined(parts=parts):
            return any(_always_has(part, separator) for part in parts)
        case ex.FirstOf(parts=parts):
            return all(_always_has(part, separator) for part in parts)
        case ex.Chosen(then=then, otherwise=otherwise):
            return _always_has(then, separator) and _always_has(otherwise, separator)
        case ex.Cased(of=of):
            return _always_has(of, separator)
        case ex.ProviderReference():
            return separator == "/"
        case ex.Absent():
            return True
        case _:
            return False
