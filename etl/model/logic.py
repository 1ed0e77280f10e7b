"""One boolean algebra, of conditions, formulas and constraints alike.

What is combined are immutable values of any kind; True and False stand for themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AllOf:
    """Whether every one of some parts holds."""

    parts: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Whether one of some parts holds."""

    parts: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Whether something does not hold."""

    of: Any


def all_of(*parts: T) -> T | AllOf | bool:
    """Return the conjunction of the parts, without the constant ones."""
    if False in [part for part in parts if isinstance(part, bool)]:
        return False
    flat = _flat(AllOf, parts)
    return (flat[0] if len(flat) == 1 else AllOf(flat)) if flat else True


def any_of(*parts: T) -> T | AnyOf | bool:
    """Return the disjunction of the parts, without the constant ones."""
    if True in [part for part in parts if isinstance(part, bool)]:
        return True
    flat = _flat(AnyOf, parts)
    return (flat[0] if len(flat) == 1 else AnyOf(flat)) if flat else False


def _flat(kind: type[AllOf | AnyOf], parts: tuple[T, ...]) -> tuple[T, ...]:
    """Return parts, and parts of those of a kind, without constants; each object once."""
    flat: dict[int, T] = {}
    for part in parts:
        if not isinstance(part, bool):
            inner = part.parts if isinstance(part, kind) else (part,)
            # Objects are told apart by identity: to compare them all is slow.
            flat |= {id(each): each for each in inner}
    return tuple(flat.values())


def negate(part: T) -> T | Not | bool:
    """Return the opposite of a part."""
    if isinstance(part, bool):
        return not part
    return part.of if isinstance(part, Not) else Not(part)
