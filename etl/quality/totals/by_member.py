"""Divide a partition's counts, money and filled cells among its members.

All shares add up to the partition's totals, so a run that has stored the shares of unchanged
members doesn't process their rows again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.places import place_keys, places_of
from etl.model.canonical_tables import CLAIMS_TABLES
from etl.quality.checks.cascade import DecidedRows
from etl.quality.totals.counts import FilledCells, FilledKey, RowCounts, filled_cells
from etl.quality.totals.money import (
    MONEY_TYPES,
    MoneyKey,
    MoneyTotals,
    amount_sums,
)

_LARGEST: Final = 2**63
_FATES: Final = ("published", "quarantined", "superseded")
ROW_FATES: Final = (*_FATES, "withdrawn")
"""The possible fates of a row."""
_SUMS: Final = ("source", *_FATES, "net")
_CLAIMS: Final = tuple(f"{fate}_claims" for fate in (*_FATES, "net"))
_WORDS: Final = pa.dictionary(pa.int32(), pa.string())

COUNTS_SCHEMA: Final = pa.schema(
    [
        pa.field("owner", pa.uint64()),
        pa.field("table", _WORDS),
        pa.field("in", pa.int64()),
        *(pa.field(fate, pa.int64()) for fate in ROW_FATES),
    ]
)
MONEY_SCHEMA: Final = pa.schema(
    [
        pa.field("owner", pa.uint64()),
        pa.field("level", _WORDS),
        pa.field("claim_type", _WORDS),
        pa.field("category", _WORDS),
        *(pa.field(name, pa.int64()) for name in (*_SUMS, *_CLAIMS)),
    ]
)
FILLED_SCHEMA: Final = pa.schema(
    [
        pa.field("owner", pa.uint64()),
        pa.field("table", _WORDS),
        pa.field("claim_type", _WORDS),
        pa.field("columns", _WORDS),
        pa.field("month", _WORDS),
        pa.field("rows", pa.int64()),
    ]
)
"""Columns with the same counts share one row: their names, joined by commas."""


@dataclass(frozen=True, slots=True)
class RowOwners:
    """Owners of the rows of a partition.

    Attributes:
        ids: numpy `uint64`, ascending: the members' hashes.
        row_keys: numpy `int64`, ascending: file and row of every source row, as `place_keys`.
        codes: numpy `int64`: index in `ids` of each row's owner.
    """

    ids: Any
    row_keys: Any
    codes: Any

    def codes_of(self, files: Any, rows: Any) -> Any:
        """Return the index in `ids` of each row's owner; -1 if it has none."""
        if not len(self.row_keys):
            return np.full(len(rows), -1, dtype=np.int64)
        row_keys = place_keys(files, rows)
        index = np.minimum(np.searchsorted(self.row_keys, row_keys), len(self.row_keys) - 1)
        return np.where(self.row_keys[index] == row_keys, self.codes[index], -1)


NO_OWNERS: Final = RowOwners(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.int64))
"""The owners in a partition without rows."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Each member's part in the sums of a partition.

    Attributes:
        counts: `COUNTS_SCHEMA`.
        money: `MONEY_SCHEMA`: cents, and the number of claims in each sum.
        filled: `FILLED_SCHEMA`.
    """

    counts: pa.Table
    money: pa.Table
    filled: pa.Table


def compute_shares(decided: DecidedRows, rejected: pa.Table, owners: RowOwners) -> Shares | None:
    """Compute each member's share of a partition.

    Args:
        decided: the partition's rows.
        rejected: its rejected rows, as a table with `table`, `file` and `row`.
        owners: the owner of each row.

    Returns:
        The shares; None if a row has no owner or if sums might not fit in 64 bits.
    """
    codes = {
        name: owners.codes_of(frame.files, frame.rows)
        for name, frame in decided.work.frames.items()
    }
    rejects = owners.codes_of(rejected.column("file").to_numpy(), rejected.column("row").to_numpy())
    if any((numbers < 0).any() for numbers in (*codes.values(), rejects)):
        return None
    money = _money_shares(decided, owners)
    if money is None:
        return None
    return Shares(
        _count_shares(decided, rejected, rejects, owners, codes),
        money,
        filled_shares(decided.accepted, owners),
    )


def sum_counts(table: pa.Table) -> dict[str, RowCounts]:
    """Add up the members' row counts, by table."""
    sums = [("in", "sum"), *((fate, "sum") for fate in ROW_FATES)]
    totals = {name: RowCounts() for name in CLAIMS_TABLES}
    for group in _add_by(table, ["table"], sums):
        totals[group["table"]] = RowCounts(
            group["in_sum"], *(group[f"{fate}_sum"] for fate in ROW_FATES)
        )
    return totals


def sum_money(table: pa.Table) -> dict[MoneyKey, MoneyTotals]:
    """Add up the members' money."""
    names = [*_SUMS, *_CLAIMS]
    safe = table
    for name in names:  # 64 bits suffice for one member, maybe not for all of them
        if _may_overflow(safe.column(name)):
            index = safe.schema.get_field_index(name)
            safe = safe.set_column(index, name, safe.column(name).cast(pa.decimal128(38, 0)))
    groups = _add_by(safe, ["level", "claim_type", "category"], [(name, "sum") for name in names])
    return {
        MoneyKey(group["level"], group["claim_type"], group["category"]): MoneyTotals(
            *(int(group[f"{name}_sum"]) for name in names)
        )
        for group in groups
    }


def _may_overflow(column: pa.ChunkedArray) -> bool:
    """Return whether the sum of a column might not fit in 64 bits."""
    ends = pc.min_max(column).as_py().values()
    return len(column) * max((abs(end) for end in ends if end is not None), default=0) >= _LARGEST


def sum_filled(table: pa.Table) -> dict[FilledKey, int]:
    """Add up the members' filled cells."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for group in _add_by(table, ["table", "claim_type", "columns", "month"], [("rows", "sum")]):
        name, claim_type, month = group["table"], group["claim_type"], group["month"]
        for column in group["columns"].split(","):
            counts[name, claim_type, column, month] += group["rows_sum"]
    return {FilledKey(*key): count for key, count in counts.items()}


def _add_by(table: pa.Table, names: list[str], sums: list[tuple[str, str]]) -> list[Any]:
    groups: list[Any] = table.unify_dictionaries().group_by(names).aggregate(sums).to_pylist()
    return groups


def _count_shares(
    decided: DecidedRows,
    rejected: pa.Table,
    rejects: Any,
    owners: RowOwners,
    codes: Mapping[str, Any],
) -> pa.Table:
    size = len(owners.ids)
    parts = []
    for table, frame in decided.work.frames.items():
        is_table = np.asarray(pc.equal(rejected.column("table"), table))
        if not frame.count:
            continue
        columns = [
            np.bincount(codes[table], minlength=size),
            np.bincount(owners.codes_of(*places_of(decided.accepted[table])), minlength=size),
            np.bincount(rejects[is_table], minlength=size),
            np.bincount(codes[table][frame.superseded], minlength=size),
            np.bincount(codes[table][frame.withdrawn], minlength=size),
        ]
        used = np.flatnonzero(np.any(columns, axis=0))
        parts.append(_Rows(used, [_repeat(table, used)], [column[used] for column in columns]))
    return _build(COUNTS_SCHEMA, owners, parts)


def _money_shares(decided: DecidedRows, owners: RowOwners) -> pa.Table | None:
    parts = []
    for sums in amount_sums(decided, owners.codes_of, len(owners.ids)):
        if any(column.dtype == object for column in sums.sums):
            return None
        present = np.flatnonzero(sums.present)
        owner, codes = np.divmod(present, len(MONEY_TYPES))
        words = [
            _repeat(sums.level, present),
            _WordColumn(codes, MONEY_TYPES),
            _repeat(sums.category, present),
        ]
        columns = [column[present] for column in (*sums.sums, *sums.claims)]
        parts.append(_Rows(owner, words, columns))
    return _build(MONEY_SCHEMA, owners, parts)


def filled_shares(accepted: Mapping[str, pa.Table], owners: RowOwners) -> pa.Table:
    """Count the filled cells of each owner's accepted rows (`FILLED_SCHEMA`)."""
    filled_columns = filled_cells(accepted, owners.codes_of, len(owners.ids))
    # Columns of one table come together; the column counted by month has a group of its own.
    groups = groupby(filled_columns, lambda cells: (cells.table, cells.months))
    return _build(FILLED_SCHEMA, owners, [_merge_columns(list(cells)) for _, cells in groups])


def _merge_columns(columns: Sequence[FilledCells]) -> _Rows:
    """Merge the counts of a table's columns: one row for columns with equal counts."""
    owner, claim_type, month, counts = (
        np.concatenate([getattr(cells, name) for cells in columns])
        for name in ("owner", "claim_type", "month", "counts")
    )
    column = np.repeat(np.arange(len(columns)), [len(cells.counts) for cells in columns])
    # Columns with equal counts, of an owner, claim type and month, become one row.
    order = np.lexsort((counts, month, claim_type, owner))
    keys = np.stack([owner, claim_type, month, counts])[:, order]
    is_first = np.diff(keys, axis=1, prepend=-1).any(axis=0)
    are_filled = np.zeros((np.count_nonzero(is_first), len(columns)), np.bool_)
    are_filled[np.cumsum(is_first) - 1, column[order]] = True
    sets, numbers = np.unique(np.packbits(are_filled, axis=1), axis=0, return_inverse=True)
    names = [
        ",".join(columns[at].column for at in np.flatnonzero(bits).tolist())
        for bits in np.unpackbits(sets, axis=1)
    ]
    owner, claim_type, month, counts = keys[:, is_first]
    words = [
        _repeat(columns[0].table, owner),
        _WordColumn(claim_type, columns[0].types),
        _WordColumn(numbers.ravel(), names),
        _WordColumn(month, columns[0].months),
    ]
    return _Rows(owner, words, [counts])


class _WordColumn(NamedTuple):
    """A dictionary-encoded column of words.

    Attributes:
        codes: numpy `int64`: index in `words` of each row's word.
        words: the distinct words.
    """

    codes: Any
    words: Sequence[str]


def _repeat(word: str, rows: Any) -> _WordColumn:
    return _WordColumn(np.zeros(len(rows), np.int64), (word,))


class _Rows(NamedTuple):
    """Rows of a table of shares.

    Attributes:
        owner: numpy `int64`: index of each row's owner.
        words: the columns of words.
        numbers: numpy `int64`: the columns of numbers.
    """

    owner: Any
    words: Sequence[_WordColumn]
    numbers: Sequence[Any]


def _build(schema: pa.Schema, owners: RowOwners, blocks: Sequence[_Rows]) -> pa.Table:
    """Concatenate blocks of rows: `owner`, then the columns of words, then of numbers."""
    if not blocks:
        return schema.empty_table()
    arrays = [pa.array(owners.ids[np.concatenate([block.owner for block in blocks])], pa.uint64())]
    for column in zip(*(block.words for block in blocks), strict=True):
        index: dict[str, int] = {}
        codes = []
        for words in column:
            mapped = [index.setdefault(word, len(index)) for word in words.words]
            codes.append(np.array(mapped, np.int32)[words.codes])
        dictionary = pa.array(list(index), pa.string())
        arrays.append(pa.DictionaryArray.from_arrays(pa.array(np.concatenate(codes)), dictionary))
    number_columns = zip(*(block.numbers for block in blocks), strict=True)
    arrays += (pa.array(np.concatenate(column), pa.int64()) for column in number_columns)
    return pa.Table.from_arrays(arrays, schema=schema)
