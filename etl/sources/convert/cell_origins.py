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
Place: TypeAlias = tuple[int, int]
"""Number of a file, and of a row in it; its header is row 1."""


@dataclass(frozen=True, slots=True)
class RawCell:
    """One cell of a file of the extract.

    Attributes:
        place: file and row.
        header: its header as the file spells it.
        text: as it stands there, blanks included. A member's data. None if no file is at hand.
    """

    place: Place
    header: str
    text: str | None


@dataclass(frozen=True, slots=True)
class RawOrigin:
    """Origin of one canonical cell.

    Attributes:
        cells: the raw cells that the layout makes it of, or that decide on it; none for a constant
            and for a number that counts rows.
        place: file and line of the layout that says so; "" in the canonical layout, where a cell is
            taken as it is.
    """

    cells: tuple[RawCell, ...]
    place: str


@dataclass(frozen=True)
class _Feed:
    """One way of making rows of a table: a `TableSpec`, with one entry of its `rows`."""

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
        """Its cells, but for numbers that count rows."""
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
        """Return the headers whose cells are read where a column is made."""
        self.rows.read.clear()
        convert_column(spec, self.cells)
        return self.rows.read.keys()


class PartitionOrigins:
    """Origins of the canonical cells of one partition.

    Args:
        layout: what the rows mean.
        files: the extract's files.
        written: file name -> its rows in the partition as they were written, with `_file` and
            `_row` (`Partitions.raw_rows`).
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
        self._made: dict[tuple[str, Place], list[_CanonicalRow]] = {}

    def of(self, table: str, record: Record, column: str) -> RawOrigin:
        """Return the origin of one cell.

        Args:
            table: its canonical table.
            record: its row: canonical column -> text, and the row's place.
            column: its column; a derived one has no origin of its own.
        """
        short = self._short_form(table, record, column)
        if short is not None:
            return short
        row = self._find_canonical_row(table, record)
        if row is None or column not in row.feed.columns:
            return RawOrigin((), "")
        cells = dict.fromkeys(self._cells(row, row.feed.columns[column]))
        return RawOrigin(tuple(cells), self._line(row.feed, column))

    def headers(self, table: str, source: str, column: str, place: Place) -> RawOrigin:
        """Return the cells that the layout makes a column of, without their texts.

        Args:
            table: canonical table.
            source: raw table that its row came from.
            column: canonical column.
            place: of the row.
        """
        headers: dict[str, None] = {}
        line = ""
        for feed in self._feeds:
            if feed.spec.table == table and feed.spec.source == source and column in feed.columns:
                raw = self._layout.raw[source]
                written = _as_written(feed.columns[column].headers(), raw)
                headers |= dict.fromkeys(sorted(written, key=raw.columns.index))
                line = line or self._line(feed, column)
        return RawOrigin(tuple(RawCell(place, header, None) for header in headers), line)

    def rows_of(self, place: Place) -> Iterator[tuple[str, Place]]:
        """Yield table and place of each canonical row that a row of a file went into.

        The place of a canonical row is that of the first row that it was made of.
        """
        seen = set()
        for feed in self._feeds:
            if feed.spec.source not in self._rows:
                continue
            groups = self._group(feed)
            numbers, members = groups.numbered()
            ours = np.isin(members, _rows_at(groups.rows, place))
            for group in np.unique(numbers[ours]).tolist():
                row = (feed.spec.table, _place(groups.rows, int(groups.first[group])))
                if row not in seen:
                    seen.add(row)
                    yield row

    @cached_property
    def _feeds(self) -> tuple[_Feed, ...]:
        feeds = []
        count: dict[str, int] = {}
        for spec in self._layout.tables:
            number = count.setdefault(spec.table, 0)
            count[spec.table] += 1
            for entry, columns in enumerate(spec.rows or ({},)):
                made = {**spec.columns, **columns}
                feeds.append(_Feed(spec, made, number, entry))
        return tuple(feeds)

    @cached_property
    def _with_fills(self) -> Mapping[str, RawRows]:
        """The rows with the ids that claims of several fills are given."""
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

        A row of a file can be several rows of a table. The one is taken that has the most cells of
        the record, less those that it has not.
        """
        place = (int(record[FILE_COLUMN] or 0), int(record[ROW_COLUMN] or 0))
        if (table, place) not in self._made:
            self._made[table, place] = list(self._canonical_rows_at(table, place))
        rows = self._made[table, place]
        if len(rows) < 2:
            return rows[0] if rows else None

        def likeness(row: _CanonicalRow) -> int:
            same = [text == record.get(name) for name, text in row.values.items()]
            return 2 * sum(same) - len(same)

        return max(rows, key=likeness)

    def _canonical_rows_at(self, table: str, place: Place) -> Iterator[_CanonicalRow]:
        """Yield the rows of a table whose first raw row stands at a place."""
        for feed in self._feeds:
            source = feed.spec.source
            if feed.spec.table != table or source not in self._rows:
                continue
            groups = self._group(feed)
            numbers, members = groups.numbered()
            for group in np.flatnonzero(np.isin(groups.first, _rows_at(groups.rows, place))):
                own = np.sort(members[numbers == group])
                rows = RawRows(groups.rows.table.take(pa.array(own)), cells=groups.rows.cells)
                cells = TableConverter(feed.spec, {**self._with_fills, source: rows})
                yield _CanonicalRow(feed, rows, cells)

    def _cells(self, row: _CanonicalRow, spec: ColumnSpec) -> Iterator[RawCell]:
        """Yield the filled cells that a column of a row reads: its own, then those looked up."""
        source, read = row.feed.spec.source, row.headers_read(spec)
        headers = [header for header in self._layout.raw[source].columns if header in read]
        places = [_place(row.rows, at) for at in range(row.rows.count)]
        for header in headers:
            yield from _unique_texts(self._cell(source, place, header) for place in places)
        for lookup in _used_lookups(row, spec):
            yield from self._looked_up(row, lookup)

    def _looked_up(self, row: _CanonicalRow, source: Lookup) -> Iterator[RawCell]:
        """Yield the keys and the value of the other file's rows that fit and say what was taken."""
        other, value = self._rows.get(source.table), row.text(ColumnSpec(source))
        if other is None or value is None:
            return
        pairs = [*zip(source.key, source.by, strict=True)]
        if source.own_scope:
            pairs.append((source.other_scope, source.own_scope))
        fits = np.asarray(pc.fill_null(pc.equal(other.column(source.value), value), False))
        for theirs, mine in pairs:
            same = pc.is_in(other.column(theirs), value_set=row.rows.column(mine).drop_null())
            fits = fits & np.asarray(same)
        raw = self._layout.raw[source.table]
        places = [_place(other, at) for at in np.flatnonzero(fits).tolist()]
        read = _as_written(frozenset((*source.key, source.value)), raw)
        for header in sorted(read, key=raw.columns.index):
            yield from _unique_texts(self._cell(source.table, place, header) for place in places)

    def _cell(self, name: str, place: Place, header: str) -> RawCell | None:
        """Return the cell of a raw file's row under a header of the layout; None where empty."""
        rows = self._rows[name]
        if header not in rows.table.column_names:
            return None
        text = rows.table.column(header)[int(_rows_at(rows, place)[0])].as_py()
        if text is None or not text.strip():
            return None
        file = self._files[place[0]]
        return RawCell(place, file.columns[unique_headers(file).index(header)], text)

    def _line(self, feed: _Feed, column: str) -> str:
        """Return file and line of a column in its layout; the file alone where it extends one."""
        if not self._layout.file:
            return ""
        table, number, entry = feed.spec.table, feed.number, feed.entry
        tables = self._document.get("tables") if isinstance(self._document, Map) else None
        value = tables.get(table) if isinstance(tables, Map) else None
        if isinstance(value, Seq):
            value = value[number] if number < len(value) else None
        places = []
        if isinstance(value, Map):
            places.append(value.get("columns"))
            entries = value.get("rows")
            if isinstance(entries, Seq) and entry < len(entries):
                places.insert(0, entries[entry])
        for place in places:
            if isinstance(place, Map) and column in place.marks:
                return str(place.marks[column])
        return self._layout.file

    def _short_form(self, table: str, record: Record, column: str) -> RawOrigin | None:
        """Return the origin of a cell of a row that numbered columns of `claim` stand for."""
        rows = self._rows.get("claim")
        if not self._layout.canonical or table not in SHORT_FORMS or rows is None:
            return None
        found = _rows_at(rows, (int(record[FILE_COLUMN] or 0), int(record[ROW_COLUMN] or 0)))
        if not len(found):
            return None
        at = int(found[0])
        stem, words = table.removeprefix("claim_"), SHORT_FORMS[table]
        for number in range(1, SHORT_FORM_COUNT + 1):
            headers = {f"{stem}_{word}_{number}": made for word, made in words.items()}
            texts = {made: rows.column(header)[at].as_py() for header, made in headers.items()}
            if any(texts.values()) and all(record.get(made) == texts[made] for made in texts):
                wanted = [header for header, made in headers.items() if made == column]
                own = [column] if column in self._layout.raw["claim"].columns else []
                read = wanted or (own if column not in ("sequence",) else [])
                cells = [self._cell("claim", _place(rows, at), header) for header in read]
                return RawOrigin(tuple(cell for cell in cells if cell is not None), "")
        return None


def _used_lookups(row: _CanonicalRow, spec: ColumnSpec) -> Iterator[Lookup]:
    """Yield the lookups of a column; of alternatives, those up to the one that decided."""
    if isinstance(spec.source, Lookup):
        yield spec.source
    elif isinstance(spec.source, CoalescedColumns):
        for option in spec.source.options:
            yield from _used_lookups(row, option)
            made = convert_column(option, row.cells)
            if made.unknown()[0] or made.values[0].is_valid:
                return


def _unique_texts(cells: Iterator[RawCell | None]) -> Iterator[RawCell]:
    """Yield cells with different texts: merged rows mostly have the same ones."""
    seen = set()
    for cell in cells:
        if cell is not None and cell.text is not None and cell.text.strip() not in seen:
            seen.add(cell.text.strip())
            yield cell


def _rows_at(rows: RawRows, place: Place) -> Indices:
    """Return which rows are at a row position."""
    files, numbers = (column.to_numpy() for column in rows.places)
    return np.flatnonzero((files == place[0]) & (numbers == place[1]))


def _as_written(headers: frozenset[str], raw: RawTable) -> frozenset[str]:
    """Return the headers that the file has, those behind made ones in their place."""
    texts: set[str] = set()
    for header in headers:
        made = raw.cells.derived.get(header)
        texts |= {header} if made is None else _as_written(made.headers(), raw)
    return frozenset(texts & set(raw.columns))


def _place(rows: RawRows, at: int) -> Place:
    files, numbers = rows.places
    return int(files[at].as_py()), int(numbers[at].as_py())
