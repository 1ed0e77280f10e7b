"""Counts that must add up by table, and filled cells of the accepted rows by claim type.

Of the rows of a table: in = published + quarantined + superseded + withdrawn. Claims are counted by
the month of their service.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.places import places_of
from etl.model.canonical_tables import TABLES
from etl.quality.totals.money import MONEY_TYPES, OwnerOf, one_owner, types_of_accepted


class CountsDoNotAddUp(AssertionError):
    """Rows were lost or made by the program itself: a bug, never the data's fault."""


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Counts of the rows of one table, by fate.

    Attributes:
        rows_in: rows that the extract holds.
        published: rows that were accepted.
        quarantined: rows that were rejected.
        superseded: rows replaced by another row with their key.
        withdrawn: rows of a directory that are not in force, or depend on one that is not.
    """

    rows_in: int = 0
    published: int = 0
    quarantined: int = 0
    superseded: int = 0
    withdrawn: int = 0

    def __add__(self, other: RowCounts) -> RowCounts:
        return RowCounts(
            self.rows_in + other.rows_in,
            self.published + other.published,
            self.quarantined + other.quarantined,
            self.superseded + other.superseded,
            self.withdrawn + other.withdrawn,
        )

    @property
    def adds_up(self) -> bool:
        """Whether no row was lost or counted twice."""
        fates = (self.published, self.quarantined, self.superseded, self.withdrawn)
        return self.rows_in == sum(fates)


def add_counts(parts: Iterable[Mapping[str, RowCounts]]) -> dict[str, RowCounts]:
    """Return the totals of partitions, table by table."""
    totals: dict[str, RowCounts] = {}
    for part in parts:
        for table, counts in part.items():
            totals[table] = totals.get(table, RowCounts()) + counts
    return totals


def reconcile(counts: Mapping[str, RowCounts], causes: Iterable[int] | None = None) -> None:
    """Check that no row was lost, and that every row in quarantine has a rule that put it there.

    Args:
        counts: table -> counts of its rows, by fate.
        causes: of each rule, rows in quarantine for which it began the chain; None to check rows
            alone.

    Raises:
        CountsDoNotAddUp: naming the table and its counts, or both sums.
    """
    for table, rows in counts.items():
        if not rows.adds_up:
            raise CountsDoNotAddUp(
                f"table {table}: {rows.rows_in} rows in, but {rows.published} published, "
                f"{rows.quarantined} quarantined, {rows.superseded} superseded and "
                f"{rows.withdrawn} withdrawn"
            )
    quarantined = sum(rows.quarantined for rows in counts.values())
    put = quarantined if causes is None else sum(causes)
    if put != quarantined:
        raise CountsDoNotAddUp(f"{quarantined} rows are in quarantine, but rules put {put} there")


SERVICE_COLUMN: Final = "statement_from_date"
"""Column of a claim; its filled cells are counted by month."""

_CLAIM_COLUMN: Final = "claim_id"
_MONTH: Final = len("2026-01")


@dataclass(frozen=True, slots=True, order=True)
class FilledKey:
    """Cells that are counted together.

    Attributes:
        table, column: of the cells.
        claim_type: of the claim that the rows belong to; empty for tables of members and providers.
        month: `YYYY-MM` of the service, for cells of `SERVICE_COLUMN`; else empty.
    """

    table: str
    claim_type: str
    column: str
    month: str = ""


@dataclass(frozen=True, slots=True)
class FilledCells:
    """Counts of the filled cells of a column, by owner, claim type and month.

    Attributes:
        table, column: of the cells.
        types: claim types; one that is empty, for tables of members and providers.
        months: `YYYY-MM`; one that is empty, but for `SERVICE_COLUMN`.
        owner, claim_type, month: numpy `int64`, shape (counts,): whose cells, and places in
            `types` and `months`. Ascending, and no three of them twice.
        counts: numpy `int64`, shape (counts,), above 0.
    """

    table: str
    column: str
    types: Sequence[str]
    months: Sequence[str]
    owner: Any
    claim_type: Any
    month: Any
    counts: Any


def filled_cells(
    accepted: Mapping[str, pa.Table], owner_of: OwnerOf, owners: int
) -> Iterator[FilledCells]:
    """Yield how many cells are filled, of each column that has any.

    Args:
        accepted: accepted rows of every table.
        owner_of: takes numpy arrays of files and rows, gives each row's owner, from 0.
        owners: how many owners there are.
    """
    for name, table in accepted.items():
        if not table.num_rows:
            continue
        owned = owner_of(*places_of(table))
        types: tuple[str, ...] = ("",)
        codes = np.zeros(len(owned), dtype=np.int64)
        if TABLES[name].column(_CLAIM_COLUMN) is not None:
            types, codes = MONEY_TYPES, types_of_accepted(accepted, name)
        keys = owned * len(types) + codes
        size = owners * len(types)
        whole = np.bincount(keys, minlength=size)
        for column in TABLES[name].names:
            cells = table.column(column)
            if cells.null_count == table.num_rows:
                continue
            if (name, column) == ("claim", SERVICE_COLUMN):
                yield _by_month(cells, keys, types)
                continue
            counts = whole
            if cells.null_count:
                counts = np.bincount(keys[np.asarray(pc.is_valid(cells))], minlength=size)
            there = np.flatnonzero(counts)
            owner, claim_type = np.divmod(there, len(types))
            month = np.zeros_like(there)
            yield FilledCells(name, column, types, ("",), owner, claim_type, month, counts[there])


def _by_month(cells: pa.ChunkedArray, keys: Any, types: tuple[str, ...]) -> FilledCells:
    filled = cells.drop_null()
    encoded = pc.utf8_slice_codeunits(filled, 0, _MONTH).combine_chunks().dictionary_encode()
    months, numbers = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    own = keys[np.asarray(pc.is_valid(cells))]
    combined, counts = np.unique(own * len(months) + numbers, return_counts=True)
    there, month = np.divmod(combined, len(months))
    owner, claim_type = np.divmod(there, len(types))
    return FilledCells("claim", SERVICE_COLUMN, types, months, owner, claim_type, month, counts)


def filled_totals(accepted: Mapping[str, pa.Table]) -> dict[FilledKey, int]:
    """Return how many cells of one partition are filled."""
    return {
        FilledKey(each.table, each.types[claim_type], each.column, each.months[month]): count
        for each in filled_cells(accepted, one_owner, 1)
        for claim_type, month, count in zip(
            each.claim_type.tolist(), each.month.tolist(), each.counts.tolist(), strict=True
        )
    }


def add_filled(parts: Iterable[Mapping[FilledKey, int]]) -> dict[FilledKey, int]:
    """Return the totals of partitions, whatever their order."""
    totals: Counter[FilledKey] = Counter()
    for part in parts:
        totals.update(part)
    return dict(sorted(totals.items()))
