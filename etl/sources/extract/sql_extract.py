"""Extracts made by SQL: views over a payer's files, one SELECT per canonical table.

`extract.toml` names the files and the queries. Every query is bound to empty views first, to find
mistakes before a row is read. Then the usual readers read the rows, and the results become files
of the canonical layout.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import closing
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import trimmed
from etl.errors import ExtractError, MappingError, Mistakes, nearest
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.model.tables import Table
from etl.sources.extract.staging import DEFINITION
from etl.sources.extract.tables import (
    ExtractTable,
    ExtractTables,
    Query,
    TableRows,
    read_tables,
    write_rows,
)
from etl.sources.files.listed_files import (
    SOURCE_POSITIONS,
    ListedFile,
    RowForm,
    compression_of,
    read_header,
    read_traits,
    recognize_entry,
    refuse_non_tables,
    text_chunks,
)
from etl.sources.files.stored_files import (
    MANIFEST_NAME,
    ExtractFiles,
    ExtractManifest,
    FolderFiles,
    QueriedFile,
    ReplacedFiles,
    TableVersion,
    extract_error,
    read_manifest,
)
from etl.sources.layout.model import canonical_layouts, required_columns
from etl.sources.parsing import delimited, parquet
from etl.sources.parsing.spans import Batch

if TYPE_CHECKING:  # DuckDB takes 50 ms to load, and few extracts need it
    from etl.sources.extract.queries import QueryDatabase

_MEMORY: Final = 1 << 30
"""Memory limit of the queries in bytes; more is spilled to the work folder."""
PLACES: Final = (FILE_COLUMN, ROW_COLUMN)
"""Columns of every view: the name of the row's file, and the row's number there."""
_ROW_NUMBER: Final = "^[0-9]{1,15}$"
_DOCUMENT: Final = "document"
"""The only column of a view of JSON files: the text of an element."""
_DOCUMENTS_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class SqlExtract:
    """The files and queries of an `extract.toml`.

    Attributes:
        file: name of the `extract.toml` in messages.
        tables: its content.
        queries: canonical table -> its query.
    """

    file: str
    tables: ExtractTables
    queries: Mapping[str, Query]


@dataclass(frozen=True, slots=True)
class ViewFile:
    """A payer's file as a view reads it.

    Attributes:
        listed: the file.
        delimiter: the delimiter of its cells.
        headers: its headers in order, with names for empty ones.
    """

    listed: ListedFile
    delimiter: str
    headers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class View:
    """Files that queries read as one table.

    Attributes:
        name: name of the table in SQL.
        table: its entry in the `extract.toml`.
        files: the files, in the order of their names.
        columns: columns of all files, then others that the `extract.toml` declares; without the
            columns of row positions.
    """

    name: str
    table: ExtractTable
    files: tuple[ViewFile, ...]
    columns: tuple[str, ...]


def read_sql_extract(files: ExtractFiles, name: str, tables: ExtractTables) -> SqlExtract:
    """Return the files and queries of an `extract.toml`.

    Raises:
        ExtractError: a query cannot be read.
        StoreError: storage refused, or did not answer.
    """
    queries = {}
    for table, path in tables.tables.items():
        try:
            with files.open(path) as stream:
                queries[table] = Query(path, stream.read().decode("utf-8-sig"))
        except OSError as error:
            raise ExtractError(f"{name}: {path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ExtractError(f"{path} is not UTF-8; write it as UTF-8") from None
    return SqlExtract(name, tables, queries)


def read_sql_layout(folder: Path) -> SqlExtract:
    """Read the layout in SQL in a folder.

    Raises:
        ExtractError: it cannot be read.
    """
    files = FolderFiles(folder, folder.name)
    return read_sql_extract(files, f"{folder.name}/{DEFINITION}", read_tables(files, DEFINITION))


def count_files(extract: SqlExtract, extract_files: ExtractFiles) -> int:
    """Return how many files a layout in SQL reads; 0 if it does not fit."""
    listed = _list_files(extract_files)
    named = [(table, _matching_files(table, listed)) for table in extract.tables.files.values()]
    if not all(table.optional or files for table, files in named):
        return 0
    try:
        check_sql_extract(extract, extract_files)
    except (ExtractError, MappingError):
        return 0
    return len({file.name for _, files in named for file in files})


def check_sql_extract(extract: SqlExtract, extract_files: ExtractFiles) -> tuple[str, ...]:
    """Check queries against the files' headers; return descriptions of unread columns and files.

    Raises:
        ExtractError: a file is missing, or its header cannot be read.
        MappingErrors: a query cannot be bound, or gives no rows of its table: every mistake.
    """
    from etl.sources.extract.queries import QueryDatabase

    with closing(QueryDatabase()) as database:
        views = _open_views(extract, extract_files)
        read = _check_queries(extract, views, database)
    unread_columns = (
        f"{name}: {', '.join(header for _, header in columns)}"
        for name, columns in _unread_columns(views, read).items()
        if columns
    )
    return (*_unread_files(extract_files, views), *unread_columns)


def stage_queries(
    extract: SqlExtract, extract_files: ExtractFiles, folder: Path, *, memory: int | None = None
) -> ReplacedFiles:
    """Write the result of each query as a file of the canonical layout.

    Args:
        extract: files and queries.
        extract_files: the payer's files. Those that no view reads stay part of the extract.
        folder: an empty private folder.
        memory: memory limit of the run in bytes, if it has one.

    Raises:
        ExtractError: a file cannot be read completely, or a query failed.
        StoreError: storage refused or did not answer, or the disk is full.
    """
    from etl.sources.extract.queries import QueryDatabase

    work, results = folder / "queries", folder / "results"
    work.mkdir()
    results.mkdir()
    manifest = _read_manifest(extract_files)
    origins: dict[str, TableVersion] = {}
    queried: dict[str, QueriedFile] = {}
    unused = _UnusedRows()
    with closing(QueryDatabase(work, min(memory or _MEMORY, _MEMORY))) as database:
        views = _open_views(extract, extract_files)
        try:
            read = _check_queries(extract, views, database)
        except MappingError as error:
            raise extract_error(error) from None
        for view in views:
            database.load(view.name, unused.loaded(_view_rows(view, manifest, queried)))
        for name, query in extract.queries.items():
            rows = database.rows(query)
            origins[f"{name}.csv"] = rows.origin
            used = replace(rows, batches=unused.without(rows.batches))
            write_rows(_with_positions(used), results / f"{name}.csv")
    (results / MANIFEST_NAME).write_text(
        json.dumps(_result_manifest(extract, manifest)), encoding="utf-8"
    )
    unread = _unread_files(extract_files, views)
    replaced = {entry.name for entry in extract_files.entries()} - set(unread)
    staged = FolderFiles(results, extract_files.name, origins)
    unread_columns = _unread_columns(views, read)
    named = tuple(
        replace(queried[name], unread_columns=unread_columns[name], unused_rows=unused.rows(name))
        for name in sorted(queried)
    )
    return ReplacedFiles(extract_files, staged, frozenset(replaced), named)


class _UnusedRows:
    """Rows of the payer's files that no query result uses.

    Queries pass on the positions of the rows that they use.
    """

    def __init__(self) -> None:
        self._is_unused: dict[str, Any] = {}  # file -> numpy bool, by row
        self._used_files: set[str] = set()

    def loaded(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield rows of views, and mark them as unused."""
        for batch in batches:
            if batch.num_rows:
                name = batch.column(FILE_COLUMN)[0].as_py()
                rows = batch.column(ROW_COLUMN).to_numpy()
                previous_mask = self._is_unused.get(name, np.zeros(0, np.bool_))
                longer = np.zeros(max(len(previous_mask), int(rows.max()) + 1), np.bool_)
                longer[: len(previous_mask)] = previous_mask
                longer[rows] = True
                self._is_unused[name] = longer
            yield batch

    def without(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield rows of a result, and mark the rows behind them as used."""
        for batch in batches:
            if set(PLACES) <= set(batch.schema.names):
                files, rows = (batch.column(name).cast(pa.string()) for name in PLACES)
                is_row = pc.fill_null(pc.match_substring_regex(rows, _ROW_NUMBER), False)
                for name in pc.unique(files).to_pylist():
                    if name in self._is_unused:
                        of_file = pc.and_(is_row, pc.fill_null(pc.equal(files, name), False))
                        numbers = rows.filter(of_file).cast(pa.int64()).to_numpy()
                        is_unused = self._is_unused[name]
                        is_unused[numbers[numbers < len(is_unused)]] = False
                        self._used_files.add(name)
            yield batch

    def rows(self, name: str) -> tuple[int, ...]:
        """Return the unused rows of a file; none if no result names the file."""
        if name not in self._used_files:
            return ()
        return tuple(np.flatnonzero(self._is_unused[name]).tolist())


def _with_positions(rows: TableRows) -> TableRows:
    """Rename the position columns: rows of the new file get positions of their own."""
    names = dict(zip(PLACES, SOURCE_POSITIONS, strict=True))
    schema = pa.schema(
        [field.with_name(names.get(field.name, field.name)) for field in rows.schema]
    )
    return replace(rows, schema=schema)


def _list_files(extract_files: ExtractFiles) -> tuple[ListedFile, ...]:
    """Return the files that a view may read."""
    return tuple(
        recognize_entry(entry, extract_files)
        for entry in extract_files.entries()
        if not entry.name.startswith(".")
        and not entry.problem
        and not entry.name.upper().startswith("README")
        and not entry.name.lower().endswith((".toml", ".sql"))
        and entry.name.lower() != MANIFEST_NAME
    )


def _matching_files(table: ExtractTable, listed: tuple[ListedFile, ...]) -> tuple[ListedFile, ...]:
    patterns = [pattern.casefold() for pattern in table.path or ()]
    return tuple(
        file
        for file in listed
        if any(fnmatchcase(file.name.casefold(), pattern) for pattern in patterns)
    )


def _unread_files(extract_files: ExtractFiles, views: tuple[View, ...]) -> tuple[str, ...]:
    read = {file.listed.name for view in views for file in view.files}
    return tuple(file.name for file in _list_files(extract_files) if file.name not in read)


def _read_manifest(extract_files: ExtractFiles) -> ExtractManifest:
    if any(entry.name == MANIFEST_NAME for entry in extract_files.entries()):
        return read_manifest(extract_files)
    return ExtractManifest()


def _result_manifest(extract: SqlExtract, manifest: ExtractManifest) -> dict[str, str]:
    """Return the manifest of the results: values from `extract.toml`, else the payer's."""
    tables = extract.tables
    as_of = manifest.as_of.isoformat() if manifest.as_of else None
    facts = {
        "layout": tables.model.layout,
        "kind": tables.kind or manifest.kind,
        "as_of": tables.as_of or as_of,
        "payer": tables.payer or manifest.payer,
    }
    return {key: value for key, value in facts.items() if value is not None}


def _open_views(extract: SqlExtract, extract_files: ExtractFiles) -> tuple[View, ...]:
    listed = _list_files(extract_files)
    return tuple(
        _open_view(name, table, _matching_files(table, listed), extract_files.name)
        for name, table in extract.tables.files.items()
    )


def _open_view(name: str, table: ExtractTable, listed: tuple[ListedFile, ...], title: str) -> View:
    if not listed and not table.optional:
        raise ExtractError(f"{title} has no file {' or '.join(table.path or ())} for view {name}")
    files = tuple(_view_file(file, table) for file in listed)
    columns = {header.casefold(): header for header in (files[0].headers if files else ())}
    for file in files:
        in_file = {header.casefold() for header in file.headers}
        columns = {key: header for key, header in columns.items() if key in in_file}
    for header in (_DOCUMENT,) if table.json else table.columns:
        if header.casefold() not in PLACES:
            columns.setdefault(header.casefold(), header)
    return View(name, table, files, tuple(columns.values()))


def _view_file(listed: ListedFile, table: ExtractTable) -> ViewFile:
    delimiter = table.delimiter or listed.delimiter
    if table.json:
        packed = replace(listed, compression=compression_of(listed.name))
        return ViewFile(packed, "", (_DOCUMENT,))
    if listed.is_parquet:
        written = parquet.read_parquet_headers(listed)
    elif delimiter:
        refuse_non_tables(listed)
        written = read_header(listed, RowForm(delimiter, table.quoting))
    else:
        message = "its extension does not show what separates its cells; set delimiter"
        raise ExtractError(f"{listed.name}: {message}")
    headers = tuple(header or f"column_{number}" for number, header in enumerate(written, start=1))
    header_counts = Counter(header.casefold() for header in (*headers, *PLACES))
    for number, header in enumerate(headers, start=1):
        if header_counts[header.casefold()] > 1:
            message = (
                "has the same header as another column, or as a position: SQL cannot tell "
                "them apart"
            )
            raise ExtractError(f"{listed.name}: column {number} {message}")
    return ViewFile(listed, delimiter, headers)


def _unread_columns(
    views: Iterable[View], read: Set[str]
) -> dict[str, tuple[tuple[int, str], ...]]:
    """Return number and header of each unread column, by its first file."""
    unread: dict[str, tuple[tuple[int, str], ...]] = {}
    for view in views:
        patterns = [pattern.casefold() for pattern in view.table.unused]
        reported = set(read)
        for file in view.files:
            unread[file.listed.name] = tuple(
                (number, header)
                for number, header in enumerate(file.headers, start=1)
                if header.casefold() not in reported
                and not any(fnmatchcase(header.casefold(), pattern) for pattern in patterns)
            )
            reported.update(header.casefold() for header in file.headers)
    return unread


def _check_queries(
    extract: SqlExtract, views: tuple[View, ...], database: QueryDatabase
) -> frozenset[str]:
    """Check every query against empty views; return the columns that they read."""
    for view in views:
        columns = dict.fromkeys((*view.columns, FILE_COLUMN), "VARCHAR") | {ROW_COLUMN: "BIGINT"}
        database.add_table(view.name, columns)
    mistakes = Mistakes()
    tables = {table.file_name: table for table in extract.tables.model.tables.values()}
    for name, query in extract.queries.items():
        with mistakes.collected():
            for error in _column_errors(extract, tables[name], query, database.bind(query)):
                mistakes.add(error)
    mistakes.report()
    return frozenset().union(*map(database.columns_read, extract.queries.values()))


def _column_errors(
    extract: SqlExtract, table: Table, query: Query, columns: tuple[tuple[str, str], ...]
) -> Iterator[MappingError]:
    """Yield errors about missing, unknown, and inexact columns of a query."""
    raw = canonical_layouts()[extract.tables.model.layout].raw[table.file_name]
    counted = Counter(name for name, _ in columns)
    from etl.sources.extract.queries import is_exact

    for name, kind in columns:
        if name in PLACES:
            continue
        if name not in raw.columns:
            message = f"the table {table.file_name} has no column {name!r}"
            yield MappingError(query.file, "sql-column", message, hint=nearest(name, raw.columns))
        if counted.pop(name, 0) > 1:
            yield MappingError(query.file, "sql-column", f"{name} appears twice")
        if not is_exact(kind):
            message = f"{name} is {kind}, but results are text, days or exact decimals: cast it"
            yield MappingError(query.file, "sql-column", message)
    is_delta = extract.tables.kind == "delta"
    for group in required_columns(table.name, delta=is_delta):
        if not {name for name, _ in columns}.intersection(group):
            message = f"the result lacks the required column {' or '.join(group)}"
            yield MappingError(query.file, "sql-column", message)


def _view_schema(view: View) -> pa.Schema:
    text = [(name, pa.string()) for name in (*view.columns, FILE_COLUMN)]
    return pa.schema([*text, (ROW_COLUMN, pa.int64())])


def _view_rows(
    view: View, manifest: ExtractManifest, queried: dict[str, QueriedFile]
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a view's files: cells stripped of blanks, null if empty.

    Args:
        manifest: what the payer states of the files.
        queried: is given each file that was read.
    """
    for file in view.files:
        listed, rows = file.listed, 0
        claim, file_traits = manifest.files.get(listed.name), read_traits(listed)
        if claim and claim.sha256 not in (None, file_traits.sha256):
            raise ExtractError(
                f"{listed.name} is not the file that {MANIFEST_NAME} describes: its sha256 differs"
            )
        for batch in _file_batches(file, view.table):
            if batch.malformed:
                raise ExtractError(
                    f"{listed.name}: row {batch.malformed[0].row} has more or fewer cells than the "
                    "header; SQL needs complete rows: correct the file"
                )
            rows += batch.rows.num_rows
            yield _select_columns(view, file, batch.rows)
        if claim and claim.rows not in (None, rows):
            raise ExtractError(
                f"{listed.name} has {rows} rows, but {MANIFEST_NAME} says {claim.rows}"
            )
        facts = QueriedFile(listed.name, file_traits.bytes, file_traits.sha256, rows)
        queried[listed.name] = facts


def _read_documents(listed: ListedFile) -> Iterator[Batch]:
    """Read a JSON array; its elements are the rows, counted from 1. The file is held in memory.

    Raises:
        ExtractError: it is no JSON array.
    """
    try:
        text = b"".join(text_chunks(listed)).decode("utf-8-sig")
        elements = msgspec.json.decode(text, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        where = re.search(r"byte \d+", str(error))
        message = f"is not a JSON array{f' ({where[0]})' if where else ''}; correct the file"
        raise ExtractError(f"{listed.name}: {message}") from None
    for start in range(0, len(elements), _DOCUMENTS_AT_ONCE):
        texts = [
            bytes(element).decode() for element in elements[start : start + _DOCUMENTS_AT_ONCE]
        ]
        numbers = pa.array(range(start + 1, start + len(texts) + 1), pa.int64())
        rows = pa.RecordBatch.from_arrays(
            [pa.array(texts, pa.string()), numbers], names=[_DOCUMENT, ROW_COLUMN]
        )
        yield Batch(rows, (), 0)


def _file_batches(file: ViewFile, table: ExtractTable) -> Iterator[Batch]:
    if table.json:
        return _read_documents(file.listed)
    if file.listed.is_parquet:
        return parquet.read_batches(file.listed, file.headers, 1)
    form = RowForm(file.delimiter, table.quoting)
    return delimited.read_batches(file.listed, file.headers, form)


def _select_columns(view: View, file: ViewFile, rows: pa.RecordBatch) -> pa.RecordBatch:
    position = {header.casefold(): number for number, header in enumerate(file.headers)}
    absent = pa.nulls(rows.num_rows, pa.string())
    arrays = [
        trimmed(rows.column(position[name.casefold()])) if name.casefold() in position else absent
        for name in view.columns
    ]
    names = pa.array([file.listed.name] * rows.num_rows, pa.string())
    return pa.RecordBatch.from_arrays(
        [*arrays, names, rows.column(ROW_COLUMN)], schema=_view_schema(view)
    )
