"""Convert raw rows to canonical rows by a layout, with a finding for each correction.

A lookup takes cells of another raw file. Rows match that belong to the same member or claim, have
the same keys, and are in force on the row's day if the layout requires it. If several match, the
first in the layout's order counts; without an order, or if several come first, all of them must
have the same value. A malformed row matches wherever it might match, with unknown cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, Indices, as_array, compound_keys, first_of_each
from etl.columns.dates import NO_DAY, read_dates
from etl.model.canonical_tables import (
    AMOUNT_COLUMNS,
    FILE_COLUMN,
    KEYS,
    MEMBERLESS,
    ROW_COLUMN,
    SHORT_FORMS,
    TABLES,
    FieldType,
)
from etl.rows import empty_table, findings_at, no_findings, table_of
from etl.sources.convert.columns import ConvertedColumn, convert_column
from etl.sources.convert.raw_rows import (
    FILL,
    Groups,
    RawRows,
    malformed_rows,
    number_rank,
    readable_rows,
    with_fills,
)
from etl.sources.layout.model import (
    ColumnSpec,
    DistinctCells,
    EffectivePeriod,
    Layout,
    Lookup,
    RowNumber,
    RowOrder,
    TableSpec,
    add_short_forms,
    match_rows,
)
from etl.sources.layout.names import (
    AMBIGUOUS_LOOKUP,
    FACT_WITHOUT_ROW,
    LOOKUP_WITHOUT_ROW,
    RAGGED_ROW,
    SENTINEL_DATE,
    SHORT_FORM_BESIDE_ROWS,
    SPLIT_FILLS,
    WORD_WITHOUT_CODE,
)


@dataclass(frozen=True, slots=True)
class WantedRows:
    """Keys to look up in another file, one per row.

    Attributes:
        scope: `string`, shape (n,): the owner of each row; "" if any owner will do.
        keys: `string`, shape (n,): scope and keys combined; null if there is nothing to look up.
        on: `string`, shape (n,): the day on which a match must be in force; None for any day.
    """

    scope: Any
    keys: Any
    on: Any = None


@dataclass(frozen=True, slots=True)
class LookupResult:
    """Cells that a lookup found, one per row.

    Attributes:
        values: `string`, shape (n,); null if nothing matches or the value is unknown.
        torn: which rows match rows that disagree or are malformed, shape (n,).
        missing: which rows match none although the layout requires one, shape (n,).
        notes: findings about the cells found: rule and the rows that have it.
    """

    values: Any
    torn: Bools
    missing: Bools
    notes: list[tuple[str, Bools]]


@dataclass(frozen=True, slots=True)
class _MatchingRows:
    """Matching rows of the other file, grouped by key, the preferred ones first.

    Attributes:
        fits: number of the key that each row matches, ascending, shape (m,).
        at: number of the row, shape (m,).
        size: number of keys.
        doubt: keys for which the matching rows are unknown, shape (size,).
    """

    fits: Indices
    at: Indices
    size: int
    doubt: Bools


def look_up(rows: RawRows, source: Lookup, wanted: WantedRows) -> LookupResult:
    """Return what a lookup finds for each row.

    Args:
        rows: rows of the other file.
        source: the lookup.
        wanted: the keys of the rows that look up.
    """
    scope = [rows.column(source.other_scope)] if source.other_scope else []
    keys = compound_keys(*scope, *(rows.column(key) for key in source.key))
    keyed_rows = np.flatnonzero(keys.is_valid().to_numpy(zero_copy_only=False))
    encoded = keys.take(pa.array(keyed_rows)).dictionary_encode()
    group = encoded.indices.to_numpy().astype(np.int64)
    ranks = _sort_keys(rows, source.order)
    order = np.lexsort((*(rank[keyed_rows] for rank in reversed(ranks)), group))
    fitting = _MatchingRows(
        group[order],
        keyed_rows[order],
        len(encoded.dictionary),
        np.zeros(len(encoded.dictionary), dtype=bool),
    )
    index = pc.index_in(wanted.keys, value_set=encoded.dictionary, skip_nulls=True)
    key_index = pc.fill_null(index, -1).to_numpy().astype(np.int64)
    if source.in_force is not None:
        fitting, key_index = _in_force(rows, source.in_force, fitting, key_index, wanted.on)
    cells = rows.noted(source.value)
    picked, torn, counts = _agreed_cells(cells.values, ranks, fitting)
    if source.rows != "any":
        torn |= counts > 1
    ours = np.append(torn, False)[key_index]
    unread_keys, anything = _malformed_keys(rows, source)
    is_wanted = wanted.keys.is_valid()
    if wanted.on is not None:
        is_wanted = pc.and_(is_wanted, wanted.on.is_valid())
    for wanted_keys, malformed_keys in ((wanted.keys, unread_keys), (wanted.scope, anything)):
        ours |= np.asarray(pc.and_(pc.is_in(wanted_keys, value_set=malformed_keys), is_wanted))
    is_there = np.append(counts, 0)[key_index] > 0
    missing = np.asarray(is_wanted) & ~is_there & ~ours
    if source.rows != "one":
        missing &= False
    at = np.append(picked, -1)[key_index]
    answers = cells.values.take(pa.array(at, mask=(at < 0) | ours))
    notes = [(rule, np.append(mask, False)[at]) for rule, mask in cells.notes]
    return LookupResult(answers, ours, missing, notes)


def _in_force(
    rows: RawRows, dates: EffectivePeriod, fitting: _MatchingRows, key_index: Indices, on: Any
) -> tuple[_MatchingRows, Indices]:
    """Return the rows in force for each key and day, and each row's key and day."""
    day, bad = _parse_days(on)
    day_rows = np.flatnonzero((key_index >= 0) & ((day != NO_DAY) | bad))
    pairs = np.stack([key_index[day_rows], np.where(bad[day_rows], NO_DAY, day[day_rows])], axis=1)
    distinct, which = np.unique(pairs, axis=0, return_inverse=True)
    counts = np.bincount(fitting.fits, minlength=fitting.size)
    starts = np.cumsum(counts) - counts
    sizes = counts[distinct[:, 0]]
    fits = np.repeat(np.arange(len(distinct)), sizes)
    within = np.arange(len(fits)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    at = fitting.at[np.repeat(starts[distinct[:, 0]], sizes) + within]
    since, odd_since = _parse_days(rows.column(dates.since))
    until, odd_until = _parse_days(rows.column(dates.until))
    wanted = distinct[fits, 1]
    odd = odd_since[at] | odd_until[at] | (wanted == NO_DAY)
    in_force = (since[at] == NO_DAY) | (since[at] <= wanted)
    in_force &= (until[at] == NO_DAY) | (wanted <= until[at])
    doubt = np.zeros(len(distinct), dtype=bool)
    doubt[fits[odd]] = True
    matches = in_force & ~odd
    pair_index = np.full(len(key_index), -1, dtype=np.int64)
    pair_index[day_rows] = which.reshape(-1)
    return _MatchingRows(fits[matches], at[matches], len(distinct), doubt), pair_index


def _parse_days(column: Any) -> tuple[Indices, Bools]:
    """Return the days of dates or timestamps (`NO_DAY` if null), and the non-dates."""
    encoded = column.dictionary_encode()
    texts = encoded.dictionary
    instants = pc.match_substring_regex(texts, r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]")
    read = read_dates(as_array(pc.if_else(instants, pc.utf8_slice_codeunits(texts, 0, 10), texts)))
    at = pc.fill_null(encoded.indices, len(texts)).to_numpy()
    days = np.append(read.days.astype(np.int64), NO_DAY)[at]
    return days, np.append(np.asarray(read.bad), False)[at]


def _agreed_cells(
    column: Any, ranks: list[Any], fitting: _MatchingRows
) -> tuple[Indices, Bools, Indices]:
    """Return each key's first row (or -1), whether rows disagree, and their count."""
    fits, at = fitting.fits, fitting.at
    counts = np.bincount(fits, minlength=fitting.size)
    starts = np.flatnonzero(np.diff(fits, prepend=-1))
    first = np.repeat(starts, np.diff(np.append(starts, len(fits))))
    ties = np.ones(len(fits), dtype=bool)
    for rank in ranks:
        ties &= rank[at] == rank[at[first]]
    encoded_cells = column.dictionary_encode().indices
    codes = pc.fill_null(encoded_cells, -1).to_numpy().astype(np.int64)[at]
    torn = fitting.doubt.copy()
    torn[fits[ties & (codes != codes[first])]] = True
    picked = np.full(fitting.size, -1, dtype=np.int64)
    picked[fits[starts]] = at[starts]
    return picked, torn, counts


def _malformed_keys(rows: RawRows, source: Lookup) -> tuple[Any, Any]:
    """Return the keys of malformed rows, and the scopes of those without."""
    table = rows.unread if rows.unread is not None else rows.table.slice(0, 0)
    malformed = RawRows(table)
    scopes = [malformed.column(source.other_scope)] if source.other_scope else []
    keys = compound_keys(*scopes, *(malformed.column(key) for key in source.key))
    scope = scopes[0] if scopes else pa.repeat(pa.scalar("", pa.string()), malformed.count)
    return keys, scope.filter(pc.and_(scope.is_valid(), keys.is_null()))


def _sort_keys(rows: RawRows, order: tuple[RowOrder, ...]) -> list[Any]:
    """Return the sort keys of rows, the most important first."""
    ranks = []
    for key in order:
        cells = rows.column(key.column)
        absent = cells.is_null().to_numpy(zero_copy_only=False)
        sign = -1 if key.descending else 1
        ranks += [absent, *(np.where(absent, 0, sign * rank) for rank in number_rank(cells))]
    return ranks


_IDS: Final[tuple[str, ...]] = tuple(KEYS.values())
_NO_FACTS: Final = (*_IDS, "line_number", "line_numbers", "icd_version")
"""Columns that say nothing by themselves: what a row belongs to, and the version of its code."""


@dataclass(frozen=True, slots=True)
class Canonical:
    """Result of converting raw rows.

    Attributes:
        tables: every canonical table by name.
        bare: canonical table -> rows with IDs only, because they could not be read or converted.
            Each has a finding. Tables without such rows are left out.
        findings: `etl.rows.FINDINGS_SCHEMA`.
    """

    tables: dict[str, pa.Table]
    bare: Mapping[str, pa.Table]
    findings: pa.Table


def convert_tables(layout: Layout, raw: Mapping[str, pa.Table], *, directory: bool) -> Canonical:
    """Return every canonical table, and the findings.

    Args:
        layout: the layout of the raw files.
        raw: the rows of each raw file in one partition, in the order of files and rows.
        directory: whether to make the tables without members, or those with members.
    """
    rows = {
        name: with_fills(layout, layout.raw[name], _raw_rows(layout, name, table))
        for name, table in raw.items()
    }
    tables, findings = {}, [no_findings()]
    bare: dict[str, list[pa.Table]] = {}
    for name in layout.model.tables:
        pieces = []
        if (name in MEMBERLESS) == directory:
            for spec in layout.tables:
                if spec.table == name and spec.source in rows and rows[spec.source].count:
                    feed = TableConverter(spec, rows)
                    converted = feed.run()
                    # A claim's rows name providers again and again.
                    of_members = directory and layout.raw[spec.source].id_headers
                    pieces.append(drop_repeated_rows(converted) if of_members else converted)
                    findings.extend(feed.findings)
                    if feed.bare:
                        bare.setdefault(name, []).extend(feed.bare)
        tables[name] = pa.concat_tables([empty_table(name), *pieces])
    if layout.canonical and "claim" in rows:
        findings.extend(_expand_short_forms(tables, rows["claim"]))
    for spec in layout.tables:
        tables[spec.table] = _number_rows(tables[spec.table], spec)
    for name, table in raw.items():
        main, malformed = layout.raw[name].main_table, malformed_rows(table)
        if malformed.num_rows and main in TABLES and (main in MEMBERLESS) == directory:
            ids = {f"{role}_id": header for role, header in layout.raw[name].id_headers.items()}
            bare.setdefault(main, []).append(_id_only_rows(main, ids, malformed))
            findings.append(findings_at(RAGGED_ROW, main, *RawRows(malformed).row_positions, None))
    return Canonical(
        {name: sort_rows(table, name) for name, table in tables.items()},
        {name: pa.concat_tables(parts) for name, parts in bare.items()},
        pa.concat_tables(findings),
    )


def _raw_rows(layout: Layout, name: str, table: pa.Table) -> RawRows:
    return RawRows(readable_rows(table), malformed_rows(table), layout.raw[name].cells)


def column_values(
    layout: Layout, specs: Iterable[TableSpec], raw: Mapping[str, pa.Table], column: str
) -> Iterator[Any]:
    """Yield one canonical column per feed, as `string` arrays with nulls.

    Args:
        layout: the layout of the raw files.
        specs: feeds that make the column.
        raw: the rows of each raw file in one partition, as stored.
    """
    rows = {name: _raw_rows(layout, name, table) for name, table in raw.items()}
    for spec in specs:
        if spec.source in rows and rows[spec.source].count:
            yield TableConverter(spec, rows).values(column)


def _id_only_rows(name: str, ids: Mapping[str, str], rows: pa.Table) -> pa.Table:
    """Return canonical rows that have only IDs, given the header of each."""
    read = RawRows(rows)
    position_columns = dict(zip((FILE_COLUMN, ROW_COLUMN), read.row_positions, strict=True))
    columns = {column: read.column(header) for column, header in ids.items()}
    return table_of(name, read.count, {**columns, **position_columns})


def _expand_short_forms(tables: dict[str, pa.Table], claims: RawRows) -> Iterator[pa.Table]:
    """Add rows for the numbered columns of claims; yield findings about claims that have both."""
    for name, words in SHORT_FORMS.items():
        stem = name.removeprefix("claim_")
        numbered = {
            header: claims.column(header)
            for header in claims.table.column_names
            if any(header.startswith(f"{stem}_{word}_") for word in words)
        }
        if numbered:
            has_rows = pc.is_in(
                tables["claim"].column("claim_id"), tables[name].column("claim_id").combine_chunks()
            )
            has_any = pc.is_valid(pc.coalesce(*numbered.values()))
            both = tables["claim"].filter(pc.and_(has_rows, has_any))
            files, numbers = both.select([FILE_COLUMN, ROW_COLUMN]).columns
            yield findings_at(SHORT_FORM_BESIDE_ROWS, "claim", files, numbers, None)
            tables[name] = add_short_forms(tables[name], tables["claim"], pa.table(numbered), name)


def drop_repeated_rows(table: pa.Table) -> pa.Table:
    """Return distinct rows, ignoring row positions, without empty ones."""
    cells = table.drop_columns([FILE_COLUMN, ROW_COLUMN])
    texts = [pc.fill_null(column.combine_chunks(), "") for column in cells.columns]
    if not texts:
        return table.slice(0, 0)
    keys = compound_keys(*texts)
    empty = pc.equal(keys, "\x1f" * (len(texts) - 1))
    return table.filter(pc.and_(pa.array(first_of_each(keys)), pc.invert(empty)))


def sort_rows(table: pa.Table, name: str) -> pa.Table:
    """Return rows sorted by key (numbers as numbers), then by file and row."""
    if table.num_rows < 2:
        return table.combine_chunks()
    table = table.combine_chunks()
    keys: dict[str, Any] = {}
    for column in TABLES[name].key:
        cells = table.column(column).combine_chunks()
        spec = TABLES[name].column(column)
        if spec is not None and spec.type is FieldType.INTEGER:
            number, text = number_rank(cells)
            keys[f"{column} number"], keys[f"{column} text"] = pa.array(number), pa.array(text)
        else:
            keys[column] = cells
    keys[FILE_COLUMN], keys[ROW_COLUMN] = table.column(FILE_COLUMN), table.column(ROW_COLUMN)
    order = pc.sort_indices(pa.table(keys), sort_keys=[(key, "ascending") for key in keys])
    if np.array_equal(order.to_numpy(), np.arange(table.num_rows)):
        return table
    return table.take(order)


def _number_rows(table: pa.Table, spec: TableSpec) -> pa.Table:
    """Fill the columns that number rows, in the order of the rows."""
    for name, column in spec.columns.items():
        if not isinstance(column.source, RowNumber) or table.num_rows == 0:
            continue
        within = [
            pc.fill_null(table.column(key).combine_chunks(), "") for key in column.source.within
        ]
        codes = compound_keys(*within).dictionary_encode().indices.to_numpy()
        order = np.argsort(codes, kind="stable")
        starts = np.concatenate([[True], codes[order][1:] != codes[order][:-1]])
        first = np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
        numbers = np.empty(len(order), dtype=np.int64)
        numbers[order] = np.arange(len(order)) - first + 1
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, pa.array(numbers).cast(pa.string()))
    return table


class TableConverter:
    """One raw file feeding one canonical table.

    Attributes:
        count: number of canonical rows, including those that will lack a needed cell.
        findings: findings of the conversion.
        bare: IDs of rows that were not made but have findings.
    """

    def __init__(self, spec: TableSpec, rows: Mapping[str, RawRows]) -> None:
        self._spec, self._rows = spec, rows
        source_rows = rows[spec.source]
        self._groups = Groups(source_rows, spec.where, spec.grain, spec.order)
        self.count = self._groups.count
        files, numbers = source_rows.row_positions
        first = pa.array(self._groups.first)
        self._positions = (files.take(first), numbers.take(first))
        self.findings: list[pa.Table] = []
        self.bare: list[pa.Table] = []

    def run(self) -> pa.Table:
        tables = []
        for entry in self._spec.rows or ({},):
            columns = {
                name: convert_column(column, self)
                for name, column in {**self._spec.columns, **entry}.items()
            }
            if self._spec.table == "claim":
                self._of_fills(columns)
            usable = np.ones(self._groups.count, dtype=bool)
            for name in self._spec.needs:
                usable &= columns[name].values.is_valid().to_numpy(zero_copy_only=False)
            if self._spec.needs_any:
                some = [columns[name].values for name in self._spec.needs_any if name in columns]
                usable &= pc.coalesce(*some).is_valid().to_numpy(zero_copy_only=False)
            failed = np.zeros(self._groups.count, dtype=bool)
            for name, column in columns.items():
                self.findings.extend(self._findings(name, column, usable))
                if name in self._spec.needs or name in self._spec.needs_any:
                    for _, mask in column.notes:
                        failed |= mask & ~usable
            if not usable.all():
                self.findings.extend(self._missing_row_findings(entry, columns, ~usable & ~failed))
            if failed.any():
                ids = {name: columns[name] for name in _IDS if name in columns}
                self.bare.append(self._table(ids, failed))
            tables.append(self._table(columns, usable))
        return pa.concat_tables(tables)

    def _of_fills(self, columns: Mapping[str, ConvertedColumn]) -> None:
        """Drop claim amounts if its fills become claims: their lines have them."""
        fills = self.cell(FILL).is_valid()
        if not pc.any(fills).as_py():
            return
        columns["claim_id"].note(SPLIT_FILLS, fills)
        for name, column in columns.items():
            if name in AMOUNT_COLUMNS:
                column.values = pc.if_else(fills, None, column.values)

    def values(self, column: str) -> Any:
        """Return one column of `columns`, with one cell per group of rows."""
        return convert_column(self._spec.columns[column], self).values

    def _table(self, converted: Mapping[str, ConvertedColumn], row_mask: Bools) -> pa.Table:
        position_columns = dict(zip((FILE_COLUMN, ROW_COLUMN), self._positions, strict=True))
        columns = {name: column.values for name, column in converted.items()}
        table = table_of(self._spec.table, self.count, {**columns, **position_columns})
        return table if row_mask.all() else table.filter(pa.array(row_mask))

    def _findings(self, name: str, column: ConvertedColumn, usable: Bools) -> list[pa.Table]:
        findings = []
        for rule, mask in column.notes:
            # For a row that is not made, only the cell that prevented it is reported.
            needed = name in self._spec.needs or name in self._spec.needs_any
            at = np.flatnonzero(mask if needed else mask & usable)
            if not len(at):
                continue
            files, numbers = (cells.take(pa.array(at)) for cells in self._positions)
            findings.append(findings_at(rule, self._spec.table, files, numbers, name))
        return findings

    def _missing_row_findings(
        self, entry: Mapping[str, ColumnSpec], columns: Mapping[str, ConvertedColumn], unmade: Bools
    ) -> Iterator[pa.Table]:
        """Yield findings about filled cells of rows that are not made.

        Args:
            entry: the columns of this row alone, not of others of the group; empty for all.
            unmade: groups without a needed cell, unless a finding reports that cell.
        """
        named = {
            *self._spec.needs,
            *self._spec.needs_any,
            *TABLES[self._spec.table].key,
            *_NO_FACTS,
        }
        for name, spec in (entry or self._spec.columns).items():
            if name not in named and spec.comes_from_cells:
                filled = columns[name].values.is_valid().to_numpy(zero_copy_only=False)
                for rule, mask in columns[name].notes:
                    if rule not in (SENTINEL_DATE, WORD_WITHOUT_CODE):
                        filled = filled | mask
                at = pa.array(np.flatnonzero(unmade & filled))
                if len(at):
                    files, numbers = (cells.take(at) for cells in self._positions)
                    yield findings_at(FACT_WITHOUT_ROW, self._spec.table, files, numbers, name)

    def cell(self, header: str) -> Any:
        """Return each group's cell under a header."""
        return self._groups.pick(header)[0]

    def agreed(self, header: str, spec: ColumnSpec) -> ConvertedColumn:
        """Return the cells under a header; absent, with a finding, on conflicts."""
        rows = self._groups.rows
        among = match_rows(spec.among, rows.column, rows.count) if spec.among else None
        values, conflict = self._groups.pick(header, among)
        converted = ConvertedColumn(values, self._notes(header))
        if conflict is not None:
            converted.note(spec.conflict, conflict)
        return converted.drop_unknown()

    def _notes(self, header: str) -> list[tuple[str, Bools]]:
        """Return the findings about the merged cells under a header."""
        notes = self._groups.rows.noted(header).notes
        return [(rule, self._groups.noted(mask)) for rule, mask in notes]

    def of_other_rows(self, spec: ColumnSpec) -> ConvertedColumn:
        """Return a column made of other rows than the merged ones."""
        match spec.source:
            case DistinctCells(header):
                cells = self._groups.distinct_cells(header)
                return ConvertedColumn(cells, self._notes(header)).drop_unknown()
            case Lookup():
                return self._look_up(spec.source, spec)
            case _:
                return ConvertedColumn(pa.nulls(self.count, pa.string()), [])

    def _look_up(self, source: Lookup, spec: ColumnSpec) -> ConvertedColumn:
        """Look up cells in the same member's rows of another raw file."""
        by = [self.agreed(header, spec) for header in source.by]
        converted = ConvertedColumn(
            pa.nulls(self.count, pa.string()), [note for answer in by for note in answer.notes]
        )
        on = None
        if source.in_force is not None:
            day = self.agreed(source.in_force.on, spec)
            converted.notes.extend(day.notes)
            on = day.values
        scope = [self.cell(source.own_scope)] if source.own_scope else []
        keys = compound_keys(*scope, *(answer.values for answer in by))
        members = scope[0] if scope else pa.repeat(pa.scalar("", pa.string()), self.count)
        other_rows = self._rows.get(source.table)
        if other_rows is None:
            return converted
        result = look_up(other_rows, source, WantedRows(members, keys, on))
        converted.values = result.values
        converted.note(AMBIGUOUS_LOOKUP, result.torn)
        converted.note(LOOKUP_WITHOUT_ROW, result.missing)
        for rule, mask in result.notes:
            converted.note(rule, mask)
        return converted
