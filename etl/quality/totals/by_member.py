"""Parts of a partition's counts, money and filled cells, member by member.

The sums over all members are those that `check` gives for the partition; a run that kept the
shares of members with unchanged rows need not process these rows again.
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
"""What becomes of a row."""
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
"""Columns with equally many filled cells are named in one row, with commas between them."""


@dataclass(frozen=True, slots=True)
class RowOwners:
    """Owners of the rows of a partition.

    Attributes:
        ids: numpy `uint64`, ascending: the members' hashes.
        places: numpy `int64`, ascending: file and row of every source row, as `place_keys`.
        codes: numpy `int64`: place in `ids` of each row's owner.
    """

    ids: Any
    places: Any
    codes: Any

    def numbers_of(self, files: Any, rows: Any) -> Any:
        """Return the place in `ids` of the owner of each row; -1 for rows without an owner."""
        if not len(self.places):
            return np.full(len(rows), -1, dtype=np.int64)
        wanted = place_keys(files, rows)
        position = np.minimum(np.searchsorted(self.places, wanted), len(self.places) - 1)
        return np.where(self.places[position] == wanted, self.codes[position], -1)


NOBODY: Final = RowOwners(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.int64))
"""Of a partition without rows."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Each member's part in the sums of a partition.

    Attributes:
        counts: `COUNTS_SCHEMA`.
        money: `MONEY_SCHEMA`: cents, and how many claims have an amount in each sum.
        filled: `FILLED_SCHEMA`.
    """

    counts: pa.Table
    money: pa.Table
    filled: pa.Table


def shares(decided: DecidedRows, rejected: pa.Table, owners: RowOwners) -> Shares | None:
    """Return the shares of a partition's members.

    Args:
        decided: the partition's rows.
        rejected: its rejected rows, as a table with `table`, `file` and `row`.
        owners: the owner of each row.

    Returns:
        The shares; None where a row has no owner, or sums might not fit in 64 bits.
    """
    codes = {
        name: owners.numbers_of(frame.files, frame.rows)
        for name, frame in decided.work.frames.items()
    }
    gone = owners.numbers_of(rejected.column("file").to_numpy(), rejected.column("row").to_numpy())
    if any((numbers < 0).any() for numbers in (*codes.values(), gone)):
        return None
    money = _money(decided, owners)
    if money is None:
        return None
    return Shares(
        _counts(decided, rejected, gone, owners, codes),
        money,
        filled_shares(decided.accepted, owners),
    )


def summed_counts(table: pa.Table) -> dict[str, RowCounts]:
    """Return the counts that shares add up to, for every table."""
    sums = [("in", "sum"), *((fate, "sum") for fate in ROW_FATES)]
    whole = {name: RowCounts() for name in CLAIMS_TABLES}
    for group in _by_name(table, ["table"], sums):
        whole[group["table"]] = RowCounts(
            group["in_sum"], *(group[f"{fate}_sum"] for fate in ROW_FATES)
        )
    return whole


def summed_money(table: pa.Table) -> dict[MoneyKey, MoneyTotals]:
    """Return the money that shares add up to."""
    names = [*_SUMS, *_CLAIMS]
    exact = table
    for name in names:  # 64 bits are enough for a member, and may be too few for all of them
        if _may_overflow(exact.column(name)):
            index = exact.schema.get_field_index(name)
            exact = exact.set_column(index, name, exact.column(name).cast(pa.decimal128(38, 0)))
    groups = _by_name(exact, ["level", "claim_type", "category"], [(name, "sum") for name in names])
    return {
        MoneyKey(group["level"], group["claim_type"], group["category"]): MoneyTotals(
            *(int(group[f"{name}_sum"]) for name in names)
        )
        for group in groups
    }


def _may_overflow(column: pa.ChunkedArray) -> bool:
    """Return whether a sum of numbers might not fit in 64 bits."""
    ends = pc.min_max(column).as_py().values()
    return len(column) * max((abs(end) for end in ends if end is not None), default=0) >= _LARGEST


def summed_filled(table: pa.Table) -> dict[FilledKey, int]:
    """Return the filled cells that shares add up to."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for group in _by_name(table, ["table", "claim_type", "columns", "month"], [("rows", "sum")]):
        name, claim_type, month = group["table"], group["claim_type"], group["month"]
        for column in group["columns"].split(","):
            counts[name, claim_type, column, month] += group["rows_sum"]
    return {FilledKey(*key): count for key, count in counts.items()}


def _by_name(table: pa.Table, names: list[str], sums: list[tuple[str, str]]) -> list[Any]:
    groups: list[Any] = table.unify_dictionaries().group_by(names).aggregate(sums).to_pylist()
    return groups


def _counts(
    decided: DecidedRows,
    rejected: pa.Table,
    gone: Any,
    owners: RowOwners,
    codes: Mapping[str, Any],
) -> pa.Table:
    size = len(owners.ids)
    parts = []
    for name, frame in decided.work.frames.items():
        here = np.asarray(pc.equal(rejected.column("table"), name))
        if not frame.count:
            continue
        columns = [
            np.bincount(codes[name], minlength=size),
            np.bincount(owners.numbers_of(*places_of(decided.accepted[name])), minlength=size),
            np.bincount(gone[here], minlength=size),
            np.bincount(codes[name][frame.superseded], minlength=size),
            np.bincount(codes[name][frame.withdrawn], minlength=size),
        ]
        there = np.flatnonzero(np.any(columns, axis=0))
        parts.append(_Part(there, [_same(name, there)], [column[there] for column in columns]))
    return _table(COUNTS_SCHEMA, owners, parts)


def _money(decided: DecidedRows, owners: RowOwners) -> pa.Table | None:
    parts = []
    for sums in amount_sums(decided, owners.numbers_of, len(owners.ids)):
        if any(column.dtype == object for column in sums.sums):
            return None
        there = np.flatnonzero(sums.present)
        owner, codes = np.divmod(there, len(MONEY_TYPES))
        words = [
            _same(sums.level, there),
            _Words(codes, MONEY_TYPES),
            _same(sums.category, there),
        ]
        columns = [column[there] for column in (*sums.sums, *sums.claims)]
        parts.append(_Part(owner, words, columns))
    return _table(MONEY_SCHEMA, owners, parts)


def filled_shares(accepted: Mapping[str, pa.Table], owners: RowOwners) -> pa.Table:
    """Return the filled cells of each owner's accepted rows (`FILLED_SCHEMA`)."""
    of_columns = filled_cells(accepted, owners.numbers_of, len(owners.ids))
    # Tables come one after the other; cells that are counted by month stand alone.
    groups = groupby(of_columns, lambda cells: (cells.table, cells.months))
    return _table(FILLED_SCHEMA, owners, [_filled_part(list(cells)) for _, cells in groups])


def _filled_part(columns: Sequence[FilledCells]) -> _Part:
    """Return the filled cells of some columns of a table, with the same types and months."""
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
        _same(columns[0].table, owner),
        _Words(claim_type, columns[0].types),
        _Words(numbers.ravel(), names),
        _Words(month, columns[0].months),
    ]
    return _Part(owner, words, [counts])


class _Words(NamedTuple):
    """Words of rows.

    Attributes:
        codes: numpy `int64`: place in `words` of the word of each row.
        words: each once.
    """

    codes: Any
    words: Sequence[str]


def _same(word: str, rows: Any) -> _Words:
    return _Words(np.zeros(len(rows), np.int64), (word,))


class _Part(NamedTuple):
    """Rows of a table of shares.

    Attributes:
        owner: numpy `int64`: place among the owners of the owner of each row.
        words: of each column of words.
        numbers: numpy `int64` of each column of numbers.
    """

    owner: Any
    words: Sequence[_Words]
    numbers: Sequence[Any]


def _table(schema: pa.Schema, owners: RowOwners, parts: Sequence[_Part]) -> pa.Table:
    """Return parts one after the other: `owner`, the columns of words, those of numbers."""
    if not parts:
        return schema.empty_table()
    arrays = [pa.array(owners.ids[np.concatenate([part.owner for part in parts])], pa.uint64())]
    for column in zip(*(part.words for part in parts), strict=True):
        numbers: dict[str, int] = {}
        codes = []
        for words in column:
            places = [numbers.setdefault(word, len(numbers)) for word in words.words]
            codes.append(np.array(places, np.int32)[words.codes])
        there = pa.array(list(numbers), pa.string())
        arrays.append(pa.DictionaryArray.from_arrays(pa.array(np.concatenate(codes)), there))
    numbers_of_parts = zip(*(part.numbers for part in parts), strict=True)
    arrays += (pa.array(np.concatenate(column), pa.int64()) for column in numbers_of_parts)
    return pa.Table.from_arrays(arrays, schema=schema)
