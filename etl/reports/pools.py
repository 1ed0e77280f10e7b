"""Pools: the cells of a table that are withheld, so that no small one can be worked out.

Needs no library, so that a host that only serves has it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

Name = TypeVar("Name")
Cell: TypeAlias = tuple[int, int]
"""Number of claims behind a sum, and its cents."""


@dataclass(frozen=True, slots=True)
class Pool(Generic[Name]):
    """Cells of a table that are not shown each.

    Attributes:
        names: of the cells; empty if all are shown.
        claims: how many claims they are over together.
        cents: their sum.
        is_withheld: whether that sum is withheld too, and with it the total of the table.
    """

    names: tuple[Name, ...]
    claims: int
    cents: int
    is_withheld: bool


def pooled(cells: Mapping[Name, Cell], most: int) -> Pool[Name]:
    """Return the cells of a table that are not shown: the small ones, and what would tell them.

    The small ones are put together, with the next larger ones until their sum is not small either:
    where only one is left out, it is the sum of all less what is shown.

    Args:
        cells: claims and cents, by name; the parts of a total.
        most: sums over at most so many claims are not shown; 0 to show every one.
    """
    # An amount without a claim would be a bug of counting: it is not shown either.
    filled = sorted((name for name in cells if any(cells[name])), key=lambda name: cells[name][0])
    pool = [name for name in filled if most and cells[name][0] <= most]
    rest = filled[len(pool) :]
    while pool and rest and discloses([cells[name] for name in pool], most):
        pool.append(rest.pop(0))
    return pool_of(cells, pool, most)


def pool_of(cells: Mapping[Name, Cell], names: Iterable[Name], most: int) -> Pool[Name]:
    """Return some cells of a table as one that is not shown."""
    kept = tuple(name for name in cells if name in names)
    parts = [cells[name] for name in kept]
    return Pool(
        kept,
        sum(claims for claims, _ in parts),
        sum(cents for _, cents in parts),
        bool(parts) and discloses(parts, most),
    )


def discloses(cells: Iterable[Cell], most: int) -> bool:
    """Return whether the sum of some withheld cells discloses one of them, or few claims.

    If it is nothing, so is each of them: amounts are seldom negative.
    """
    filled = [cell for cell in cells if any(cell)]
    return (
        len(filled) == 1
        or 0 < sum(claims for claims, _ in filled) <= most
        or (bool(filled) and not any(cents for _, cents in filled))
    )
