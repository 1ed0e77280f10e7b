"""Count rows by fate, which must add up, and the filled cells of accepted rows by claim type.

For each table: rows in = published + quarantined + superseded + withdrawn. Claims are counted by
month of service.
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
    """The program itself lost or invented rows: a bug, never the data's fault."""


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Counts of the rows of one table, by fate.

    Attributes:
        rows_in: rows in the extract.
        published: rows that were accepted.
        quarantined: rows that were rejected.
        superseded: rows replaced by another row with their key.
        withdrawn: rows that aren't in force, or depend on one that isn't.
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
    """Add up the row counts of partitions, table by table."""
    totals: dict[str, RowCounts] = {}
    for part in parts:
        for table, counts in part.items():
            totals[table] = totals.get(table, RowCounts()) + counts
    return totals


def reconcile(counts: Mapping[str, RowCounts], causes: Iterable[int] | None = None) -> None:
    """Check that no row was lost and that rules explain every quarantined row.

    Args:
        counts: table -> counts of its rows, by fate.
        causes: for each rule, the number of quarantined rows whose chain it began; None to check
            only the counts.

    Raises:
        CountsDoNotAddUp: a table's counts or the two sums of quarantined rows differ.
    """
    for table, rows in counts.items():
        if not rows.adds_up:
            raise CountsDoNotAddUp(
                f"table {table}: {rows.rows_in} rows in, but {rows.published} published, "
                f"{rows.quarantined} quarantined, {rows.superseded} superseded and "
                f"{rows.withdrawn} withdrawn"
            )
    quarantined = sum(rows.quarantined for rows in counts.values())
    total = quarantined if causes is None else sum(causes)
    if total != quarantined:
        raise CountsDoNotAddUp(f"{quarantined} rows are in quarantine, but rules put {total} there")


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
        types: claim types; an empty one for tables of members and providers.
        months: `YYYY-MM`; an empty one unless the column is `SERVICE_COLUMN`.
        owner, claim_type, month: numpy `int64`, shape (counts,): the owner, and indexes in `types`
            and `months`. Ascending and distinct as triples.
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
    """Count the filled cells of each column that has any.

    Args:
        accepted: accepted rows of every table.
        owner_of: maps numpy arrays of files and rows to each row's owner, from 0.
        owners: how many owners there are.
    """
    for name, table in accepted.items():
        if not table.num_rows:
            continue
        row_owners = owner_of(*places_of(table))
        types: tuple[str, ...] = ("",)
        type_codes = np.zeros(len(row_owners), dtype=np.int64)
        if TABLES[name].column(_CLAIM_COLUMN) is not None:
            types, type_codes = MONEY_TYPES, types_of_accepted(accepted, name)
        keys = row_owners * len(types) + type_codes
        size = owners * len(types)
        row_counts = np.bincount(keys, minlength=size)
        for column in TABLES[name].names:
            cells = table.column(column)
            if cells.null_count == table.num_rows:
                continue
            if (name, column) == ("claim", SERVICE_COLUMN):
                yield _count_by_month(cells, keys, types)
                continue
            counts = row_counts
            if cells.null_count:
                counts = np.bincount(keys[np.asarray(pc.is_valid(cells))], minlength=size)
            counted = np.flatnonzero(counts)
            owner, claim_type = np.divmod(counted, len(types))
            month = np.zeros_like(counted)
            yield FilledCells(name, column, types, ("",), owner, claim_type, month, counts[counted])


def _count_by_month(cells: pa.ChunkedArray, keys: Any, types: tuple[str, ...]) -> FilledCells:
    filled = cells.drop_null()
    encoded = pc.utf8_slice_codeunits(filled, 0, _MONTH).combine_chunks().dictionary_encode()
    months, month_codes = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    filled_keys = keys[np.asarray(pc.is_valid(cells))]
    pairs, counts = np.unique(filled_keys * len(months) + month_codes, return_counts=True)
    key_of_pair, month = np.divmod(pairs, len(months))
    owner, claim_type = np.divmod(key_of_pair, len(types))
    return FilledCells("claim", SERVICE_COLUMN, types, months, owner, claim_type, month, counts)


def filled_totals(accepted: Mapping[str, pa.Table]) -> dict[FilledKey, int]:
    """Count the filled cells of one partition."""
    return {
        FilledKey(cells.table, cells.types[claim_type], cells.column, cells.months[month]): count
        for cells in filled_cells(accepted, one_owner, 1)
        for claim_type, month, count in zip(
            cells.claim_type.tolist(), cells.month.tolist(), cells.counts.tolist(), strict=True
        )
    }


def add_filled(parts: Iterable[Mapping[FilledKey, int]]) -> dict[FilledKey, int]:
    """Add up the filled cells of partitions."""
    totals: Counter[FilledKey] = Counter()
    for part in parts:
        totals.update(part)
    return dict(sorted(totals.items()))
