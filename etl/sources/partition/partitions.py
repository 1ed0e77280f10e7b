"""Partitions of an extract, loaded one at a time.

Partitions hold the source's rows unchanged. They become canonical rows when a partition is
loaded: many processes can do so at once, and the originals remain for the quarantine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.digests import NO_HASHES, Hashes, among
from etl.columns.places import NO_PLACES, RowSources, place_keys, table_places
from etl.errors import StoreError, UsageError
from etl.model.canonical_tables import FILE_COLUMN, MEMBERLESS, ROW_COLUMN
from etl.rows import PLACE_FIELDS
from etl.sources.convert.canonical_rows import column_values, convert_tables, drop_repeated_rows
from etl.sources.convert.raw_rows import readable_rows
from etl.sources.files.listed_files import SOURCE_POSITION_HEADERS, SourceFile, unique_headers
from etl.sources.layout.model import Layout
from etl.sources.partition.ids import GlobalKeys
from etl.sources.partition.partition_rows import (
    HIGH_COLUMN,
    LOW_COLUMN,
    MALFORMED_TABLE,
    OWNER_COLUMN,
)

MARKS: Final = (FILE_COLUMN, ROW_COLUMN, OWNER_COLUMN, LOW_COLUMN, HIGH_COLUMN)
_PLACE: Final = tuple(field.name for field in PLACE_FIELDS)
_ACTION: Final = "record_action"
_ROW_NUMBER: Final = "^[1-9][0-9]{0,11}$"
"""A number that `place_keys` can hold."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The canonical rows of one partition, or of the directory.

    Attributes:
        tables: every canonical table by name, empty ones included; schema
            `etl.rows.table_schema`, ordered by key (numbers as numbers), then by place.
        findings: of converting them; `etl.rows.FINDINGS_SCHEMA`.
        files: names of the extract's files; `_file` is an index into them.
        rows: raw table -> how many of its rows these were made of.
        unread: canonical table -> rows that could not be read, or not be made: only their ids are
            known, and each has a finding. Tables without such rows are left out.
    """

    tables: dict[str, pa.Table]
    findings: pa.Table
    files: tuple[str, ...]
    rows: Mapping[str, int]
    unread: Mapping[str, pa.Table]


class RawTables(Protocol):
    """The rows of raw tables by partition, wherever they are kept."""

    def read(
        self, name: str, partition: int | None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Return the rows of a raw table in one partition, in any order.

        The table has `_file` and `_row`, and every column with a filled cell; an empty cell is null
        or "".

        Args:
            partition: the partition; None for all.
            columns: columns to read, as far as they exist; None for all.
        """


@dataclass(frozen=True, slots=True)
class PartitionFacts:
    """Facts of a partitioned extract.

    Attributes:
        count: how many partitions there are, numbered from 0.
        layout: what the rows mean.
        files: the extract's files.
        rows_read: file name -> rows read from it, with malformed ones but without blank ones.
        findings: findings of no partition: unknown files and columns.
        unowned: file name -> numbers of its orphan rows (malformed, without a known owner); files
            without orphan rows are left out.
        has_digests: whether rows have digests.
        queried: the payer's files behind these, where queries or a merge of extracts made them.
        is_delta: whether the extract is a delta, the only kind of extract whose rows can delete.
    """

    count: int
    layout: Layout
    files: tuple[SourceFile, ...]
    rows_read: Mapping[str, int]
    findings: pa.Table
    unowned: Mapping[str, tuple[int, ...]]
    has_digests: bool = False
    queried: tuple[SourceFile, ...] = ()
    is_delta: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """What people call the files that rows are named by: `Extract.names`."""
        return tuple(file.title for file in (*self.files, *self.queried))

    @property
    def row_counts(self) -> Mapping[str, int]:
        """Raw table -> rows read, of the tables that the layout uses."""
        counts: Counter[str] = Counter()
        used = {*self.layout.raw_files(directory=False), *self.layout.raw_files(directory=True)}
        for file in self.files:
            if file.table in used:
                counts[file.table] += self.rows_read[file.name]
        return counts

    def check_all_there(self, loaded: Mapping[str, int], work: Path) -> None:
        """Check that partitions and directory together have every row that was read.

        Args:
            loaded: raw table -> rows in all of them.
            work: their folder, for the message.

        Raises:
            StoreError: rows are missing, or there are too many.
        """
        for name, rows in self.row_counts.items():
            if loaded.get(name, 0) != rows:
                raise StoreError(
                    f"of {name} {rows} rows were read, and {loaded.get(name, 0)} were there to "
                    f"work on: the work folder was changed; delete {work} and run again"
                )


@dataclass(frozen=True)
class Partitions:
    """A partitioned extract: facts of it, its rows, and ids of all partitions.

    Attributes:
        facts: facts of it besides the rows.
        raw: the rows, unchanged.
        keys: ids of all partitions.
    """

    facts: PartitionFacts
    raw: RawTables
    keys: GlobalKeys

    def load(self, index: int) -> Loaded:
        """Return the canonical rows of one partition.

        Raises:
            UsageError: there is no such partition.
        """
        if not 0 <= index < self.facts.count:
            raise UsageError(f"there is no partition {index}; there are {self.facts.count}")
        return self._load(index, directory=False)

    def load_members(self, indexes: Sequence[int], owners: Hashes) -> Loaded:
        """Return the canonical rows of some members of some partitions, as if there were no others.

        Args:
            owners: hashes of the members, as `marks` gives them, ascending.

        Raises:
            UsageError: the extract was read without digests.
        """
        if not self.facts.has_digests:
            raise UsageError("the extract was read without digests")
        return self._load(*indexes, directory=False, owners=owners)

    def marks(self, indexes: Sequence[int]) -> dict[str, pa.Table]:
        """Return the owner and the digest of each row of some partitions, by raw table.

        Columns are `MARKS`, in the order of files and rows. Raw tables that belong to no member
        are left out; of an extract read without digests, all are.
        """
        table_marks = {}
        for name in self.facts.layout.raw_files(directory=False):
            parts = [self.raw.read(name, index, MARKS) for index in indexes]
            marks = [part.select(MARKS) for part in parts if LOW_COLUMN in part.column_names]
            if marks:
                table_marks[name] = pa.concat_tables(marks).combine_chunks()
        return table_marks

    def owners(self, index: int) -> tuple[Any, Any, Hashes]:
        """Return file, row and owner of each row of a partition; rows without owner are left out.

        All three are numpy arrays of shape (n,), in the order of raw tables.
        """
        columns = (FILE_COLUMN, ROW_COLUMN, OWNER_COLUMN)
        parts = [
            self.raw.read(name, index, columns)
            for name in self.facts.layout.raw_files(directory=False)
        ]
        owned = [part.select(columns) for part in parts if OWNER_COLUMN in part.column_names]
        if not owned:
            return NO_HASHES, NO_HASHES, NO_HASHES
        file, row, owner = pa.concat_tables(owned).columns
        return file.to_numpy(), row.to_numpy(), owner.to_numpy()

    def member_rows(self, unit: Sequence[int]) -> pa.Table:
        """Return the canonical rows of the table `member` in some partitions."""
        layout = self.facts.layout
        tables = tuple(spec for spec in layout.tables if spec.table == "member")
        layout = replace(layout, tables=tables)
        return self._load(*unit, directory=False, layout=layout).tables["member"]

    def directory(self) -> Loaded:
        """Return the tables that belong to no member: of claims, organization and practitioner."""
        return self._load(self.facts.count, directory=True)

    def _load(
        self,
        *indexes: int,
        directory: bool,
        owners: Hashes | None = None,
        layout: Layout | None = None,
    ) -> Loaded:
        layout = layout or self.facts.layout
        raw, row_counts = {}, {}
        for name in layout.raw_files(directory=directory):
            if directory and layout.raw[name].id_headers:
                raw[name], count = self._provider_rows(name)
                if name not in layout.raw_files(directory=False):
                    row_counts[name] = count
                continue
            parts = [_filter_owners(self.raw.read(name, index), owners) for index in indexes]
            raw[name] = _sort_by_position(pa.concat_tables(parts, promote_options="default"))
            row_counts[name] = raw[name].num_rows
        result = convert_tables(layout, {**self._shared, **raw}, directory=directory)
        tables = result.tables if self.facts.is_delta else _drop_deletions(result.tables)
        return Loaded(tables, result.findings, self.facts.names, row_counts, result.bare)

    def _provider_rows(self, name: str) -> tuple[pa.Table, int]:
        """Return the distinct provider cells in rows of members, and the number of rows.

        Only the columns that are read are kept, so memory grows with the number of providers, not
        of claims.
        """
        headers = self.facts.layout.provider_headers(name)
        distinct_rows, count = pa.schema(PLACE_FIELDS).empty_table(), 0
        for index in range(self.facts.count):
            rows = self.raw.read(name, index)
            count += rows.num_rows
            columns = [*(column for column in headers if column in rows.column_names), *_PLACE]
            new_rows = drop_repeated_rows(_sort_by_position(readable_rows(rows).select(columns)))
            all_rows = pa.concat_tables([distinct_rows, new_rows], promote_options="default")
            distinct_rows = drop_repeated_rows(_sort_by_position(all_rows))
        return distinct_rows, count

    @cached_property
    def _shared(self) -> Mapping[str, pa.Table]:
        """The rows of files that are shared by all members."""
        names = sorted(self.facts.layout.shared_files)
        return {name: self.raw.read(name, self.facts.count) for name in names}

    def values(self, column: str, index: int) -> Iterator[Any]:
        """Yield the cells of one canonical column in every table of a partition that has it.

        `string` arrays, trimmed, null where absent. Files that do not feed the column are not
        read. `index` may be `count`: the directory.
        """
        of_members = index < self.facts.count
        feeds = [
            spec
            for spec in self.facts.layout.tables
            if column in spec.columns and (spec.table not in MEMBERLESS) == of_members
        ]
        if not feeds:
            return
        names = {spec.source for spec in self.facts.layout.tables}
        raw = {name: self.raw.read(name, index) for name in sorted(names)} | {**self._shared}
        yield from column_values(self.facts.layout, feeds, raw, column)

    def raw_rows(self, index: int, positions: Any = None) -> dict[str, pa.Table]:
        """Return the unchanged source rows of a partition, by file name.

        A table has every header as spelled in its file, with untrimmed cells, then `_file` and
        `_row`, in the order of the rows. `index` may be `count`: the directory. Files
        without rows in the partition are left out.

        Args:
            positions: `place_keys` of the wanted rows; None for all.
        """
        rows = {}
        tables: dict[str, pa.Table] = {}
        for file in self.facts.files:
            if not file.table:
                continue
            if file.table not in tables:
                tables[file.table] = readable_rows(self._raw_table(file.table, index, positions))
            table = tables[file.table]
            wanted = table.column(FILE_COLUMN).to_numpy() == file.index
            if positions is not None:
                wanted &= np.isin(table_places(table), positions)
            at = np.flatnonzero(wanted)
            if len(at):
                rows[file.name] = _as_written(table.take(pa.array(at)), file)
        return rows

    def _raw_table(self, name: str, index: int, positions: Any) -> pa.Table:
        """Return the rows of a raw table in a partition, or of it all if it is the directory's."""
        layout = self.facts.layout
        of_members = index < self.facts.count
        if of_members or not (layout.raw[name].id_headers and layout.provider_headers(name)):
            return self.raw.read(name, index)
        return self._provider_rows(name)[0] if positions is None else self.raw.read(name, None)

    def row_sources(self, *indexes: int) -> RowSources:
        """Return the payer's rows behind computed rows in some partitions.

        A row whose query passes no place on, or one that is in no file, has none.
        """
        files = self.facts.queried
        names = pa.array([file.name for file in files])
        columns = (*_PLACE, *SOURCE_POSITION_HEADERS)
        results, sources = [NO_PLACES], [NO_PLACES]
        for file in self.facts.files if files else ():
            for index in indexes if file.is_computed else ():
                rows = self.raw.read(file.table, index, columns)
                if not {*SOURCE_POSITION_HEADERS} <= {*rows.column_names}:
                    continue
                numbers = pc.index_in(rows.column(SOURCE_POSITION_HEADERS[0]), value_set=names)
                texts = rows.column(SOURCE_POSITION_HEADERS[1])
                is_named = pc.and_(
                    numbers.is_valid(),
                    pc.fill_null(pc.match_substring_regex(texts, _ROW_NUMBER), False),
                )
                rows, numbers = rows.filter(is_named), numbers.filter(is_named).to_numpy()
                texts = rows.column(SOURCE_POSITION_HEADERS[1])
                results.append(table_places(rows))
                sources.append(place_keys(numbers + files[0].index, texts.cast(pa.int64())))
        return RowSources.from_keys(np.concatenate(results), np.concatenate(sources))

    def malformed_rows(self) -> pa.Table:
        """Return the rows with too few or too many cells: `text` as it was, `_file`, `_row`.

        In the order of files and rows.
        """
        rows = self.raw.read(MALFORMED_TABLE, None)
        return rows.sort_by([(FILE_COLUMN, "ascending"), (ROW_COLUMN, "ascending")])


def _drop_deletions(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """Blank the record action D: in a full extract, such a row is like any other."""
    dropped = {}
    for name, table in tables.items():
        actions = table.column(_ACTION)
        is_deletion = pc.equal(pc.utf8_upper(pc.utf8_trim_whitespace(actions)), "D")
        index = table.schema.get_field_index(_ACTION)
        column = pc.if_else(pc.fill_null(is_deletion, False), None, actions)
        dropped[name] = table.set_column(index, table.schema.field(index), column)
    return dropped


def _filter_owners(rows: pa.Table, owners: Hashes | None) -> pa.Table:
    if owners is None or OWNER_COLUMN not in rows.column_names:
        return rows
    is_owned = among(rows.column(OWNER_COLUMN).to_numpy(), owners)
    return rows if is_owned.all() else rows.take(pa.array(np.flatnonzero(is_owned)))


def _sort_by_position(rows: pa.Table) -> pa.Table:
    """Sort rows by file and row number; mostly they are sorted already."""
    positions = table_places(rows)
    if np.all(positions[1:] >= positions[:-1]):
        return rows
    return rows.take(pa.array(np.argsort(positions, kind="stable")))


def _as_written(rows: pa.Table, file: SourceFile) -> pa.Table:
    rows = rows.sort_by(ROW_COLUMN)
    absent = pa.nulls(rows.num_rows, pa.string())
    arrays = [
        rows.column(name) if name in rows.column_names else absent for name in unique_headers(file)
    ]
    position_columns = [rows.column(field.name) for field in PLACE_FIELDS]
    names = [*file.columns, *(field.name for field in PLACE_FIELDS)]
    return pa.Table.from_arrays([*arrays, *position_columns], names)


Tables = Mapping[tuple[str, int | None], pa.Table]
"""Raw table and partition -> its rows; None for those of all partitions."""


@dataclass(frozen=True, slots=True)
class UnitRows:
    """Rows of some partitions (`RawTables`), and those that every partition is loaded with.

    Attributes:
        tables: the rows; no entry for a table without rows.
    """

    tables: Tables

    def read(
        self, name: str, partition: int | None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Return the rows of a raw table in one partition."""
        table = self.tables.get((name, partition))
        if table is None:
            return pa.schema(PLACE_FIELDS).empty_table()
        if columns is None:
            return table
        return table.select([column for column in table.column_names if column in columns])


def shared_tables(partitions: Partitions) -> Tables:
    """Return the rows that every partition is loaded with: those of shared files."""
    facts, read = partitions.facts, partitions.raw.read
    tables = {(name, facts.count): read(name, facts.count) for name in facts.layout.shared_files}
    return {place: table for place, table in tables.items() if table.num_rows}


def unit_facts(facts: PartitionFacts) -> PartitionFacts:
    """Return what units need of the facts of an extract: what may be long is left out."""
    return replace(facts, findings=facts.findings.slice(0, 0), rows_read={}, unowned={})
