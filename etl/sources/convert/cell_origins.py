"""Raw cells behind canonical cells: the way back through a layout.

The opposite way is `etl.sources.convert.canonical_rows`. This one serves a few cells, for
`cpcds explain`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Indices
from etl.documents.yaml_text import Map, Seq, read_yaml
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN, SHORT_FORM_COUNT, SHORT_FORMS
from etl.sources.convert.canonical_rows import column_values
from etl.sources.convert.fills import with_fills
from etl.sources.convert.raw_rows import Groups, RawRows
from etl.sources.files.source_files import SourceFile, spill_names
from etl.sources.layout.column_specs import ColumnSpec, FirstColumn, Lookup, Number
from etl.sources.layout.model import Layout, RawTable, TableSpec

Record: TypeAlias = Mapping[str, str | None]
Place: TypeAlias = tuple[int, int]
"""Number of a file, and of a row in it; its header is row 1."""


@dataclass(frozen=True, slots=True)
class RawCell:
    """One cell of a file of the extract.

    Attributes:
        place: file and row.
        header: its header as the file spells it.
        text: as it stands there, blanks included. A member's data.
    """

    place: Place
    header: str
    text: str


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


@dataclass(frozen=True, slots=True)
class RawHeaders:
    """Headers that a canonical column is made of.

    Attributes:
        headers: as the layout spells them, in the order of the file.
        place: file and line of the layout that says so; "" in the canonical layout.
    """

    headers: tuple[str, ...]
    place: str


@dataclass(frozen=True)
class _Feed:
    """One way of making rows of a table: a `TableSpec`, with one entry of its `rows`."""

    spec: TableSpec
    columns: Mapping[str, ColumnSpec]
    path: tuple[str | int, ...]
    number: int
    entry: int

    @cached_property
    def own(self) -> TableSpec:
        return replace(self.spec, columns=MappingProxyType(dict(self.columns)), rows=())


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
                names = [*spill_names(file), FILE_COLUMN, ROW_COLUMN]
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
        self._made: dict[tuple[tuple[str | int, ...], str], list[str | None]] = {}

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
        feed, group = self._feed(table, record)
        if feed is None or column not in feed.columns:
            return RawOrigin((), "")
        spec = feed.columns[column]
        cells = dict.fromkeys(self._cells(feed, spec, group))
        return RawOrigin(tuple(cells), self._line(feed, column))

    def headers(self, table: str, source: str, column: str) -> RawHeaders:
        """Return the headers that the layout makes a column of, whatever rows there are.

        Args:
            table: canonical table.
            source: raw table that its row came from.
            column: canonical column.
        """
        headers: dict[str, None] = {}
        place = ""
        for feed in self._feeds:
            if feed.spec.table == table and feed.spec.source == source and column in feed.columns:
                raw = self._layout.raw[source]
                written = _as_written(feed.columns[column].headers(), raw)
                headers |= dict.fromkeys(sorted(written, key=raw.columns.index))
                place = place or self._line(feed, column)
        return RawHeaders(tuple(headers), place)

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
            ours = np.isin(members, _at(groups.rows, place))
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
                feeds.append(_Feed(spec, made, (spec.table, number, entry), number, entry))
        return tuple(feeds)

    @cached_property
    def _with_fills(self) -> Mapping[str, RawRows]:
        """The rows with the ids that claims of several fills are given."""
        raw = self._layout.raw
        return {
            name: with_fills(self._layout, raw[name], rows) for name, rows in self._rows.items()
        }

    @cached_property
    def _tables(self) -> Mapping[str, pa.Table]:
        return {name: rows.table for name, rows in self._with_fills.items()}

    def _group(self, feed: _Feed) -> Groups:
        spec = feed.spec
        if id(spec) not in self._groups:
            rows = self._with_fills[spec.source]
            self._groups[id(spec)] = Groups(rows, spec.where, spec.grain, spec.order)
        return self._groups[id(spec)]

    def _feed(self, table: str, record: Record) -> tuple[_Feed | None, int]:
        """Return the feed that made a row, and which of its groups the row is.

        A row of a file can be several rows of a table. The feed is taken that made the cells of the
        row.
        """
        rows: list[tuple[int, _Feed, int]] = []
        place = (int(record[FILE_COLUMN] or 0), int(record[ROW_COLUMN] or 0))
        for feed in self._feeds:
            if feed.spec.table != table or feed.spec.source not in self._rows:
                continue
            groups = self._group(feed)
            ours = np.flatnonzero(np.isin(groups.first, _at(groups.rows, place))).tolist()
            rows += [(self._alike(feed, group, record), feed, group) for group in ours]
        if not rows:
            return None, 0
        _, feed, group = max(rows, key=lambda each: each[0])
        return feed, group

    def _alike(self, feed: _Feed, group: int, record: Record) -> int:
        """Return how many cells of a group are as they are in a row, less those that are not."""
        alike = 0
        for name, spec in feed.columns.items():
            if not isinstance(spec.source, Number):
                same = self._values(feed, name)[group] == record.get(name)
                alike += 1 if same else -1
        return alike

    def _values(self, feed: _Feed, column: str) -> list[str | None]:
        key = (feed.path, column)
        if key not in self._made:
            [values] = column_values(self._layout, [feed.own], self._tables, column)
            self._made[key] = values.to_pylist()
        return self._made[key]

    def _cells(self, feed: _Feed, spec: ColumnSpec, group: int) -> Iterator[RawCell]:
        """Yield the filled cells of a group's rows that a column reads, its source's first."""
        for part in self._parts(feed, spec, group):
            yield from self._cells(feed, part, group)
        groups = self._group(feed)
        numbers, members = groups.numbered()
        ours = members[numbers == group].tolist()
        is_made_of_others = isinstance(spec.source, FirstColumn)
        headers = _conditions(spec) if is_made_of_others else spec.headers()
        raw = self._layout.raw[feed.spec.source]
        for header in sorted(_as_written(headers, raw), key=raw.columns.index):
            places = [_place(groups.rows, at) for at in ours]
            yield from _distinct(self._cell(feed.spec.source, place, header) for place in places)
        if isinstance(spec.source, Lookup):
            yield from self._looked_up(feed, spec.source, group, ours)

    def _parts(self, feed: _Feed, spec: ColumnSpec, group: int) -> Iterable[ColumnSpec]:
        """Return the columns that a column is made of; of alternatives, the one that was taken."""
        if not isinstance(spec.source, FirstColumn):
            return ()
        options = spec.source.options
        return itertools.islice(
            (one for one in options if self._value(feed, one, group) is not None), 1
        )

    def _value(self, feed: _Feed, spec: ColumnSpec, group: int) -> str | None:
        """Return the value of an unnamed column."""
        trial = replace(feed, columns={"": spec}, path=(*feed.path, repr(spec)))
        return self._values(trial, "")[group]

    def _looked_up(
        self, feed: _Feed, source: Lookup, group: int, ours: list[int]
    ) -> Iterator[RawCell]:
        """Yield the keys and the value of the other file's rows that fit and say what was taken."""
        other = self._rows.get(source.table)
        value = self._value(feed, ColumnSpec(source), group)
        if other is None or value is None:
            return
        rows = self._group(feed).rows
        pairs = [*zip(source.key, source.by, strict=True)]
        if source.own_scope:
            pairs.append((source.other_scope, source.own_scope))
        raw = self._layout.raw[source.table]
        read = _as_written(frozenset((*source.key, source.value)), raw)
        for at in ours:
            fits = np.asarray(pc.fill_null(pc.equal(other.column(source.value), value), False))
            for theirs, mine in pairs:
                same = pc.equal(other.column(theirs), rows.column(mine)[at])
                fits = fits & np.asarray(pc.fill_null(same, False))
            for header in sorted(read, key=raw.columns.index):
                found = np.flatnonzero(fits).tolist()
                places = [_place(other, each) for each in found]
                yield from _distinct(self._cell(source.table, place, header) for place in places)

    def _cell(self, name: str, place: Place, header: str) -> RawCell | None:
        """Return the cell of a raw file's row under a header of the layout; None where empty."""
        rows = self._rows[name]
        if header not in rows.table.column_names:
            return None
        text = rows.table.column(header)[int(_at(rows, place)[0])].as_py()
        if text is None or not text.strip():
            return None
        file = self._files[place[0]]
        return RawCell(place, file.columns[spill_names(file).index(header)], text)

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
        found = _at(rows, (int(record[FILE_COLUMN] or 0), int(record[ROW_COLUMN] or 0)))
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


def _conditions(spec: ColumnSpec) -> frozenset[str]:
    conditions = (*spec.among, *spec.when, *(spec.accept.where if spec.accept else ()))
    return frozenset(header for condition in conditions for header in condition.columns)


def _distinct(cells: Iterator[RawCell | None]) -> Iterator[RawCell]:
    """Yield cells with distinct texts: rows that were merged mostly have the same ones."""
    seen = set()
    for cell in cells:
        if cell is not None and cell.text.strip() not in seen:
            seen.add(cell.text.strip())
            yield cell


def _at(rows: RawRows, place: Place) -> Indices:
    """Return which rows stand at a place."""
    files, numbers = (column.to_numpy() for column in rows.places)
    return np.flatnonzero((files == place[0]) & (numbers == place[1]))


def _as_written(headers: frozenset[str], raw: RawTable) -> frozenset[str]:
    """Return the headers that the file has, those behind made ones in their place."""
    texts: set[str] = set()
    for header in headers:
        made = raw.cells.made.get(header)
        texts |= {header} if made is None else _as_written(made.headers(), raw)
    return frozenset(texts & set(raw.columns))


def _place(rows: RawRows, at: int) -> Place:
    files, numbers = rows.places
    return int(files[at].as_py()), int(numbers[at].as_py())
