"""Combinations of expressions and conditions, simplified by what is known of their parts."""

from __future__ import annotations

from collections.abc import Iterable

from etl.mapping import expressions as ex


def joined(parts: Iterable[ex.Expr]) -> ex.Expr:
    """Return texts put together, with constants merged."""
    merged: list[ex.Expr] = []
    for part in parts:
        for piece in part.parts if isinstance(part, ex.Joined) else (part,):
            if isinstance(piece, ex.Absent):
                return ex.Absent()
            if merged and isinstance(piece, ex.Constant) and isinstance(merged[-1], ex.Constant):
                merged[-1] = ex.Constant(merged[-1].value + piece.value)
            else:
                merged.append(piece)
    merged = [part for part in merged if part != ex.Constant("")] or [ex.Constant("")]
    if len(merged) == 1 and isinstance(merged[0], ex.Constant):
        return merged[0]
    return ex.Joined(tuple(merged))


def negation(condition: ex.Condition) -> ex.Condition:
    """Return the opposite of a condition."""
    match condition:
        case ex.Truth(holds):
            return ex.Truth(not holds)
        case ex.Not(of):
            return of
        case _:
            return ex.Not(condition)


def conjunction(parts: Iterable[ex.Condition]) -> ex.Condition:
    """Return a condition that holds where all of some hold."""
    flat: list[ex.Condition] = []
    for part in parts:
        if part == ex.Truth(holds=False):
            return part
        if part != ex.Truth(holds=True):
            flat.extend(part.parts if isinstance(part, ex.AllOf) else (part,))
    if not flat:
        return ex.Truth(holds=True)
    return flat[0] if len(flat) == 1 else ex.AllOf(tuple(flat))


def disjunction(parts: Iterable[ex.Condition]) -> ex.Condition:
    """Return a condition that holds where any of some holds."""
    flat: list[ex.Condition] = []
    for part in parts:
        if part == ex.Truth(holds=True):
            return part
        if part != ex.Truth(holds=False):
            flat.extend(part.parts if isinstance(part, ex.AnyOf) else (part,))
    if not flat:
        return ex.Truth(holds=False)
    return flat[0] if len(flat) == 1 else ex.AnyOf(tuple(flat))


def first_of(parts: Iterable[ex.Expr]) -> ex.Expr:
    """Return the first of several that is there."""
    kept: list[ex.Expr] = []
    for part in parts:
        if isinstance(part, ex.Absent):
            continue
        kept.extend(part.parts if isinstance(part, ex.FirstOf) else (part,))
        if not part.nullable:
            break
    if not kept:
        return ex.Absent()
    return kept[0] if len(kept) == 1 else ex.FirstOf(tuple(kept), common_kind(kept))


def common_kind(parts: Iterable[ex.Expr]) -> ex.Kind:
    """Return the kind of a value that is one of several; text where they differ."""
    kinds = {part.kind for part in parts if not isinstance(part, ex.Absent)}
    if len(kinds) == 1:
        return kinds.pop()
    return ex.Kind.CODE if kinds <= {ex.Kind.CODE, ex.Kind.TEXT, ex.Kind.FLAG} else ex.Kind.TEXT
