"""Convert raw rows into canonical rows, as a layout says, with a finding for each correction.

A lookup takes cells of another raw file. Rows fit that belong to the same member or claim and have
the same keys, and that are in force on the row's day where the layout asks for that. Where several
do, the first in the order that the layout declares counts; where it declares none, or several come
first, they must all say the same. A row that could not be read fits wherever it may fit, with
unknown cells.
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
    SPLIT_FILLS,
    WORD_WITHOUT_CODE,
)


@dataclass(frozen=True, slots=True)
class WantedRows:
    """Keys that rows look for in another file.

    Attributes:
        scope: `string`, shape (n,): the owner of each row; "" where that does not matter.
        keys: `string`, shape (n,): scope and keys together; null where there is nothing to look
            for.
        on: `string`, shape (n,): the day on which a row must be in force; None: any day.
    """

    scope: Any
    keys: Any
    on: Any = None


@dataclass(frozen=True, slots=True)
class LookupResult:
    """Cells that rows found in another file.

    Attributes:
        values: `string`, shape (n,); null where nothing is found or known.
        torn: which rows found rows that disagree, or that could not be read, shape (n,).
        missing: which rows found none, though the layout says that one is there, shape (n,).
        notes: findings about the cells that were found: rule and the rows that have it.
    """

    values: Any
    torn: Bools
    missing: Bools
    notes: list[tuple[str, Bools]]


@dataclass(frozen=True, slots=True)
class _MatchingRows:
    """Rows of the other file that fit, by what they fit, the more important ones first.

    Attributes:
        fits: ascending: number of what each fits, shape (m,).
        at: number of the row, shape (m,).
        size: how many things there are that rows may fit.
        doubt: of which of them it is not known which rows fit, shape (size,).
    """

    fits: Indices
    at: Indices
    size: int
    doubt: Bools


def look_up(rows: RawRows, source: Lookup, wanted: WantedRows) -> LookupResult:
    """Return what a lookup finds for each row.

    Args:
        rows: of the other file.
        source: the lookup.
        wanted: what is looked for.
    """
    scope = [rows.column(source.other_scope)] if source.other_scope else []
    keys = compound_keys(*scope, *(rows.column(key) for key in source.key))
    there = np.flatnonzero(keys.is_valid().to_numpy(zero_copy_only=False))
    encoded = keys.take(pa.array(there)).dictionary_encode()
    group = encoded.indices.to_numpy().astype(np.int64)
    ranks = _sort_keys(rows, source.order)
    order = np.lexsort((*(rank[there] for rank in reversed(ranks)), group))
    fitting = _MatchingRows(
        group[order],
        there[order],
        len(encoded.dictionary),
        np.zeros(len(encoded.dictionary), dtype=bool),
    )
    index = pc.index_in(wanted.keys, value_set=encoded.dictionary, skip_nulls=True)
    place = pc.fill_null(index, -1).to_numpy().astype(np.int64)
    if source.in_force is not None:
        fitting, place = _in_force(rows, source.in_force, fitting, place, wanted.on)
    cells = rows.noted(source.value)
    picked, torn, counts = _agreed_cells(cells.values, ranks, fitting)
    if source.rows != "any":
        torn |= counts > 1
    ours = np.append(torn, False)[place]
    unread_keys, anything = _malformed_keys(rows, source)
    asked = wanted.keys.is_valid()
    if wanted.on is not None:
        asked = pc.and_(asked, wanted.on.is_valid())
    for own, lost in ((wanted.keys, unread_keys), (wanted.scope, anything)):
        ours |= np.asarray(pc.and_(pc.is_in(own, value_set=lost), asked))
    is_there = np.append(counts, 0)[place] > 0
    missing = np.asarray(asked) & ~is_there & ~ours
    if source.rows != "one":
        missing &= False
    at = np.append(picked, -1)[place]
    answers = cells.values.take(pa.array(at, mask=(at < 0) | ours))
    notes = [(rule, np.append(mask, False)[at]) for rule, mask in cells.notes]
    return LookupResult(answers, ours, missing, notes)


def _in_force(
    rows: RawRows, dates: EffectivePeriod, fitting: _MatchingRows, place: Indices, on: Any
) -> tuple[_MatchingRows, Indices]:
    """Return which rows fit each distinct key and day, and which of these each row looks for."""
    day, bad = _parse_days(on)
    asked = np.flatnonzero((place >= 0) & ((day != NO_DAY) | bad))
    pairs = np.stack([place[asked], np.where(bad[asked], NO_DAY, day[asked])], axis=1)
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
    here = (since[at] == NO_DAY) | (since[at] <= wanted)
    here &= (until[at] == NO_DAY) | (wanted <= until[at])
    doubt = np.zeros(len(distinct), dtype=bool)
    doubt[fits[odd]] = True
    kept = here & ~odd
    found = np.full(len(place), -1, dtype=np.int64)
    found[asked] = which.reshape(-1)
    return _MatchingRows(fits[kept], at[kept], len(distinct), doubt), found


def _parse_days(column: Any) -> tuple[Indices, Bools]:
    """Return the days of dates or timestamps (`NO_DAY` if null), and which texts are not dates."""
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
    """Return the first row that fits, or -1; where rows disagree; and how many rows fit."""
    fits, at = fitting.fits, fitting.at
    counts = np.bincount(fits, minlength=fitting.size)
    starts = np.flatnonzero(np.diff(fits, prepend=-1))
    first = np.repeat(starts, np.diff(np.append(starts, len(fits))))
    ties = np.ones(len(fits), dtype=bool)
    for rank in ranks:
        ties &= rank[at] == rank[at[first]]
    said = column.dictionary_encode().indices
    codes = pc.fill_null(said, -1).to_numpy().astype(np.int64)[at]
    torn = fitting.doubt.copy()
    torn[fits[ties & (codes != codes[first])]] = True
    picked = np.full(fitting.size, -1, dtype=np.int64)
    picked[fits[starts]] = at[starts]
    return picked, torn, counts


def _malformed_keys(rows: RawRows, source: Lookup) -> tuple[Any, Any]:
    """Return the keys of malformed rows, and the scopes of those without keys."""
    table = rows.unread if rows.unread is not None else rows.table.slice(0, 0)
    lost = RawRows(table)
    scopes = [lost.column(source.other_scope)] if source.other_scope else []
    keys = compound_keys(*scopes, *(lost.column(key) for key in source.key))
    scope = scopes[0] if scopes else pa.repeat(pa.scalar("", pa.string()), lost.count)
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
        bare: canonical table -> rows of which only the ids are known: they could not be read or
            converted. Each has a finding. Tables without such rows are left out.
        findings: `etl.rows.FINDINGS_SCHEMA`.
    """

    tables: dict[str, pa.Table]
    bare: Mapping[str, pa.Table]
    findings: pa.Table


def convert_tables(layout: Layout, raw: Mapping[str, pa.Table], *, directory: bool) -> Canonical:
    """Return every canonical table, and the findings.

    Args:
        layout: how.
        raw: the rows of each raw file in one partition, as stored: in the order of
            files and rows.
        directory: whether to make the tables that belong to no member, or those that do.
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
                    made = feed.run()
                    # A claim's rows name providers again and again.
                    of_members = directory and layout.raw[spec.source].id_headers
                    pieces.append(drop_repeated_rows(made) if of_members else made)
                    findings.extend(feed.findings)
                    if feed.bare:
                        bare.setdefault(name, []).extend(feed.bare)
        tables[name] = pa.concat_tables([empty_table(name), *pieces])
    if layout.canonical and not directory:
        _expand_short_forms(tables, rows["claim"])
    for spec in layout.tables:
        tables[spec.table] = _number_rows(tables[spec.table], spec)
    for name, table in raw.items():
        main, lost = layout.raw[name].main_table, malformed_rows(table)
        if lost.num_rows and main in TABLES and (main in MEMBERLESS) == directory:
            ids = {f"{role}_id": header for role, header in layout.raw[name].id_headers.items()}
            bare.setdefault(main, []).append(_id_only_rows(main, ids, lost))
            findings.append(findings_at(RAGGED_ROW, main, *RawRows(lost).places, None))
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
    """Yield one canonical column of each table that is fed: `string` arrays, null where absent.

    Args:
        layout: what the rows mean.
        specs: feeds that make the column.
        raw: the rows of each raw file in one partition, as stored.
        column: its name.
    """
    rows = {name: _raw_rows(layout, name, table) for name, table in raw.items()}
    for spec in specs:
        if spec.source in rows and rows[spec.source].count:
            yield TableConverter(spec, rows).values(column)


def _id_only_rows(name: str, ids: Mapping[str, str], rows: pa.Table) -> pa.Table:
    """Return canonical rows that have only IDs, given the header of each."""
    read = RawRows(rows)
    places = dict(zip((FILE_COLUMN, ROW_COLUMN), read.places, strict=True))
    columns = {column: read.column(header) for column, header in ids.items()}
    return table_of(name, read.count, {**columns, **places})


def _expand_short_forms(tables: dict[str, pa.Table], claims: RawRows) -> None:
    for name, words in SHORT_FORMS.items():
        stem = name.removeprefix("claim_")
        numbered = {
            header: claims.column(header)
            for header in claims.table.column_names
            if any(header.startswith(f"{stem}_{word}_") for word in words)
        }
        if numbered:
            tables[name] = add_short_forms(tables[name], tables["claim"], pa.table(numbered), name)


def drop_repeated_rows(table: pa.Table) -> pa.Table:
    """Return the first of the rows that are equal but for their places; empty ones are left out."""
    cells = table.drop_columns([FILE_COLUMN, ROW_COLUMN])
    texts = [pc.fill_null(column.combine_chunks(), "") for column in cells.columns]
    if not texts:
        return table.slice(0, 0)
    keys = compound_keys(*texts)
    empty = pc.equal(keys, "\x1f" * (len(texts) - 1))
    return table.filter(pc.and_(pa.array(first_of_each(keys)), pc.invert(empty)))


def sort_rows(table: pa.Table, name: str) -> pa.Table:
    """Return rows in the order of their key, numbers as numbers, then of file and row."""
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
        count: number of canonical rows, before those without a needed cell are left out.
        findings: of the conversion.
        bare: ids of rows that were not made, though they have findings.
    """

    def __init__(self, spec: TableSpec, rows: Mapping[str, RawRows]) -> None:
        self._spec, self._rows = spec, rows
        own = rows[spec.source]
        self._groups = Groups(own, spec.where, spec.grain, spec.order)
        self.count = self._groups.count
        files, numbers = own.places
        first = pa.array(self._groups.first)
        self._places = (files.take(first), numbers.take(first))
        self.findings: list[pa.Table] = []
        self.bare: list[pa.Table] = []

    def run(self) -> pa.Table:
        tables = []
        for entry in self._spec.rows or ({},):
            made = {
                name: convert_column(column, self)
                for name, column in {**self._spec.columns, **entry}.items()
            }
            if self._spec.table == "claim":
                self._of_fills(made)
            kept = np.ones(self._groups.count, dtype=bool)
            for name in self._spec.needs:
                kept &= made[name].values.is_valid().to_numpy(zero_copy_only=False)
            if self._spec.needs_any:
                some = [made[name].values for name in self._spec.needs_any if name in made]
                kept &= pc.coalesce(*some).is_valid().to_numpy(zero_copy_only=False)
            lost = np.zeros(self._groups.count, dtype=bool)
            for name, column in made.items():
                self.findings.extend(self._findings(name, column, kept))
                if name in self._spec.needs or name in self._spec.needs_any:
                    for _, mask in column.notes:
                        lost |= mask & ~kept
            if not kept.all():
                self.findings.extend(self._missing_row_findings(entry, made, ~kept & ~lost))
            if lost.any():
                ids = {name: made[name] for name in _IDS if name in made}
                self.bare.append(self._table(ids, lost))
            tables.append(self._table(made, kept))
        return pa.concat_tables(tables)

    def _of_fills(self, made: Mapping[str, ConvertedColumn]) -> None:
        """Leave out amounts of the whole claim where its fills are claims: the lines have them."""
        fills = self.cell(FILL).is_valid()
        if not pc.any(fills).as_py():
            return
        made["claim_id"].note(SPLIT_FILLS, fills)
        for name, column in made.items():
            if name in AMOUNT_COLUMNS:
                column.values = pc.if_else(fills, None, column.values)

    def values(self, column: str) -> Any:
        """Return one column of `columns`, a cell a group of rows."""
        return convert_column(self._spec.columns[column], self).values

    def _table(self, made: Mapping[str, ConvertedColumn], kept: Bools) -> pa.Table:
        places = dict(zip((FILE_COLUMN, ROW_COLUMN), self._places, strict=True))
        columns = {name: column.values for name, column in made.items()}
        table = table_of(self._spec.table, self.count, {**columns, **places})
        return table if kept.all() else table.filter(pa.array(kept))

    def _findings(self, name: str, column: ConvertedColumn, kept: Bools) -> list[pa.Table]:
        findings = []
        for rule, mask in column.notes:
            # For a row that is not made, only the cell that prevented it is reported.
            needed = name in self._spec.needs or name in self._spec.needs_any
            at = np.flatnonzero(mask if needed else mask & kept)
            if not len(at):
                continue
            files, numbers = (place.take(pa.array(at)) for place in self._places)
            findings.append(findings_at(rule, self._spec.table, files, numbers, name))
        return findings

    def _missing_row_findings(
        self, entry: Mapping[str, ColumnSpec], made: Mapping[str, ConvertedColumn], unmade: Bools
    ) -> Iterator[pa.Table]:
        """Yield findings of cells that are about a row which is not made.

        Args:
            entry: the columns that make this row and no other of the group; empty: all do.
            made: every column.
            unmade: groups without a needed cell, of which no finding says that it was there.
        """
        named = {
            *self._spec.needs,
            *self._spec.needs_any,
            *TABLES[self._spec.table].key,
            *_NO_FACTS,
        }
        for name, spec in (entry or self._spec.columns).items():
            if name not in named and spec.comes_from_cells:
                filled = made[name].values.is_valid().to_numpy(zero_copy_only=False)
                for rule, mask in made[name].notes:
                    if rule not in (SENTINEL_DATE, WORD_WITHOUT_CODE):
                        filled = filled | mask
                at = pa.array(np.flatnonzero(unmade & filled))
                if len(at):
                    files, numbers = (place.take(at) for place in self._places)
                    found = FACT_WITHOUT_ROW
                    yield findings_at(found, self._spec.table, files, numbers, name)

    def cell(self, header: str) -> Any:
        """Return each group's cell under a header."""
        return self._groups.pick(header)[0]

    def agreed(self, header: str, spec: ColumnSpec) -> ConvertedColumn:
        """Return the cells under a header; absent, with a finding, where rows contradict."""
        rows = self._groups.rows
        among = match_rows(spec.among, rows.column, rows.count) if spec.among else None
        values, conflict = self._groups.pick(header, among)
        made = ConvertedColumn(values, self._notes(header))
        if conflict is not None:
            made.note(spec.conflict, conflict)
        return made.drop_unknown()

    def _notes(self, header: str) -> list[tuple[str, Bools]]:
        """Return the findings about the merged cells under a header."""
        notes = self._groups.rows.noted(header).notes
        return [(rule, self._groups.noted(mask)) for rule, mask in notes]

    def of_other_rows(self, spec: ColumnSpec) -> ConvertedColumn:
        """Return a column that is made of other rows than those that were merged."""
        match spec.source:
            case DistinctCells(header):
                made = ConvertedColumn(self._groups.each(header), self._notes(header))
                return made.drop_unknown()
            case Lookup():
                return self._look_up(spec.source, spec)
            case _:
                return ConvertedColumn(pa.nulls(self.count, pa.string()), [])

    def _look_up(self, source: Lookup, spec: ColumnSpec) -> ConvertedColumn:
        """Read another raw file in the row of the same member, so that partitions do not show."""
        by = [self.agreed(header, spec) for header in source.by]
        made = ConvertedColumn(
            pa.nulls(self.count, pa.string()), [note for answer in by for note in answer.notes]
        )
        on = None
        if source.in_force is not None:
            day = self.agreed(source.in_force.on, spec)
            made.notes.extend(day.notes)
            on = day.values
        scope = [self.cell(source.own_scope)] if source.own_scope else []
        keys = compound_keys(*scope, *(answer.values for answer in by))
        members = scope[0] if scope else pa.repeat(pa.scalar("", pa.string()), self.count)
        other = self._rows.get(source.table)
        if other is None:
            return made
        found = look_up(other, source, WantedRows(members, keys, on))
        made.values = found.values
        made.note(AMBIGUOUS_LOOKUP, found.torn)
        made.note(LOOKUP_WITHOUT_ROW, found.missing)
        for rule, mask in found.notes:
            made.note(rule, mask)
        return made
