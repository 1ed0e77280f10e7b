"""Rows of a raw file: their cells, and groups that become one canonical row.

C4BB has days' supply, refill number and similar data once per claim. A pharmacy claim of several
drugs that differ in them is therefore split by fill: each row becomes a claim. Its ID is the
claim's, `-`, and the cell that the layout names to distinguish fills. docs/decisions/0017 states
when claims are split, and when they cannot be.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, Indices, trimmed
from etl.columns.numbers import round_to_cents
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.sources.convert.columns import ConvertedColumn, convert_column
from etl.sources.layout.model import (
    LIST_SEPARATOR,
    PLAIN_CELLS,
    ColumnSpec,
    Condition,
    Fills,
    FromColumn,
    Layout,
    RawCells,
    RawTable,
    TableSpec,
    match_rows,
)

_DIGITS: Final = r"^[0-9]{1,18}$"


def text_rank(column: Any) -> Indices:
    """Return numbers that order like the texts do; -1 where absent."""
    encoded = column.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    indices = pc.fill_null(encoded.indices, -1).to_numpy().astype(np.int64)
    return np.where(indices >= 0, rank[indices] if len(rank) else -1, -1)


def number_rank(column: Any) -> tuple[Indices, Indices]:
    """Return two sort keys, primary first: numbers by value, then texts."""
    digits = pc.fill_null(pc.match_substring_regex(column, _DIGITS), False)
    numbers = pc.if_else(digits, column, "0").cast(pa.int64()).to_numpy()
    is_text = ~digits.to_numpy(zero_copy_only=False)
    return np.where(is_text, np.iinfo(np.int64).max, numbers), text_rank(column)


class Groups:
    """Raw rows, grouped by grain. Group number i is the i-th canonical row.

    Groups are sorted by their first rows' order cells, then by grain, so the order of rows in a
    file does not matter.
    """

    def __init__(
        self, rows: RawRows, where: Sequence[Condition], grain: Sequence[str], order: Sequence[str]
    ) -> None:
        self.rows = rows
        at = np.flatnonzero(match_rows(where, rows.column, rows.count)) if where else None
        self._all = at is None and not grain and not order
        self._at: Indices = np.arange(rows.count) if at is None else at
        self._starts: Indices = np.arange(len(self._at))
        self._grouped = bool(grain)
        if grain or order:
            self._arrange(grain, order)
        self.count = len(self._starts)

    def _arrange(self, grain: Sequence[str], order: Sequence[str]) -> None:
        keys: list[Indices] = []
        for header in order:
            keys.extend(key[self._at] for key in number_rank(self.rows.column(header)))
        grains = [text_rank(self.rows.column(header))[self._at] for header in grain]
        group = _group_numbers(grains, len(self._at))
        within = np.lexsort((self._at, *reversed(keys), group))
        self._at, group = self._at[within], group[within]
        starts = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
        if not len(self._at):
            starts = starts[:0]
        # Now the groups themselves, by the cells of their first rows.
        firsts = within[starts]
        first_cells = [key[firsts] for key in (*keys, *grains)]
        ranked = np.lexsort((self._at[starts], *reversed(first_cells)))
        sizes = np.diff(np.append(starts, len(self._at)))
        pieces = np.repeat(starts[ranked] - _starts_of(sizes[ranked]), sizes[ranked])
        self._at = self._at[pieces + np.arange(len(self._at))]
        self._starts = _starts_of(sizes[ranked])

    @property
    def first(self) -> Indices:
        """Indices of each group's first row."""
        return self._at[self._starts]

    def numbered(self) -> tuple[Indices, Indices]:
        """Return the group and the index of each row that is in a group."""
        sizes = np.diff(np.append(self._starts, len(self._at)))
        return np.repeat(np.arange(self.count), sizes), self._at

    def pick(self, header: str, among: Bools | None = None) -> tuple[Any, Bools | None]:
        """Return each group's cell and where its rows contradict each other.

        The first filled cell of the group is taken. The mask is None if no two rows were merged.

        Args:
            header: header of the column.
            among: rows to consider, shape (rows,); their empty cells contradict filled ones. None
                for the rows in which the cell is filled.
        """
        column = self.rows.column(header)
        if not self._grouped:
            return (column if self._all else column.take(pa.array(self._at))), None
        if column.null_count == len(column):
            return pa.nulls(self.count, pa.string()), None
        encoded = column.dictionary_encode()
        codes = pc.fill_null(encoded.indices, -1).to_numpy().astype(np.int64)[self._at]
        speaks = codes >= 0 if among is None else among[self._at]
        last = len(codes)
        position = np.where(speaks & (codes >= 0), np.arange(last), last)
        first = np.minimum.reduceat(position, self._starts) if self.count else position
        has_cell = first < last
        low = np.where(speaks, codes, np.iinfo(np.int64).max)
        high = np.where(speaks, codes, -2)
        high = np.maximum.reduceat(high, self._starts) if self.count else high
        low = np.minimum.reduceat(low, self._starts) if self.count else low
        chosen = codes[np.where(has_cell, first, 0)] if self.count else codes
        indices = pa.array(np.where(has_cell, chosen, 0), mask=~has_cell)
        return encoded.dictionary.take(indices), has_cell & (low != high)

    def noted(self, mask: Bools) -> Bools:
        """Return which groups have a row of the mask."""
        row_mask = mask[self._at]
        if self._all or not self.count:
            return row_mask
        return np.asarray(np.logical_or.reduceat(row_mask, self._starts))

    def distinct_cells(self, header: str) -> Any:
        """Return each group's distinct filled cells in order, joined by `;`."""
        column = self.rows.column(header)
        if not self._grouped:
            return column if self._all else column.take(pa.array(self._at))
        encoded = column.dictionary_encode()
        codes = pc.fill_null(encoded.indices, -1).to_numpy().astype(np.int64)[self._at]
        group = np.repeat(np.arange(self.count), np.diff(np.append(self._starts, len(codes))))
        filled_rows = np.flatnonzero(codes >= 0)
        pairs = np.stack([group[filled_rows], codes[filled_rows]], axis=1)
        _, once = np.unique(pairs, axis=0, return_index=True)
        filled_rows = filled_rows[np.sort(once)]
        counts = np.bincount(group[filled_rows], minlength=self.count)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        words = encoded.dictionary.take(pa.array(codes[filled_rows]))
        joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), words), LIST_SEPARATOR)
        return pc.if_else(pa.array(counts == 0), None, joined)


def _starts_of(sizes: Indices) -> Indices:
    starts = np.zeros(len(sizes), dtype=np.int64)
    np.cumsum(sizes[:-1], out=starts[1:])
    return starts


def _group_numbers(grains: list[Indices], count: int) -> Indices:
    """Return a number per row, equal within a group."""
    if not grains:
        return np.arange(count, dtype=np.int64)
    number = np.zeros(count, dtype=np.int64)
    for codes in grains:
        _, number = np.unique(np.stack([number, codes], axis=1), axis=0, return_inverse=True)
        number = number.reshape(-1).astype(np.int64)
    # A row with an empty first grain cell is a group of its own.
    alone = grains[0] < 0
    number[alone] = count + np.flatnonzero(alone)
    return number


class RawRows:
    """The rows of one raw file in a partition, by file and row.

    Args:
        table: the rows.
        unread: malformed rows, of which only the IDs could be read.
        cells: null words and derived columns.

    Attributes:
        read: the columns read so far, by header.
    """

    def __init__(
        self, table: pa.Table, unread: pa.Table | None = None, cells: RawCells = PLAIN_CELLS
    ) -> None:
        self.table = table
        self.unread = unread
        self.cells = cells
        self.count = table.num_rows
        self.read: dict[str, ConvertedColumn] = {}

    def column(self, header: str) -> Any:
        """Return the cells under a header, shape (count,), trimmed; null where empty."""
        return self.noted(header).values

    cell = column

    def noted(self, header: str) -> ConvertedColumn:
        """Return the cells under a header, and the findings about them."""
        if header not in self.read:
            spec = self.cells.derived.get(header)
            self.read[header] = (
                ConvertedColumn(self._text(header), [])
                if spec is None
                else convert_column(spec, self)
            )
        return self.read[header]

    def agreed(self, header: str, spec: ColumnSpec) -> ConvertedColumn:
        """Return the cells under a header, and the findings about them."""
        del spec
        column = self.noted(header)
        return ConvertedColumn(column.values, list(column.notes))

    def of_other_rows(self, spec: ColumnSpec) -> ConvertedColumn:
        """Never called: layouts with such a column are rejected."""
        raise AssertionError(f"{spec.source} is not made of one row")

    def _text(self, header: str) -> Any:
        if header not in self.table.column_names:
            return pa.nulls(self.count, pa.string())
        text = trimmed(self.table.column(header).combine_chunks())
        if not self.cells.nulls or header.startswith("_"):
            return text
        words = pa.array(sorted(self.cells.nulls), pa.string())
        return pc.if_else(pc.is_in(text, value_set=words), None, text)

    @property
    def row_positions(self) -> tuple[Any, Any]:
        """`_file` and `_row` of every row."""
        return (
            self.table.column(FILE_COLUMN).combine_chunks(),
            self.table.column(ROW_COLUMN).combine_chunks(),
        )


MALFORMED: Final = "_malformed"
"""Column that is filled in rows of which only the ids could be read; no header begins with `_`."""


def readable_rows(rows: pa.Table) -> pa.Table:
    """Return the rows of a raw table that could be read."""
    if MALFORMED not in rows.column_names:
        return rows
    return rows.filter(pc.is_null(rows.column(MALFORMED)))


def malformed_rows(rows: pa.Table) -> pa.Table:
    """Return the rows of a raw table with readable IDs only."""
    if MALFORMED not in rows.column_names:
        return rows.slice(0, 0)
    return rows.filter(pc.is_valid(rows.column(MALFORMED)))


FILL: Final = "_fill"
"""Column that is filled in rows that are a claim of their own."""
_BETWEEN: Final = "-"
_AMOUNT: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]+)?([eE][+-]?[0-9])?")


def fill_ids(rows: RawRows, claim: str, fills: Fills) -> Any:
    """Return each row's claim ID as a fill; null if it is none.

    Args:
        rows: rows of a raw file.
        claim: header of the claim's ID.
        fills: how the layout marks fills.
    """
    ids = pc.binary_join_element_wise(rows.column(claim), rows.column(fills.by), _BETWEEN)
    return pc.if_else(pa.array(match_rows(fills.where, rows.column, rows.count)), ids, None)


def with_fills(layout: Layout, raw: RawTable, rows: RawRows) -> RawRows:
    """Return rows with new claim IDs where claims are split by fill.

    Args:
        layout: the layout of the file.
        raw: the file; without declared fills, its rows are returned unchanged.
        rows: rows of the file, by file and row.
    """
    fills, claim = raw.fills, raw.claim
    spec = _sole_feed(layout, "claim", raw)
    if fills is None or claim is None or spec is None or not rows.count:
        return rows
    ids = fill_ids(rows, claim, fills)
    groups = Groups(rows, spec.where, spec.grain, spec.order)
    splittable = _are_fills_only(groups, ids) & _fills_differ(groups, spec, fills)
    if splittable.any():
        splittable &= _adds_up(groups, splittable, spec, _sole_feed(layout, "claim_line", raw))
    if rows.unread is not None and rows.unread.num_rows:
        torn = RawRows(rows.unread).column(claim)
        splittable &= ~np.asarray(pc.is_in(groups.pick(claim)[0], value_set=torn, skip_nulls=True))
    if not splittable.any():
        return rows
    split = np.zeros(rows.count, dtype=bool)
    number, positions = groups.numbered()
    split[positions[splittable[number]]] = True
    where = pa.array(split)
    cells = pc.if_else(where, ids, rows.table.column(claim).combine_chunks())
    table = rows.table.set_column(rows.table.schema.get_field_index(claim), claim, cells)
    return RawRows(
        table.append_column(FILL, pc.if_else(where, pa.scalar("1"), pa.scalar(None, pa.string()))),
        rows.unread,
        rows.cells,
    )


def _sole_feed(layout: Layout, table: str, raw: RawTable) -> TableSpec | None:
    """Return the only spec by which a raw file fills a table, or None."""
    specs = [spec for spec in layout.tables if (spec.table, spec.source) == (table, raw.name)]
    return specs[0] if len(specs) == 1 else None


def _are_fills_only(groups: Groups, ids: Any) -> Bools:
    """Return the groups that consist of several fills with distinct IDs."""
    codes = pc.fill_null(ids.dictionary_encode().indices, -1).to_numpy().astype(np.int64)
    number, mine = groups.numbered()
    fill_codes = codes[mine]
    every = np.ones(groups.count, dtype=bool)
    every[number[fill_codes < 0]] = False
    pairs = np.unique(np.stack([number, fill_codes]), axis=1)[0] if len(number) else number
    size = np.bincount(number, minlength=groups.count)
    distinct = np.bincount(pairs, minlength=groups.count)
    is_whole: Bools = every & (size > 1) & (distinct == size)
    return is_whole


def _fills_differ(groups: Groups, spec: TableSpec, fills: Fills) -> Bools:
    """Return the groups in which a claim cell differs between fills."""
    rows = groups.rows
    differ = np.zeros(groups.count, dtype=bool)
    for column in spec.columns.values():
        if isinstance(column.source, FromColumn) and column.among == fills.where:
            among = match_rows(column.among, rows.column, rows.count)
            _, conflict = groups.pick(column.source.column, among)
            if conflict is not None:
                differ |= conflict
    return differ


def _adds_up(groups: Groups, wanted: Bools, spec: TableSpec, lines: TableSpec | None) -> Bools:
    """Return which groups have claim amounts that are the sums of their lines.

    Splitting any other claim would lose an amount.
    """
    fine = wanted.copy()
    number, positions = groups.numbered()
    is_wanted = wanted[number]
    number, positions = number[is_wanted], pa.array(positions[is_wanted])
    for name, column in spec.columns.items():
        if not name.startswith("amount_") or not isinstance(column.source, FromColumn):
            continue
        line = lines.columns.get(name) if lines is not None else None
        sums = np.zeros(groups.count, dtype=object)
        if line is not None and isinstance(line.source, FromColumn):
            cells = groups.rows.column(line.source.column).take(positions)
            for group, cell in zip(number.tolist(), cells.to_pylist(), strict=True):
                sums[group] += _parse_amount(cell) or 0
        stated, conflict = groups.pick(column.source.column)
        if conflict is not None:
            fine &= ~conflict
        for group in np.flatnonzero(fine).tolist():
            cell = stated[group].as_py()
            fine[group] = cell is None or _parse_amount(cell) == sums[group]
    return fine


def _parse_amount(cell: str | None) -> Decimal | None:
    """Parse an amount, rounded half to even to cents; None if it is none."""
    if cell is None or not _AMOUNT.fullmatch(cell):
        return None
    return round_to_cents(Decimal(cell))
