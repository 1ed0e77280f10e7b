"""Combinations of expressions and conditions, simplified by what is known of their parts."""

from __future__ import annotations

from collections.abc import Iterable

from etl.mapping.expressions import (
    Absent,
    AllOf,
    AnyOf,
    Condition,
    Constant,
    Expr,
    FirstOf,
    Joined,
    Kind,
    Not,
    Truth,
)


def joined(parts: Iterable[Expr]) -> Expr:
    """Return texts put together, with constants merged."""
    merged: list[Expr] = []
    for part in parts:
        for piece in part.parts if isinstance(part, Joined) else (part,):
            if isinstance(piece, Absent):
                return Absent()
            if merged and isinstance(piece, Constant) and isinstance(merged[-1], Constant):
                merged[-1] = Constant(merged[-1].value + piece.value)
            else:
                merged.append(piece)
    merged = [part for part in merged if part != Constant("")] or [Constant("")]
    if len(merged) == 1 and isinstance(merged[0], Constant):
        return merged[0]
    return Joined(tuple(merged))


def negation(condition: Condition) -> Condition:
    """Return the opposite of a condition."""
    match condition:
        case Truth(holds):
            return Truth(not holds)
        case Not(of):
            return of
        case _:
            return Not(condition)


def conjunction(parts: Iterable[Condition]) -> Condition:
    """Return a condition that holds where all of some hold."""
    flat: list[Condition] = []
    for part in parts:
        if part == Truth(holds=False):
            return part
        if part != Truth(holds=True):
            flat.extend(part.parts if isinstance(part, AllOf) else (part,))
    if not flat:
        return Truth(holds=True)
    return flat[0] if len(flat) == 1 else AllOf(tuple(flat))


def disjunction(parts: Iterable[Condition]) -> Condition:
    """Return a condition that holds where any of some holds."""
    flat: list[Condition] = []
    for part in parts:
        if part == Truth(holds=True):
            return part
        if part != Truth(holds=False):
            flat.extend(part.parts if isinstance(part, AnyOf) else (part,))
    if not flat:
        return Truth(holds=False)
    return flat[0] if len(flat) == 1 else AnyOf(tuple(flat))


def first_of(parts: Iterable[Expr]) -> Expr:
    """Return the first of several that is there."""
    kept: list[Expr] = []
    for part in parts:
        if isinstance(part, Absent):
            continue
        kept.extend(part.parts if isinstance(part, FirstOf) else (part,))
        if not part.nullable:
            break
    if not kept:
        return Absent()
    return kept[0] if len(kept) == 1 else FirstOf(tuple(kept), common_kind(kept))


def common_kind(parts: Iterable[Expr]) -> Kind:
    """Return the kind of a value that is one of several; text where they differ."""
    kinds = {part.kind for part in parts if not isinstance(part, Absent)}
    if len(kinds) == 1:
        return kinds.pop()
    return Kind.CODE if kinds <= {Kind.CODE, Kind.TEXT, Kind.FLAG} else Kind.TEXT
