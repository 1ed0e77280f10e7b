"""Forms of FHIR primitives: proofs that values have theirs, or formulas of what breaks it."""

from __future__ import annotations

import re
from typing import Final

from etl.mapping.expressions import Kind, LogicalId
from etl.mapping.formulas import Formula, Misshapen, expr_of
from etl.mapping.plan import Entry, Fixed
from etl.mapping.static_values import static_value
from etl.profiles.structures import primitives

_MARK_FREE: Final = frozenset({"code", "uri", "url", "canonical", "oid", "uuid", "id"})
"""Types with a form that forbids blanks which a text may have."""

_COUNTED: Final = frozenset({"positiveInt", "unsignedInt"})


def form_of(node: Entry, code: str, said: frozenset[str] | None) -> str | Formula | None:
    """Return why a value has the form of its type, or what breaks that; None for no leaf.

    Args:
        node: the value.
        code: its FHIR type.
        said: every text that it can be, where that is known.
    """
    pattern = primitives().get(code)
    if pattern is None:
        return None
    form = re.compile(pattern, re.ASCII)
    if isinstance(node, Fixed):
        value = static_value(node)
        text = value if isinstance(value, str) else node.json
        return "the constant has the form" if form.fullmatch(text) else True
    expr = expr_of(node)
    if expr is None:
        return None
    if said is not None:
        if all(form.fullmatch(text) for text in said):
            return "every answer has the form"
    elif not (code in _COUNTED and expr.kind is Kind.INTEGER) and (
        code not in _MARK_FREE or isinstance(expr, LogicalId)
    ):
        return "the type of the column, which reading makes sure of"
    return Misshapen(expr, code)
