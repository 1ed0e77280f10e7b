"""Pools: the cells of a table that are withheld so that no small one can be worked out.

Uses no library, so a host that only serves releases can import it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

Name = TypeVar("Name")
Cell: TypeAlias = tuple[int, int]
"""Number of claims in a sum, and its cents."""


@dataclass(frozen=True, slots=True)
class Pool(Generic[Name]):
    """Cells of a table that are only shown as one sum, or not at all.

    Attributes:
        names: of the cells; empty if every cell is shown.
        claims: the sum of their claims.
        cents: the sum of their cents.
        is_withheld: whether these sums are withheld too, and with them the table's total.
    """

    names: tuple[Name, ...]
    claims: int
    cents: int
    is_withheld: bool


def pool_cells(cells: Mapping[Name, Cell], threshold: int) -> Pool[Name]:
    """Choose the cells of a table to withhold: small ones, and others that would disclose them.

    Small cells are pooled with the next larger ones until the pool's sum discloses none of them. A
    single withheld cell would be the total minus the shown cells.

    Args:
        cells: claims and cents by name; the parts of a total.
        threshold: sums over at most this many claims are withheld; 0 to show all.
    """
    # An amount without claims would be a counting bug: it is withheld as well.
    filled = sorted((name for name in cells if any(cells[name])), key=lambda name: cells[name][0])
    names = [name for name in filled if threshold and cells[name][0] <= threshold]
    larger_names = filled[len(names) :]
    while names and larger_names and discloses([cells[name] for name in names], threshold):
        names.append(larger_names.pop(0))
    return make_pool(cells, names, threshold)


def make_pool(cells: Mapping[Name, Cell], names: Iterable[Name], threshold: int) -> Pool[Name]:
    """Return the named cells of a table as a pool."""
    ordered = tuple(name for name in cells if name in names)
    parts = [cells[name] for name in ordered]
    return Pool(
        ordered,
        sum(claims for claims, _ in parts),
        sum(cents for _, cents in parts),
        bool(parts) and discloses(parts, threshold),
    )


def discloses(cells: Iterable[Cell], threshold: int) -> bool:
    """Return whether the sum of withheld cells discloses one of them, or is over few claims.

    A sum of zero discloses all: amounts are seldom negative, so each cell is zero.
    """
    filled = [cell for cell in cells if any(cell)]
    return (
        len(filled) == 1
        or 0 < sum(claims for claims, _ in filled) <= threshold
        or (bool(filled) and not any(cents for _, cents in filled))
    )
