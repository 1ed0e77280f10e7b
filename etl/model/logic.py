"""Boolean algebra for conditions, formulas and constraints.

The operands are immutable values of any kind; True and False are constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AllOf:
    """True if all parts are."""

    parts: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """True if any part is."""

    parts: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True if the operand is not."""

    operand: Any


def all_of(*parts: T) -> T | AllOf | bool:
    """Return the conjunction of the parts, without the constant ones."""
    if False in [part for part in parts if isinstance(part, bool)]:
        return False
    members = _flatten(AllOf, parts)
    return (members[0] if len(members) == 1 else AllOf(members)) if members else True


def any_of(*parts: T) -> T | AnyOf | bool:
    """Return the disjunction of the parts, without the constant ones."""
    if True in [part for part in parts if isinstance(part, bool)]:
        return True
    members = _flatten(AnyOf, parts)
    return (members[0] if len(members) == 1 else AnyOf(members)) if members else False


def _flatten(kind: type[AllOf | AnyOf], parts: tuple[T, ...]) -> tuple[T, ...]:
    """Flatten nested parts of one kind; drop constants and duplicates."""
    flattened: dict[int, T] = {}
    for part in parts:
        if not isinstance(part, bool):
            members = part.parts if isinstance(part, kind) else (part,)
            # Deduplicates by identity, because comparing the objects is slow.
            flattened |= {id(item): item for item in members}
    return tuple(flattened.values())


def negate(part: T) -> T | Not | bool:
    """Return the negation of a part."""
    if isinstance(part, bool):
        return not part
    return part.operand if isinstance(part, Not) else Not(part)
