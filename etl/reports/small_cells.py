"""Suppression of small cells: no sum of money over a few claims, and none from which one follows.

A sum over one claim is its amount. So a sum over 1 to `most` claims is withheld, and of the sums
that it could be worked out from, enough that it cannot. All tables of money of a run divide the
same totals: by claim type, payer, plan, month, status or file. Whoever has a total and all parts of
it but one has that one. So of a total that is shown, `pooled` withholds either no part of a table,
or several parts that are over more than `most` claims together, and `jointly_pooled` tries what
follows from several tables:

* The source is published + quarantined + superseded: it is withheld where one of them is.
* Published less net is what does not count: where that is of few claims, the net is withheld.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from etl.columns.numbers import cents_text
from etl.model.canonical_tables import AMOUNT_CATEGORIES
from etl.quality.totals.money import LEVELS, MoneyKey, MoneyTotals
from etl.reports.pools import Cell, Pool, discloses, pool_of, pooled

SMALL_CELLS: Final = 10
"""Largest number of claims for which a sum is withheld: CMS shows no cell of 1 to 10."""

SUMS: Final = ("source", "published", "quarantined", "superseded", "net")
_PARTS: Final = ("published", "quarantined", "superseded")
LEVEL_NAMES: Final = {"claim": "header", "claim_line": "lines"}
"""Levels, as a report calls them."""

_TINY: Final = 1e-9


@dataclass(frozen=True, slots=True)
class ShownMoney:
    """The sums of one cell, in cents; None where one is withheld.

    Attributes:
        source, published, quarantined, superseded, net: as in `MoneyTotals`.
        adds_up: whether the exact sums do.
    """

    source: int | None
    published: int | None
    quarantined: int | None
    superseded: int | None
    net: int | None
    adds_up: bool

    @property
    def withheld(self) -> int:
        """Number of withheld sums."""
        return sum(getattr(self, name) is None for name in SUMS)


@dataclass(frozen=True, slots=True)
class MoneyTable:
    """Money of a report, with small cells withheld.

    Attributes:
        cells: by level, claim type and category.
        totals: level and category -> sums over all claim types.
    """

    cells: Mapping[MoneyKey, ShownMoney]
    totals: Mapping[tuple[str, str], ShownMoney]

    @property
    def withheld(self) -> int:
        """Number of withheld sums of cells."""
        return sum(cell.withheld for cell in self.cells.values())


def shown_money(money: Mapping[MoneyKey, MoneyTotals], most: int) -> MoneyTable:
    """Return what may be shown of the sums of a report.

    Args:
        money: by level, claim type and category.
        most: sums over at most so many claims are withheld; 0 to withhold none.
    """
    cells: dict[MoneyKey, ShownMoney] = {}
    totals: dict[tuple[str, str], ShownMoney] = {}
    for level in LEVELS:
        for category in AMOUNT_CATEGORIES:
            rows = {
                key: totals
                for key, totals in money.items()
                if (key.level, key.category) == (level, category)
            }
            if not rows:
                continue
            withheld, withheld_totals = _withheld(rows, most)
            for key, sums in rows.items():
                cells[key] = _shown(sums, {name for name in SUMS if key in withheld[name]})
            totals[level, category] = _shown(sum(rows.values(), MoneyTotals()), withheld_totals)
    return MoneyTable({key: cells[key] for key in money}, totals)


def _withheld(
    rows: Mapping[MoneyKey, MoneyTotals], most: int
) -> tuple[dict[str, set[MoneyKey]], set[str]]:
    """Return the claim types of which each sum is withheld, and the sums of all types that are."""
    withheld: dict[str, set[MoneyKey]] = {}
    of_all: set[str] = set()
    for name in _PARTS:
        pool = pooled({key: _part(totals, name) for key, totals in rows.items()}, most)
        withheld[name] = set(pool.names)
        if pool.is_withheld:
            of_all.add(name)
    withheld["source"] = set().union(*(withheld[name] for name in _PARTS))
    withheld["net"], is_net_withheld = _withheld_nets(rows, withheld["published"], most)
    if of_all:
        of_all.add("source")
    if is_net_withheld or "published" in of_all:
        of_all.add("net")
    return withheld, of_all


def _part(totals: MoneyTotals, name: str) -> Cell:
    return getattr(totals, f"{name}_claims"), getattr(totals, name)


def _withheld_nets(
    rows: Mapping[MoneyKey, MoneyTotals], unpublished: set[MoneyKey], most: int
) -> tuple[set[MoneyKey], bool]:
    """Return the claim types with a net sum that is withheld, and whether that of all types is.

    Args:
        rows: the sums of each claim type.
        unpublished: those with a published sum that is withheld.
        most: sums over at most so many claims are withheld.
    """
    net = {key: _part(totals, "net") for key, totals in rows.items()}
    other = {
        key: (totals.published_claims - totals.net_claims, totals.published - totals.net)
        for key, totals in rows.items()
    }
    withheld = unpublished | {
        key
        for part in (net, other)
        for key, cell in part.items()
        if most and any(cell) and cell[0] <= most
    }
    # A net sum is only unknown beside its published sum where some claims count and some do not.
    candidates = sorted(
        (key for key in rows if key not in withheld and net[key][0] and other[key][0]),
        key=lambda key: rows[key].published_claims,
    )
    while any(
        _discloses_beside_zeros([part[key] for key in group], most)
        for group in (
            withheld,
            withheld - unpublished,
            {key for key in withheld if any(net[key])},
        )
        for part in (net, other)
    ):
        if not candidates:
            return withheld, True
        withheld.add(candidates.pop(0))
    return withheld, False


def _discloses_beside_zeros(cells: Iterable[Cell], most: int) -> bool:
    """Return the same of a reader who knows which of the cells are nothing."""
    filled = [cell for cell in cells if any(cell)]
    return bool(filled) and discloses([cell for cell in filled if cell[1]] or filled, most)


def _shown(totals: MoneyTotals, withheld: Set[str]) -> ShownMoney:
    sums = {name: None if name in withheld else getattr(totals, name) for name in SUMS}
    return ShownMoney(**sums, adds_up=totals.adds_up)


def jointly_pooled(
    tables: Mapping[str, Mapping[str, Cell]],
    fixed: Mapping[str, Iterable[str]],
    together: Mapping[tuple[str, ...], int],
    most: int,
) -> dict[str, Pool[str]]:
    """Return the cells that are not shown, of several tables that divide one total.

    A plan is of one payer, and a payer may have one type of claims: then cells of one table, less
    those of another, are a small cell. Each small cell, and each few claims that have their values
    of all dimensions together, is tried against all that is shown.

    Args:
        tables: dimension -> its cells.
        fixed: dimension -> its cells that are not shown, where that is decided.
        together: values that claims have together, one of each table -> how many claims.
        most: sums over at most so many claims are not shown; 0 to show every one.
    """
    pools = {by: set(fixed.get(by, pooled(cells, most).names)) for by, cells in tables.items()}
    # Where a cell comes to nothing, so does each part of it, and the reader knows that.
    parts = [
        values
        for values in together
        if all(
            cells.get(value, (0, 0))[1]
            for value, cells in zip(values, tables.values(), strict=True)
        )
    ]
    sums = {
        (by, name): np.array([values[at] == name for values in parts], dtype=float)
        for at, (by, cells) in enumerate(tables.items())
        for name in cells
    }
    small = [
        sums[by, name]
        for by, cells in tables.items()
        for name, cell in cells.items()
        if most and any(cell) and cell[0] <= most
    ]
    small += [
        row
        for values, row in zip(parts, np.eye(len(parts)), strict=True)
        if together[values] <= most
    ]
    candidates = sorted(
        ((by, name) for by, cells in tables.items() if by not in fixed for name in cells),
        key=lambda each: tables[each[0]][each[1]][0],
    )

    def shown(*, but: tuple[str, str] | None = None) -> Any:
        rows = [
            row for (by, name), row in sums.items() if name not in pools[by] and (by, name) != but
        ]
        return np.stack([np.ones(len(parts)), *rows])

    while parts and (found := _first_spanned(small, shown())) is not None:
        candidates = [(by, name) for by, name in candidates if name not in pools[by]]
        if not candidates:
            break
        enough = (each for each in candidates if _first_spanned([found], shown(but=each)) is None)
        by, name = next(enough, candidates[0])
        pools[by].add(name)
    return {by: pool_of(tables[by], pools[by], most) for by in tables}


def _first_spanned(wanted: Iterable[Any], rows: Any) -> Any:
    """Return the first vector that is a linear combination of some rows; None if none is."""
    _, sizes, basis = np.linalg.svd(rows, full_matrices=False)
    basis = basis[sizes > _TINY]
    for vector in wanted:
        if np.abs(vector - vector @ basis.T @ basis).max() < _TINY:
            return vector
    return None


def exact_csv(money: Mapping[MoneyKey, MoneyTotals], key: bytes) -> bytes:
    """Return the exact sums, and over how many claims each is, for those who may see claims.

    A manifest states the SHA-256 of each file. That of a few amounts could be found by trying, so
    each row ends with a hash that cannot be made without the key.

    Args:
        money: by level, claim type and category.
        key: of the payer's ids.
    """
    rows = [
        [
            LEVEL_NAMES[cell.level],
            cell.claim_type,
            cell.category,
            *(cents_text(getattr(sums, name)) for name in SUMS),
            *(str(getattr(sums, f"{name}_claims")) for name in SUMS[1:]),
            "yes" if sums.adds_up else "no",
        ]
        for cell, sums in money.items()
    ]
    seal = hashlib.blake2b(_text(rows), key=key, digest_size=16).hexdigest()
    head = ["level", "claim_type", "category", *SUMS, *(f"{name}_claims" for name in SUMS[1:])]
    return _text([[*head, "adds_up", "seal"], *([*row, seal] for row in rows)])


def _text(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
