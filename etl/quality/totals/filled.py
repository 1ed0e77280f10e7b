"""Filled cells of the accepted rows, by claim type; claims by the month of their service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
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
    """Counts of filled cells of a kind, by owner.

    Attributes:
        key: which cells.
        counts: numpy `int64`, shape (owners,).
    """

    key: FilledKey
    counts: Any


def filled_cells(
    accepted: Mapping[str, pa.Table], owner_of: OwnerOf, owners: int
) -> Iterator[FilledCells]:
    """Yield how many cells are filled, each kind of them that is anywhere.

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
                yield from _by_month(cells, keys, types, owners)
                continue
            counts = whole
            if cells.null_count:
                counts = np.bincount(keys[np.asarray(pc.is_valid(cells))], minlength=size)
            yield from _by_type(counts, types, name, column)


def _by_month(
    cells: pa.ChunkedArray, keys: Any, types: tuple[str, ...], owners: int
) -> Iterator[FilledCells]:
    months = pc.utf8_slice_codeunits(cells, 0, _MONTH).combine_chunks().dictionary_encode()
    numbers = pc.fill_null(months.indices, -1).to_numpy(zero_copy_only=False)
    for number, month in enumerate(months.dictionary.to_pylist()):
        counts = np.bincount(keys[numbers == number], minlength=owners * len(types))
        yield from _by_type(counts, types, "claim", SERVICE_COLUMN, month)


def _by_type(
    counts: Any, types: tuple[str, ...], table: str, column: str, month: str = ""
) -> Iterator[FilledCells]:
    for code, claim_type in enumerate(types):
        mine = counts[code :: len(types)]
        if mine.any():
            yield FilledCells(FilledKey(table, claim_type, column, month), mine)


def filled_totals(accepted: Mapping[str, pa.Table]) -> dict[FilledKey, int]:
    """Return how many cells of one partition are filled."""
    return {filled.key: int(filled.counts[0]) for filled in filled_cells(accepted, one_owner, 1)}


def add_filled(parts: Iterable[Mapping[FilledKey, int]]) -> dict[FilledKey, int]:
    """Return the totals of partitions, whatever their order."""
    totals: Counter[FilledKey] = Counter()
    for part in parts:
        totals.update(part)
    return dict(sorted(totals.items()))
