"""Filled cells of the accepted rows, by claim type; claims by the month of their service."""

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
