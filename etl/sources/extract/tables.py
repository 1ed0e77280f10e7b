"""`extract.toml`: an extract of lake tables, database queries, or queries over files.

The rows of a table become a delimited file whose bytes depend on the rows alone. A table has no
order, and a database may return its rows in another one each time. So they are ordered by their
digests: the file's hash is a hash of the rows, and its row numbers stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from etl.columns.digests import row_digests, seed_of
from etl.documents.models import (
    Check,
    Flag,
    Given,
    Mistake,
    Model,
    RawText,
    Texts,
    Whole,
    read_as,
)
from etl.documents.toml_text import read_toml
from etl.errors import ExtractError, MappingError, StoreError, nearest
from etl.model.data_models import DATA_MODELS, DataModel
from etl.sources.files.stored_files import (
    DELIMITERS,
    NO_IDS,
    ExtractFiles,
    FilledText,
    MaybeFilledText,
    TableVersion,
    disk_error,
    extract_error,
    strip_text,
)
from etl.sources.layout.expansion import expand_loops
from etl.sources.parsing.parquet import text_converter

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]*")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET: Final = re.compile(r"passw|secret|token|credential|access_key|private_key|://[^/]*@", re.I)
_KINDS: Final = ("delta", "iceberg", "sql", "path")
_QUERY: Final = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9 _./-]*\.sql")


def _location(text: str, _context: Any) -> str:
    if _SECRET.search(text):
        raise Mistake("", "{key} must not hold a secret: it is shown in messages")
    return strip_text(text, _context)


def _variable(text: str, _context: Any) -> str:
    if not _VARIABLE.fullmatch(text):
        raise Mistake("", "{key} must be the name of an environment variable, not a value")
    return text


def _public(options: dict[str, str], _context: Any) -> dict[str, str]:
    for name, value in options.items():
        if _SECRET.search(name) or _SECRET.search(value):
            raise Mistake(
                "", f"{name} may hold a secret: name an environment variable in variables"
            )
    return options


def _delimiter(text: str, _context: Any) -> str:
    if text not in DELIMITERS:
        raise Mistake("", f'{{key}} must be one of {" ".join(DELIMITERS)} or a tab, "\\t"')
    return text


def quoted_name(name: str) -> str:
    """Return the name of a table or column, quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


def _query_file(text: str, _context: Any) -> str:
    if not _QUERY.fullmatch(text):
        raise Mistake("", "{key} must be the path of an .sql file below the folder of this one")
    return text


_MaybeLocation = Annotated[str | None, Given(Annotated[RawText, Check(_location)])]
_Variable = Annotated[RawText, Check(_variable)]


@dataclass(frozen=True, slots=True)
class DatabaseConnection(Model):
    """A database, without any secret.

    Attributes:
        driver: last part of the name of an ADBC driver's package, such as `postgresql`.
        uri: environment variable with its URI; None if it has none.
        options: options of the driver, by name.
        variables: options of the driver -> environment variable with the value.
    """

    driver: Annotated[str, Given(FilledText)]
    uri: Annotated[str | None, Given(_Variable)] = None
    options: Annotated[Mapping[str, str], Given(dict[str, RawText]), Check(_public)] = field(
        default_factory=dict
    )
    variables: Annotated[Mapping[str, str], Given(dict[str, _Variable])] = field(
        default_factory=dict
    )


@dataclass(frozen=True, slots=True)
class ExtractTable(Model):
    """A table or query that is one raw file, or payer files that are one view.

    Attributes:
        delta: location of a Delta table, or None.
        version: version of the Delta table; None for the newest.
        options: storage options of the Delta table, without secrets.
        iceberg: name of an Iceberg table in its catalog, or location of its metadata file.
        catalog: the catalog's name in pyiceberg's configuration.
        snapshot: snapshot of the Iceberg table; None for the current one.
        sql: a query.
        connection: name of the database to query.
        path: patterns of the names of files that queries read as one view.
        delimiter: their delimiter; None if their extensions imply it.
        quoting: whether their cells may be quoted.
        columns: columns that queries may read although a file lacks them; null there.
        unused: patterns of the columns that no query has to read.
        optional: whether the files may be missing; the view then has no rows.
        json: whether a file is a JSON array, each element of which is the text of a row.
    """

    delta: _MaybeLocation = None
    version: Annotated[int | None, Given(Whole)] = None
    options: Annotated[Mapping[str, str], Given(dict[str, RawText]), Check(_public)] = field(
        default_factory=dict
    )
    iceberg: _MaybeLocation = None
    catalog: MaybeFilledText = None
    snapshot: Annotated[int | None, Given(Whole)] = None
    sql: MaybeFilledText = None
    connection: MaybeFilledText = None
    path: Annotated[Texts | None, Given(Texts)] = None
    delimiter: Annotated[str | None, Given(Annotated[RawText, Check(_delimiter)])] = None
    quoting: Flag = True
    columns: Texts = ()
    unused: Texts = ()
    optional: Flag = False
    json: Flag = False

    def mistakes(self, context: Any) -> Iterator[Mistake]:
        """Report keys that contradict each other."""
        del context
        kinds = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            yield Mistake("", f"one of {', '.join(_KINDS)} must be there, and only one")
            return
        of_kind = {
            "delta": ("version", "options"),
            "iceberg": ("catalog", "snapshot"),
            "sql": ("connection",),
            "path": ("delimiter", "quoting", "columns", "unused", "optional", "json"),
        }
        plain = ExtractTable()
        for kind, names in of_kind.items():
            for name in names:
                if kind != kinds[0] and getattr(self, name) != getattr(plain, name):
                    yield Mistake("", f"{name} belongs to {kind}, not to {kinds[0]}")
        if self.json and (self.delimiter or self.columns):
            yield Mistake("", "JSON has no delimiter, and one column: document")
        if self.optional and not self.columns and not self.json:
            yield Mistake("", "columns is missing: what queries read where there is no file")
        if self.sql is not None and self.connection is None:
            yield Mistake("", "connection is missing: it names the database of the query")


@dataclass(frozen=True, slots=True)
class ExtractTables(Model):
    """The tables of an extract, and the entries of its manifest.

    Attributes:
        files: raw file -> its table or query; with `tables`, view -> its files.
        tables: canonical table -> file of the SELECT that makes it of the views; empty if the
            files are the extract.
        title, description: texts about a shipped layout, for people.
        connections: name -> database.
        layout: name of the layout; None to detect it from the columns.
        kind: `full` or `delta`.
        as_of: day of the state that the extract contains.
        payer: name of the payer, as reports show it.
    """

    files: Annotated[Mapping[str, ExtractTable], Given(dict[str, ExtractTable])]
    connections: Annotated[
        Mapping[str, DatabaseConnection], Given(dict[str, DatabaseConnection])
    ] = field(default_factory=dict)
    tables: Mapping[str, Annotated[RawText, Check(_query_file)]] = field(default_factory=dict)
    layout: MaybeFilledText = None
    title: MaybeFilledText = None
    description: MaybeFilledText = None
    kind: MaybeFilledText = None
    as_of: MaybeFilledText = None
    payer: MaybeFilledText = None

    @property
    def model(self) -> DataModel:
        """The data model whose tables the queries make."""
        return next((model for model in DATA_MODELS if model.layout == self.layout), DATA_MODELS[0])

    def mistakes(self, context: Any) -> Iterator[Mistake]:
        """Report invalid names and unknown connections."""
        del context
        yield from self._wrong_tables()
        for name, table in self.files.items():
            if not _NAME.fullmatch(name):
                yield Mistake("", f"{name!r} is no name of a raw file", at=("files", name))
            if table.connection is not None and table.connection not in self.connections:
                message = f"there is no connection {table.connection!r}"
                yield Mistake("", message, at=("files", name, "connection"))
        if not self.files:
            yield Mistake("", "there are no files: name a table or query as [files.NAME]")

    def _wrong_tables(self) -> Iterator[Mistake]:
        """Report what does not fit queries that make canonical tables."""
        if not self.tables:
            for name, table in self.files.items():
                if table.path is not None:
                    message = "path names files that queries read: name a query as [tables]"
                    yield Mistake("", message, at=("files", name))
            return
        views: dict[str, str] = {}
        for name, table in self.files.items():
            if table.path is None:
                yield Mistake("", "queries read files: name them by path", at=("files", name))
            if views.setdefault(name.casefold(), name) != name:
                yield Mistake("", f"SQL cannot tell {name} from another view", at=("files", name))
        names = {table.file_name: table for table in self.model.tables.values()}
        if self.layout not in (None, self.model.layout):
            layouts = " or ".join(model.layout for model in DATA_MODELS)
            yield Mistake("", f"layout of what queries make is {layouts}", at=("layout",))
        for name in self.tables.keys() - names.keys():
            message, hint = f"there is no canonical table {name!r}", nearest(name, names)
            yield Mistake("", message, hint, at=("tables", name))
        for name, canonical in names.items():
            if canonical.compulsory and name not in self.tables and self.kind != "delta":
                yield Mistake("", f"tables lacks the required table {name}", at=("tables",))


@dataclass(frozen=True, slots=True)
class Query:
    """A SELECT.

    Attributes:
        file: its file in messages.
        text: the SQL.
    """

    file: str
    text: str

    def at(self, offset: int) -> str:
        """Return the file, line and column of an offset in bytes."""
        prefix = self.text.encode()[:offset].decode(errors="replace")
        return f"{self.file}:{prefix.count(chr(10)) + 1}:{len(prefix) - prefix.rfind(chr(10))}"


def read_tables(files: ExtractFiles, name: str) -> ExtractTables:
    """Read an `extract.toml`.

    Raises:
        ExtractError: it is invalid; names every mistake with its line.
        StoreError: storage refused, or did not answer.
    """
    try:
        with files.open(name) as stream:
            text = stream.read().decode("utf-8-sig")
        document = read_toml(text, name, "")
        document = expand_loops(document) if "tables" in document else document
        return read_as(ExtractTables, document, name, NO_IDS)
    except OSError as error:
        raise ExtractError(f"{name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ExtractError(f"{name} is not UTF-8; write it as UTF-8") from None
    except MappingError as error:
        raise extract_error(error) from None


_BITS: Final = 6
"""Rows are sorted in buckets by the first bits of their digests."""
_HIGH: Final = "\0high"
_LOW: Final = "\0low"


@dataclass(frozen=True, slots=True)
class TableRows:
    """Rows of one version of a table.

    Attributes:
        origin: the table and its version.
        schema: schema of the rows.
        batches: the rows; can be read once.
    """

    origin: TableVersion
    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


def table_batches(rows: pa.RecordBatchReader, title: str, hint: str) -> Iterator[pa.RecordBatch]:
    """Yield a library's rows; convert its errors, which may quote a value."""
    try:
        yield from rows
    except (ExtractError, StoreError):
        raise
    except Exception as error:
        raise table_error(title, error, hint) from None


def table_error(title: str, error: Exception, hint: str) -> ExtractError:
    return ExtractError(f"{title} cannot be read ({type(error).__name__}); {hint}")


def write_rows(rows: TableRows, path: Path) -> None:
    """Write rows as text: a header, then the rows sorted by digest.

    Args:
        path: the file to create.

    Raises:
        ExtractError: a column has no name or a type without exact text.
        StoreError: the disk is full.
    """
    names = [name.strip() for name in rows.schema.names]
    for number, name in enumerate(names, start=1):
        if not name or not name.isprintable():
            raise ExtractError(f"{path.name}: column {number} has no name that a header can have")
    writers = [
        text_converter(field, f"{path.name}: column {number} ({field.name})")
        for number, field in enumerate(rows.schema, start=1)
    ]
    try:
        _write(rows.batches, names, writers, path)
    except OSError as error:
        raise disk_error(error) from None


def _write(
    batches: Iterable[pa.RecordBatch], names: list[str], writers: list[Any], path: Path
) -> None:
    seed = seed_of("", names)
    columns = [f"{number}" for number in range(len(names))]  # names may stand twice
    gathered = pa.schema(
        [(name, pa.string()) for name in columns] + [(_HIGH, pa.uint64()), (_LOW, pa.uint64())]
    )
    buckets = [path.with_name(f".{path.name}.{number}") for number in range(1 << _BITS)]
    files = [pa.OSFile(str(bucket), "wb") for bucket in buckets]
    sinks = [pa.ipc.new_stream(file, gathered) for file in files]
    for batch in batches:
        texts = [
            pc.fill_null(writer(column), "")
            for writer, column in zip(writers, batch.columns, strict=True)
        ]
        digests = row_digests(texts, seed)
        rows = pa.RecordBatch.from_arrays(
            [*texts, pa.array(digests.high), pa.array(digests.low)], schema=gathered
        )
        bucket = digests.high >> np.uint64(64 - _BITS)
        for number in np.unique(bucket).tolist():
            sinks[number].write_batch(rows.filter(pa.array(bucket == number)))
    for sink, file in zip(sinks, files, strict=True):
        sink.close()
        file.close()
    header = pa.schema([(name, pa.string()) for name in names])
    with path.open("xb") as target:
        path.chmod(0o600)
        with arrow_csv.CSVWriter(target, header) as writer:
            for number, bucket_path in enumerate(buckets):
                with pa.memory_map(str(bucket_path)) as stored:
                    rows = pa.ipc.open_stream(stored).read_all()
                    ordered = rows.sort_by([(_HIGH, "ascending"), (_LOW, "ascending")])
                    writer.write_table(ordered.select(columns).rename_columns(names))
                buckets[number].unlink()
