"""Convert raw rows into canonical rows, as a layout says, with a finding for each correction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, assert_never

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, compound_keys, true_where
from etl.columns.numbers import to_cents
from etl.model.canonical_tables import (
    AMOUNT_COLUMNS,
    DIRECTORY_TABLES,
    FILE_COLUMN,
    ROW_COLUMN,
    TABLES,
    FieldType,
)
from etl.model.crosswalks import Crosswalk
from etl.model.short_forms import SHORT_FORMS
from etl.rows import empty_table, findings_at, no_findings, table_schema
from etl.sources import rule_ids
from etl.sources.canonical_layout import add_short_forms
from etl.sources.layout import Layout, TableSpec
from etl.sources.layout_columns import (
    Accept,
    ColumnSpec,
    ConstantText,
    EachRow,
    FirstColumn,
    FromColumn,
    JoinedColumns,
    Lookup,
    Number,
)
from etl.sources.lookups import Matches
from etl.sources.malformed_rows import readable, unread
from etl.sources.pharmacy_fills import FILL, with_fills
from etl.sources.row_merging import LIST_SEPARATOR, Groups, RawRows, holds, number_rank

_IDS: Final[tuple[str, ...]] = ("member_id", "coverage_id", "claim_id")


@dataclass(frozen=True, slots=True)
class Canonical:
    """Result of converting raw rows.

    Attributes:
        tables: every canonical table by name.
        bare: canonical table -> rows of which nothing but their ids is known: they could not be
            read, or not be made. Each has a finding. Tables that have none are left out.
        findings: `etl.rows.FINDINGS_SCHEMA`.
    """

    tables: dict[str, pa.Table]
    bare: Mapping[str, pa.Table]
    findings: pa.Table


@dataclass(slots=True)
class _Made:
    """A canonical column in the making.

    Attributes:
        values: its text, shape (groups,).
        notes: findings so far: rule and the rows that have it.
    """

    values: Any
    notes: list[tuple[str, Bools]]

    def note(self, rule: str, where: Any) -> None:
        mask = where if isinstance(where, np.ndarray) else where.to_numpy(zero_copy_only=False)
        if mask.any():
            self.notes.append((rule, mask))


def convert(layout: Layout, raw: Mapping[str, pa.Table], *, directory: bool) -> Canonical:
    """Return every canonical table, and the findings.

    Args:
        layout: how.
        raw: the rows of each raw file in one partition, as they were spilled: in the order of
            files and rows.
        directory: whether to make the tables that belong to no member, or those that do.
    """
    rows = {
        name: with_fills(layout, layout.raw[name], RawRows(readable(table), unread(table)))
        for name, table in raw.items()
    }
    tables, findings = {}, [no_findings()]
    bare: dict[str, list[pa.Table]] = {}
    for name in TABLES:
        pieces = []
        if (name in DIRECTORY_TABLES) == directory:
            for spec in layout.tables:
                if spec.table == name and spec.source in rows and rows[spec.source].count:
                    feed = _Feed(spec, rows)
                    pieces.append(feed.run())
                    findings.extend(feed.findings)
                    if feed.bare:
                        bare.setdefault(name, []).extend(feed.bare)
        tables[name] = pa.concat_tables([empty_table(name), *pieces])
    if layout.canonical and not directory:
        _short_forms(tables, rows["claim"])
    for spec in layout.tables:
        tables[spec.table] = _numbered(tables[spec.table], spec)
    for name, table in raw.items():
        main, lost = layout.raw[name].main, unread(table)
        if lost.num_rows and main in TABLES and (main in DIRECTORY_TABLES) == directory:
            ids = {f"{role}_id": header for role, header in layout.raw[name].ids.items()}
            bare.setdefault(main, []).append(_bare(main, ids, lost))
            findings.append(findings_at(rule_ids.RAGGED_ROW, main, *RawRows(lost).places, None))
    return Canonical(
        {name: sort_rows(table, name) for name, table in tables.items()},
        {name: pa.concat_tables(parts) for name, parts in bare.items()},
        pa.concat_tables(findings),
    )


def column_values(
    specs: Iterable[TableSpec], raw: Mapping[str, pa.Table], column: str
) -> Iterator[Any]:
    """Yield one canonical column of each table that is fed: `string` arrays, null where absent.

    Args:
        specs: feeds that make the column.
        raw: the rows of each raw file in one partition, as they were spilled.
        column: its name.
    """
    rows = {name: RawRows(readable(table)) for name, table in raw.items()}
    for spec in specs:
        if spec.source in rows and rows[spec.source].count:
            yield _Feed(spec, rows).values(column)


def _bare(name: str, ids: Mapping[str, str], rows: pa.Table) -> pa.Table:
    """Return canonical rows that have nothing but ids, given the header of each."""
    read, schema = RawRows(rows), table_schema(name)
    places = dict(zip((FILE_COLUMN, ROW_COLUMN), read.places, strict=True))
    arrays = [
        places[field.name]
        if field.name in places
        else read.column(ids[field.name])
        if field.name in ids
        else pa.nulls(read.count, field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


def _short_forms(tables: dict[str, pa.Table], claims: RawRows) -> None:
    for name, words in SHORT_FORMS.items():
        stem = name.removeprefix("claim_")
        numbered = {
            header: claims.column(header)
            for header in claims.table.column_names
            if any(header.startswith(f"{stem}_{word}_") for word in words)
        }
        if numbered:
            tables[name] = add_short_forms(tables[name], tables["claim"], pa.table(numbered), name)


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


def _numbered(table: pa.Table, spec: TableSpec) -> pa.Table:
    """Fill the columns that count rows; the rows stand in the order in which they count."""
    for name, column in spec.columns.items():
        if not isinstance(column.source, Number) or table.num_rows == 0:
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


class _Feed:
    """One raw file feeding one canonical table.

    Attributes:
        findings: what was noticed.
        bare: rows that were not made, though something was noticed in them: their ids.
    """

    def __init__(self, spec: TableSpec, rows: Mapping[str, RawRows]) -> None:
        self._spec, self._rows = spec, rows
        self._groups = Groups(rows[spec.source], spec.where, spec.grain, spec.order)
        files, numbers = rows[spec.source].places
        first = pa.array(self._groups.first)
        self._places = (files.take(first), numbers.take(first))
        self.findings: list[pa.Table] = []
        self.bare: list[pa.Table] = []

    def run(self) -> pa.Table:
        tables = []
        for entry in self._spec.rows or ({},):
            made = {
                name: self._make(column) for name, column in {**self._spec.columns, **entry}.items()
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
            if lost.any():
                ids = {name: made[name] for name in _IDS if name in made}
                self.bare.append(self._table(ids, lost))
            tables.append(self._table(made, kept))
        return pa.concat_tables(tables)

    def _of_fills(self, made: Mapping[str, _Made]) -> None:
        """Leave out amounts of the whole claim where its fills are claims: lines have theirs."""
        fills = self._cell(FILL).is_valid()
        if not pc.any(fills).as_py():
            return
        made["claim_id"].note(rule_ids.SPLIT_FILLS, fills)
        for name, column in made.items():
            if name in AMOUNT_COLUMNS:
                column.values = pc.if_else(fills, None, column.values)

    def values(self, column: str) -> Any:
        """Return one column of `columns`, a cell a group of rows."""
        return self._make(self._spec.columns[column]).values

    def _table(self, made: Mapping[str, _Made], kept: Bools) -> pa.Table:
        schema = table_schema(self._spec.table)
        places = dict(zip((FILE_COLUMN, ROW_COLUMN), self._places, strict=True))
        arrays = []
        for field in schema:
            if field.name in places:
                arrays.append(places[field.name])
            elif field.name in made:
                arrays.append(made[field.name].values)
            else:
                arrays.append(pa.nulls(self._groups.count, field.type))
        table = pa.table(arrays, schema=schema)
        return table if kept.all() else table.filter(pa.array(kept))

    def _findings(self, name: str, column: _Made, kept: Bools) -> list[pa.Table]:
        found = []
        for rule, mask in column.notes:
            # Of a row that is not made, only the cell that made it impossible is told.
            needed = name in self._spec.needs or name in self._spec.needs_any
            at = np.flatnonzero(mask if needed else mask & kept)
            if not len(at):
                continue
            files, numbers = (place.take(pa.array(at)) for place in self._places)
            found.append(findings_at(rule, self._spec.table, files, numbers, name))
        return found

    def _make(self, spec: ColumnSpec) -> _Made:
        made = self._source(spec)
        if spec.when:
            mask = holds(spec.when, self._cell, self._groups.count)
            made.values = pc.if_else(pa.array(mask), made.values, None)
            made.notes = [(rule, noted & mask) for rule, noted in made.notes]
        if spec.sentinels:
            sentinels = pa.array(sorted(spec.sentinels), pa.string())
            stood = pc.is_in(made.values, value_set=sentinels)
            made.note(rule_ids.SENTINEL_DATE, stood)
            made.values = pc.if_else(stood, None, made.values)
        if spec.crosswalk is not None or spec.accept is not None:
            self._translate(made, spec)
        if spec.amount:
            made.values, rounded = to_cents(made.values)
            made.note(rule_ids.ROUNDED_AMOUNT, rounded)
        if spec.finding is not None:
            made.note(spec.finding, made.values.is_valid())
        return made

    def _cell(self, header: str) -> Any:
        return self._groups.pick(header)[0]

    def _agreed(self, header: str, spec: ColumnSpec) -> _Made:
        """Return the cells under a header; absent, with a finding, where rows contradict."""
        among = None
        if spec.among:
            rows = self._groups.rows
            among = holds(spec.among, rows.column, rows.count)
        values, conflict = self._groups.pick(header, among)
        made = _Made(values, [])
        if conflict is not None and conflict.any():
            made.note(spec.conflict, conflict)
            made.values = pc.if_else(pa.array(conflict), None, values)
        return made

    def _source(self, spec: ColumnSpec) -> _Made:
        count = self._groups.count
        match spec.source:
            case FromColumn(header):
                return self._agreed(header, spec)
            case ConstantText(text):
                return _Made(pa.repeat(pa.scalar(text, pa.string()), count), [])
            case FirstColumn(options):
                return self._first_of(options)
            case JoinedColumns(headers):
                cells = [self._agreed(header, spec) for header in headers]
                notes = [note for cell in cells for note in cell.notes]
                return _Made(_joined([cell.values for cell in cells]), notes)
            case EachRow(header):
                return _Made(self._groups.each(header), [])
            case Lookup():
                return self._look_up(spec.source, spec)
            case Number():
                return _Made(pa.nulls(count, pa.string()), [])
            case _:
                assert_never(spec.source)

    def _first_of(self, options: tuple[ColumnSpec, ...]) -> _Made:
        made = _Made(pa.nulls(self._groups.count, pa.string()), [])
        for option in options:
            wanted = made.values.is_null().to_numpy(zero_copy_only=False)
            if not wanted.any():
                break
            other = self._make(option)
            for rule, mask in other.notes:
                made.note(rule, mask & wanted)
            made.values = pc.coalesce(made.values, other.values)
        return made

    def _look_up(self, source: Lookup, spec: ColumnSpec) -> _Made:
        """Read another raw file in the row of the same member, so that partitions do not show."""
        by = self._agreed(source.by, spec)
        made = _Made(pa.nulls(self._groups.count, pa.string()), by.notes)
        other = self._rows.get(source.table)
        if other is not None:
            matches = Matches.of(other, source)
            made.values, ambiguous = matches.answer(self._cell(source.member), by.values)
            made.note(rule_ids.AMBIGUOUS_LOOKUP, ambiguous)
        return made

    def _translate(self, made: _Made, spec: ColumnSpec) -> None:
        accepted = self._accepted(made.values, spec.accept)
        encoded = made.values.dictionary_encode()
        words = encoded.dictionary.to_pylist()
        answers = [_answer(spec.crosswalk, word, spec.answer) for word in words]
        translated = pa.array([answer for answer, _ in answers], pa.string()).take(encoded.indices)
        known = pa.array([known for _, known in answers], pa.bool_()).take(encoded.indices)
        there = made.values.is_valid().to_numpy(zero_copy_only=False)
        known_there = true_where(known)
        empty = translated.is_null().to_numpy(zero_copy_only=False)
        made.note(spec.rule, there & ~accepted & ~known_there)
        made.note(rule_ids.WORD_WITHOUT_CODE, there & ~accepted & known_there & empty)
        made.values = pc.if_else(pa.array(accepted), made.values, translated)

    def _accepted(self, values: Any, accept: Accept | None) -> Bools:
        if accept is None:
            return np.zeros(len(values), dtype=bool)
        mask = holds(accept.where, self._cell, len(values))
        if accept.pattern is not None:
            fits = pc.match_substring_regex(values, f"^(?:{accept.pattern})$")
            mask &= true_where(fits)
        return mask


def _joined(cells: list[Any]) -> Any:
    joined = cells[0]
    for cell in cells[1:]:
        both = pc.binary_join_element_wise(joined, cell, LIST_SEPARATOR)
        joined = pc.coalesce(both, joined, cell)
    return joined


def _answer(crosswalk: Crosswalk | None, word: str, column: str | None) -> tuple[str | None, bool]:
    """Return a crosswalk's answer, and whether it knows the word at all."""
    if crosswalk is None:
        return None, False
    return crosswalk.answer(word, column), word.strip().lower() in crosswalk.rows
