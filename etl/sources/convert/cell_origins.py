"""Raw cells behind canonical cells, for `cpcds explain`.

A row is converted again, from its own raw rows alone; what the conversion reads of them is what its
cells are made of (`RawRows.read`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Indices
from etl.documents.yaml_text import Map, Seq, read_yaml
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN, SHORT_FORM_COUNT, SHORT_FORMS
from etl.sources.convert.canonical_rows import TableConverter
from etl.sources.convert.columns import convert_column
from etl.sources.convert.raw_rows import Groups, RawRows, with_fills
from etl.sources.files.listed_files import SourceFile, unique_headers
from etl.sources.layout.model import (
    CoalescedColumns,
    ColumnSpec,
    Layout,
    Lookup,
    RawTable,
    RowNumber,
    TableSpec,
)

Record: TypeAlias = Mapping[str, str | None]
RowPosition: TypeAlias = tuple[int, int]
"""Number of a file, and of a row in it; its header is row 1."""


@dataclass(frozen=True, slots=True)
class RawCell:
    """One cell of a file of the extract.

    Attributes:
        position: file and row.
        header: its header as the file spells it.
        text: the cell with its blanks, which is a member's data; None if no file is at hand.
    """

    position: RowPosition
    header: str
    text: str | None


@dataclass(frozen=True, slots=True)
class RawOrigin:
    """Origin of one canonical cell.

    Attributes:
        cells: the raw cells that it is made of or depends on; none for a constant or a row number.
        layout_line: file and line of the layout that says so; "" in the canonical layout, where a
            cell is taken as it is.
    """

    cells: tuple[RawCell, ...]
    layout_line: str


@dataclass(frozen=True)
class _Feed:
    """One rule for rows of a table: a `TableSpec` and one of its `rows`."""

    spec: TableSpec
    columns: Mapping[str, ColumnSpec]
    number: int
    entry: int


@dataclass(frozen=True)
class _CanonicalRow:
    """A canonical row, converted again from its own raw rows alone.

    Attributes:
        feed: what made it.
        rows: the raw rows.
        cells: their conversion, of which this is the only row.
    """

    feed: _Feed
    rows: RawRows
    cells: TableConverter

    @cached_property
    def values(self) -> Mapping[str, str | None]:
        """Its cells, except row numbers."""
        columns = self.feed.columns.items()
        return {
            name: self.text(spec)
            for name, spec in columns
            if not isinstance(spec.source, RowNumber)
        }

    def text(self, spec: ColumnSpec) -> str | None:
        """Return the cell that a column makes."""
        text: str | None = convert_column(spec, self.cells).values[0].as_py()
        return text

    def headers_read(self, spec: ColumnSpec) -> Set[str]:
        """Return the headers that a column reads."""
        self.rows.read.clear()
        convert_column(spec, self.cells)
        return self.rows.read.keys()


class PartitionOrigins:
    """Origins of the canonical cells of one partition.

    Args:
        layout: the layout of the files.
        files: the extract's files.
        written: file name -> its rows in the partition as written, with `_file` and `_row`
            (`Partitions.raw_rows`).
    """

    def __init__(
        self, layout: Layout, files: Sequence[SourceFile], written: Mapping[str, pa.Table]
    ) -> None:
        self._layout, self._files = layout, files
        self._document: Any = read_yaml(layout.text, layout.file) if layout.text else None
        parts: dict[str, list[pa.Table]] = {}
        for file in files:
            if file.name in written:
                names = [*unique_headers(file), FILE_COLUMN, ROW_COLUMN]
                parts.setdefault(file.table, []).append(written[file.name].rename_columns(names))
        self._rows = {
            name: RawRows(
                pa.concat_tables(tables, promote_options="default").sort_by(
                    [(FILE_COLUMN, "ascending"), (ROW_COLUMN, "ascending")]
                ),
                cells=layout.raw[name].cells,
            )
            for name, tables in parts.items()
        }
        self._groups: dict[int, Groups] = {}
        self._cached: dict[tuple[str, RowPosition], list[_CanonicalRow]] = {}

    def cell_origin(self, table: str, record: Record, column: str) -> RawOrigin:
        """Return the origin of one cell.

        Args:
            table: its canonical table.
            record: its row: canonical column -> text, with the row's position.
            column: its column; a derived one has no origin.
        """
        short = self._short_form(table, record, column)
        if short is not None:
            return short
        row = self._find_canonical_row(table, record)
        if row is None or column not in row.feed.columns:
            return RawOrigin((), "")
        cells = dict.fromkeys(self._cells(row, row.feed.columns[column]))
        return RawOrigin(tuple(cells), self._line(row.feed, column))

    def headers(self, table: str, source: str, column: str, row_position: RowPosition) -> RawOrigin:
        """Return the cells that a column is made of, without their texts.

        Args:
            source: raw table that its row came from.
            row_position: position of the raw row.
        """
        headers: dict[str, None] = {}
        line = ""
        for feed in self._feeds:
            if feed.spec.table == table and feed.spec.source == source and column in feed.columns:
                raw = self._layout.raw[source]
                written = _as_written(feed.columns[column].headers(), raw)
                headers |= dict.fromkeys(sorted(written, key=raw.columns.index))
                line = line or self._line(feed, column)
        return RawOrigin(tuple(RawCell(row_position, header, None) for header in headers), line)

    def rows_of(self, row_position: RowPosition) -> Iterator[tuple[str, RowPosition]]:
        """Yield table and position of each canonical row made from a raw row.

        A canonical row has the position of the first raw row that it was made of.
        """
        yielded_rows = set()
        for feed in self._feeds:
            if feed.spec.source not in self._rows:
                continue
            groups = self._group(feed)
            numbers, members = groups.numbered()
            ours = np.isin(members, _rows_at(groups.rows, row_position))
            for group in np.unique(numbers[ours]).tolist():
                row = (feed.spec.table, _row_position(groups.rows, int(groups.first[group])))
                if row not in yielded_rows:
                    yielded_rows.add(row)
                    yield row

    @cached_property
    def _feeds(self) -> tuple[_Feed, ...]:
        feeds = []
        count: dict[str, int] = {}
        for spec in self._layout.tables:
            number = count.setdefault(spec.table, 0)
            count[spec.table] += 1
            for entry, columns in enumerate(spec.rows or ({},)):
                row_columns = {**spec.columns, **columns}
                feeds.append(_Feed(spec, row_columns, number, entry))
        return tuple(feeds)

    @cached_property
    def _with_fills(self) -> Mapping[str, RawRows]:
        """The rows, with the new IDs of claims that were split by fill."""
        raw = self._layout.raw
        return {
            name: with_fills(self._layout, raw[name], rows) for name, rows in self._rows.items()
        }

    def _group(self, feed: _Feed) -> Groups:
        spec = feed.spec
        if id(spec) not in self._groups:
            rows = self._with_fills[spec.source]
            self._groups[id(spec)] = Groups(rows, spec.where, spec.grain, spec.order)
        return self._groups[id(spec)]

    def _find_canonical_row(self, table: str, record: Record) -> _CanonicalRow | None:
        """Return the canonical row behind a record, converted again.

        A raw row can become several rows of a table: this is the one most like the record.
        """
        row_position = (int(record[FILE_COLUMN] or 0), int(record[ROW_COLUMN] or 0))
        if (table, row_position) not in self._cached:
            self._cached[table, row_position] = list(self._canonical_rows_at(table, row_position))
        rows = self._cached[table, row_position]
        if len(rows) < 2:
            return rows[0] if rows else None

        def likeness(row: _CanonicalRow) -> int:
            equal_cells = [text == record.get(name) for name, text in row.values.items()]
            return 2 * sum(equal_cells) - len(equal_cells)

        return max(rows, key=likeness)

    def _canonical_rows_at(self, table: str, row_position: RowPosition) -> Iterator[_CanonicalRow]:
        """Yield the rows of a table whose first raw row has a position."""
        for feed in self._feeds:
            source = feed.spec.source
            if feed.spec.table != table or source not in self._rows:
                continue
            groups = self._group(feed)
            numbers, members = groups.numbered()
            for group in np.flatnonzero(np.isin(groups.first, _rows_at(groups.rows, row_position))):
                indices = np.sort(members[numbers == group])
                rows = RawRows(groups.rows.table.take(pa.array(indices)), cells=groups.rows.cells)
                cells = TableConverter(feed.spec, {**self._with_fills, source: rows})
                yield _CanonicalRow(feed, rows, cells)

    def _cells(self, row: _CanonicalRow, spec: ColumnSpec) -> Iterator[RawCell]:
        """Yield the filled cells behind a column: the row's, then those looked up."""
        source, read = row.feed.spec.source, row.headers_read(spec)
        headers = [header for header in self._layout.raw[source].columns if header in read]
        row_positions = [_row_position(row.rows, at) for at in range(row.rows.count)]
        for header in headers:
            yield from _unique_texts(self._cell(source, place, header) for place in row_positions)
        for lookup in _used_lookups(row, spec):
            yield from self._looked_up(row, lookup)

    def _looked_up(self, row: _CanonicalRow, source: Lookup) -> Iterator[RawCell]:
        """Yield keys and value of the other file's rows that have the value found."""
        target, value = self._rows.get(source.table), row.text(ColumnSpec(source))
        if target is None or value is None:
            return
        pairs = [*zip(source.key, source.by, strict=True)]
        if source.own_scope:
            pairs.append((source.other_scope, source.own_scope))
        fits = np.asarray(pc.fill_null(pc.equal(target.column(source.value), value), False))
        for theirs, mine in pairs:
            matches = pc.is_in(target.column(theirs), value_set=row.rows.column(mine).drop_null())
            fits = fits & np.asarray(matches)
        raw = self._layout.raw[source.table]
        positions = [_row_position(target, at) for at in np.flatnonzero(fits).tolist()]
        read = _as_written(frozenset((*source.key, source.value)), raw)
        for header in sorted(read, key=raw.columns.index):
            yield from _unique_texts(self._cell(source.table, at, header) for at in positions)

    def _cell(self, name: str, row_position: RowPosition, header: str) -> RawCell | None:
        """Return a cell of a raw row by the layout's header; None if empty."""
        rows = self._rows[name]
        if header not in rows.table.column_names:
            return None
        text = rows.table.column(header)[int(_rows_at(rows, row_position)[0])].as_py()
        if text is None or not text.strip():
            return None
        file = self._files[row_position[0]]
        return RawCell(row_position, file.columns[unique_headers(file).index(header)], text)

    def _line(self, feed: _Feed, column: str) -> str:
        """Return a column's file and line in the layout; only the file if inherited."""
        if not self._layout.file:
            return ""
        table, number, entry = feed.spec.table, feed.number, feed.entry
        tables = self._document.get("tables") if isinstance(self._document, Map) else None
        value = tables.get(table) if isinstance(tables, Map) else None
        if isinstance(value, Seq):
            value = value[number] if number < len(value) else None
        column_maps = []
        if isinstance(value, Map):
            column_maps.append(value.get("columns"))
            entries = value.get("rows")
            if isinstance(entries, Seq) and entry < len(entries):
                column_maps.insert(0, entries[entry])
        for column_map in column_maps:
            if isinstance(column_map, Map) and column in column_map.marks:
                return str(column_map.marks[column])
        return self._layout.file

    def _short_form(self, table: str, record: Record, column: str) -> RawOrigin | None:
        """Return the origin of a cell from numbered columns of `claim`."""
        rows = self._rows.get("claim")
        if not self._layout.canonical or table not in SHORT_FORMS or rows is None:
            return None
        row_indices = _rows_at(rows, (int(record[FILE_COLUMN] or 0), int(record[ROW_COLUMN] or 0)))
        if not len(row_indices):
            return None
        at = int(row_indices[0])
        stem, words = table.removeprefix("claim_"), SHORT_FORMS[table]
        for number in range(1, SHORT_FORM_COUNT + 1):
            headers = {f"{stem}_{word}_{number}": made for word, made in words.items()}
            texts = {made: rows.column(header)[at].as_py() for header, made in headers.items()}
            if any(texts.values()) and all(record.get(made) == texts[made] for made in texts):
                wanted = [header for header, made in headers.items() if made == column]
                own_header = [column] if column in self._layout.raw["claim"].columns else []
                read = wanted or (own_header if column not in ("sequence",) else [])
                cells = [self._cell("claim", _row_position(rows, at), header) for header in read]
                return RawOrigin(tuple(cell for cell in cells if cell is not None), "")
        return None


def _used_lookups(row: _CanonicalRow, spec: ColumnSpec) -> Iterator[Lookup]:
    """Yield a column's lookups, up to the alternative that gave the value."""
    if isinstance(spec.source, Lookup):
        yield spec.source
    elif isinstance(spec.source, CoalescedColumns):
        for option in spec.source.options:
            yield from _used_lookups(row, option)
            converted = convert_column(option, row.cells)
            if converted.unknown()[0] or converted.values[0].is_valid:
                return


def _unique_texts(cells: Iterator[RawCell | None]) -> Iterator[RawCell]:
    """Yield one cell per distinct text: merged rows mostly repeat theirs."""
    seen_texts = set()
    for cell in cells:
        if cell is not None and cell.text is not None and cell.text.strip() not in seen_texts:
            seen_texts.add(cell.text.strip())
            yield cell


def _rows_at(rows: RawRows, row_position: RowPosition) -> Indices:
    """Return the indices of the rows at a position."""
    files, numbers = (column.to_numpy() for column in rows.row_positions)
    return np.flatnonzero((files == row_position[0]) & (numbers == row_position[1]))


def _as_written(headers: frozenset[str], raw: RawTable) -> frozenset[str]:
    """Return headers with derived ones replaced by the file's own."""
    texts: set[str] = set()
    for header in headers:
        derived_spec = raw.cells.derived.get(header)
        texts |= {header} if derived_spec is None else _as_written(derived_spec.headers(), raw)
    return frozenset(texts & set(raw.columns))


def _row_position(rows: RawRows, at: int) -> RowPosition:
    files, numbers = rows.row_positions
    return int(files[at].as_py()), int(numbers[at].as_py())
