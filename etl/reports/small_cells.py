"""Suppression of small cells: sums of money over few claims, and sums that would disclose them.

A sum over one claim is its amount. So a sum over 1 to `threshold` claims is withheld, with enough
other sums that it cannot be computed. All money tables of a run divide the same totals: by claim
type, payer, plan, month, status or file. A total minus all parts but one gives that part. So if a
total is shown, `pool_cells` withholds either no part of it or several parts over more than
`threshold` claims together. `pool_jointly` also tries what follows from several tables together.

* Source = published + quarantined + superseded: it is withheld if one of them is.
* Published minus net is the money that does not count: if few claims have it, net is withheld.
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
from etl.reports.pools import Cell, Pool, discloses, make_pool, pool_cells

SMALL_CELLS: Final = 10
"""Largest number of claims for which a sum is withheld: CMS shows no cell of 1 to 10."""

SUMS: Final = ("source", "published", "quarantined", "superseded", "net")
_PARTS: Final = ("published", "quarantined", "superseded")
LEVEL_NAMES: Final = {"claim": "header", "claim_line": "lines"}
"""Levels, as a report calls them."""

_TOLERANCE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class ShownMoney:
    """The sums of one cell, in cents; None if one is withheld.

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


def shown_money(money: Mapping[MoneyKey, MoneyTotals], threshold: int) -> MoneyTable:
    """Withhold the small cells among a report's sums.

    Args:
        money: by level, claim type and category.
        threshold: sums over at most this many claims are withheld; 0 to withhold none.
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
            withheld, withheld_totals = _choose_withheld(rows, threshold)
            for key, sums in rows.items():
                cells[key] = _hide_sums(sums, {name for name in SUMS if key in withheld[name]})
            totals[level, category] = _hide_sums(sum(rows.values(), MoneyTotals()), withheld_totals)
    return MoneyTable({key: cells[key] for key in money}, totals)


def _choose_withheld(
    rows: Mapping[MoneyKey, MoneyTotals], threshold: int
) -> tuple[dict[str, set[MoneyKey]], set[str]]:
    """Return, for each sum, the claim types that withhold it; and the withheld sums of totals."""
    withheld: dict[str, set[MoneyKey]] = {}
    of_all: set[str] = set()
    for name in _PARTS:
        pool = pool_cells({key: _cell(totals, name) for key, totals in rows.items()}, threshold)
        withheld[name] = set(pool.names)
        if pool.is_withheld:
            of_all.add(name)
    withheld["source"] = set().union(*(withheld[name] for name in _PARTS))
    withheld["net"], is_net_withheld = _withheld_nets(rows, withheld["published"], threshold)
    if of_all:
        of_all.add("source")
    if is_net_withheld or "published" in of_all:
        of_all.add("net")
    return withheld, of_all


def _cell(totals: MoneyTotals, name: str) -> Cell:
    return getattr(totals, f"{name}_claims"), getattr(totals, name)


def _withheld_nets(
    rows: Mapping[MoneyKey, MoneyTotals], unpublished: set[MoneyKey], threshold: int
) -> tuple[set[MoneyKey], bool]:
    """Return the claim types whose net sum is withheld, and whether the total's is.

    Args:
        rows: the sums of each claim type.
        unpublished: claim types whose published sum is withheld.
        threshold: sums over at most this many claims are withheld.
    """
    net_cells = {key: _cell(totals, "net") for key, totals in rows.items()}
    other_cells = {
        key: (totals.published_claims - totals.net_claims, totals.published - totals.net)
        for key, totals in rows.items()
    }
    withheld = unpublished | {
        key
        for cells in (net_cells, other_cells)
        for key, cell in cells.items()
        if threshold and any(cell) and cell[0] <= threshold
    }
    # Withholding a net sum hides nothing if all claims of the type count, or none does.
    candidates = sorted(
        (key for key in rows if key not in withheld and net_cells[key][0] and other_cells[key][0]),
        key=lambda key: rows[key].published_claims,
    )
    while any(
        _discloses_beside_zeros([cells[key] for key in group], threshold)
        for group in (
            withheld,
            withheld - unpublished,
            {key for key in withheld if any(net_cells[key])},
        )
        for cells in (net_cells, other_cells)
    ):
        if not candidates:
            return withheld, True
        withheld.add(candidates.pop(0))
    return withheld, False


def _discloses_beside_zeros(cells: Iterable[Cell], threshold: int) -> bool:
    """Return `discloses` for a reader who knows which cells are zero."""
    filled = [cell for cell in cells if any(cell)]
    return bool(filled) and discloses([cell for cell in filled if cell[1]] or filled, threshold)


def _hide_sums(totals: MoneyTotals, withheld: Set[str]) -> ShownMoney:
    sums = {name: None if name in withheld else getattr(totals, name) for name in SUMS}
    return ShownMoney(**sums, adds_up=totals.adds_up)


def pool_jointly(
    tables: Mapping[str, Mapping[str, Cell]],
    decided: Mapping[str, Iterable[str]],
    joint_counts: Mapping[tuple[str, ...], int],
    threshold: int,
) -> dict[str, Pool[str]]:
    """Choose the cells to withhold in several tables that divide one total.

    A plan belongs to one payer, and a payer may have only one claim type: then cells of one table
    minus cells of another can give a small cell. So each small cell, and each combination of values
    that few claims have, is checked against everything that is shown.

    Args:
        tables: dimension -> its cells.
        decided: dimension -> its withheld cells, if they are already decided.
        joint_counts: combination of values, one of each table -> how many claims have it.
        threshold: sums over at most this many claims are withheld; 0 to show all.
    """
    pools = {
        by: set(decided.get(by, pool_cells(cells, threshold).names)) for by, cells in tables.items()
    }
    # If a cell is zero, the reader knows that each combination in it is zero as well.
    combinations = [
        values
        for values in joint_counts
        if all(
            cells.get(value, (0, 0))[1]
            for value, cells in zip(values, tables.values(), strict=True)
        )
    ]
    # Each sum as a vector: 1 for each combination that it contains.
    sums = {
        (by, name): np.array([values[index] == name for values in combinations], dtype=float)
        for index, (by, cells) in enumerate(tables.items())
        for name in cells
    }
    small = [
        sums[by, name]
        for by, cells in tables.items()
        for name, cell in cells.items()
        if threshold and any(cell) and cell[0] <= threshold
    ]
    small += [
        row
        for values, row in zip(combinations, np.eye(len(combinations)), strict=True)
        if joint_counts[values] <= threshold
    ]
    candidates = sorted(
        ((by, name) for by, cells in tables.items() if by not in decided for name in cells),
        key=lambda cell: tables[cell[0]][cell[1]][0],
    )

    def shown(*, but: tuple[str, str] | None = None) -> Any:
        rows = [
            row for (by, name), row in sums.items() if name not in pools[by] and (by, name) != but
        ]
        return np.stack([np.ones(len(combinations)), *rows])

    while combinations and (leak := _find_spanned(small, shown())) is not None:
        candidates = [(by, name) for by, name in candidates if name not in pools[by]]
        if not candidates:
            break
        sufficient = (cell for cell in candidates if _find_spanned([leak], shown(but=cell)) is None)
        by, name = next(sufficient, candidates[0])
        pools[by].add(name)
    return {by: make_pool(tables[by], pools[by], threshold) for by in tables}


def _find_spanned(vectors: Iterable[Any], rows: Any) -> Any:
    """Return the first vector that is a linear combination of the rows; None if none is."""
    _, sizes, basis = np.linalg.svd(rows, full_matrices=False)
    basis = basis[sizes > _TOLERANCE]
    for vector in vectors:
        if np.abs(vector - vector @ basis.T @ basis).max() < _TOLERANCE:
            return vector
    return None


def exact_csv(money: Mapping[MoneyKey, MoneyTotals], key: bytes) -> bytes:
    """Return the exact sums and their claim counts as CSV, for staff who may see claims.

    A manifest states the SHA-256 of each file, and a few amounts could be guessed from it. So each
    row ends with a hash that nobody can compute without the key.

    Args:
        money: by level, claim type and category.
        key: the payer's key for logical IDs.
    """
    rows = [
        [
            LEVEL_NAMES[money_key.level],
            money_key.claim_type,
            money_key.category,
            *(cents_text(getattr(sums, name)) for name in SUMS),
            *(str(getattr(sums, f"{name}_claims")) for name in SUMS[1:]),
            "yes" if sums.adds_up else "no",
        ]
        for money_key, sums in money.items()
    ]
    seal = hashlib.blake2b(_csv_bytes(rows), key=key, digest_size=16).hexdigest()
    head = ["level", "claim_type", "category", *SUMS, *(f"{name}_claims" for name in SUMS[1:])]
    return _csv_bytes([[*head, "adds_up", "seal"], *([*row, seal] for row in rows)])


def _csv_bytes(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
