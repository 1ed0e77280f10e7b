"""Queries of a payer's files in DuckDB, and of databases through ADBC (extra `sql`).

DuckDB runs SELECTs over tables of text, without files, network or clock. Its errors quote cells.
While a query is bound to tables without rows, there are none to quote, so the message is passed on;
for an error while rows are read, only its kind and position are.
"""

from __future__ import annotations

import importlib
import json
import os
import re
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from etl.errors import EtlError, ExtractError, MappingError, StoreError, nearest, not_installed
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.sources.extract.tables import DatabaseConnection, Query, TableRows, quoted_name
from etl.sources.files.stored_files import TableVersion, disk_error

BATCH_ROWS: Final = 1 << 15
_BIND: Final = "DESCRIBE "
_CLOCK: Final = frozenset(
    {
        *("now", "today", "current_date", "current_time", "current_timestamp", "localtime"),
        *("current_localtime", "current_localtimestamp", "get_current_time", "localtimestamp"),
        *("get_current_timestamp", "transaction_timestamp", "current_setting", "getvariable"),
        "query",  # its text may call any of them
    }
)
"""Functions with other results in the next run, besides those that DuckDB calls volatile."""
_EXACT: Final = re.compile(
    r'VARCHAR|DATE|DECIMAL\(.*\)|"NULL"|U?(TINY|SMALL|BIG)INT|HUGEINT|U?INTEGER'
)


class QueryDatabase:
    """Tables of text in a folder, and queries over them.

    One thread reads and writes, so unordered queries return rows in the order of the files.

    Args:
        folder: private folder of tables and spilled rows, deleted by the caller. None if queries
            are only bound.
        memory: most bytes in memory; what needs more is spilled.
    """

    def __init__(self, folder: Path | None = None, memory: int = 1 << 30) -> None:
        self._tables: dict[str, tuple[str, ...]] = {}
        self._connection = duckdb.connect(
            ":memory:" if folder is None else str(folder / "views.duckdb"),
            config={
                "threads": 1,
                "memory_limit": f"{memory}B",
                "temp_directory": "" if folder is None else str(folder / "spilled"),
                "errors_as_json": True,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
            },
        )
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")
        volatile = "SELECT function_name FROM duckdb_functions() WHERE stability = 'VOLATILE'"
        function_rows = self._connection.execute(volatile).fetchall()
        self._unrepeatable = _CLOCK | {name for (name,) in function_rows} - {"error"}

    def close(self) -> None:
        """Close the database; its folder stays."""
        self._connection.close()

    def add_table(self, name: str, columns: Mapping[str, str]) -> None:
        """Make a table without rows, given the type of each column."""
        column_list = ", ".join(f"{quoted_name(column)} {kind}" for column, kind in columns.items())
        self._connection.execute(f"CREATE TABLE {quoted_name(name)} ({column_list})")
        self._tables[name] = tuple(columns)

    def load(self, name: str, batches: Iterable[pa.RecordBatch]) -> None:
        """Add rows to a table, whose columns they have in its order.

        Raises:
            StoreError: there is too little memory or disk.
        """
        insert = f'INSERT INTO {quoted_name(name)} SELECT * FROM "\0rows"'  # noqa: S608 (names are quoted)
        # Not as a stream: DuckDB would report errors of the files in words of its own.
        for batch in batches:
            try:
                self._connection.register("\0rows", pa.Table.from_batches([batch]))
                self._connection.execute(insert)
                self._connection.unregister("\0rows")
            except duckdb.Error as error:
                raise _read_error(error, name) from None

    def bind(self, query: Query) -> tuple[tuple[str, str], ...]:
        """Return name and type of each column of a query's result.

        Raises:
            MappingError: it is no SELECT, names something unknown, or is not repeatable.
        """
        try:
            statements = self._connection.extract_statements(query.text)
        except duckdb.Error as error:
            raise self._binding_mistake(error, query, 0) from None
        if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
            message = "the file must hold one SELECT, and nothing else"
            raise MappingError(f"{query.file}:1", "sql-query", message)
        try:
            result_columns = self._connection.execute(_BIND + query.text).fetchall()
        except duckdb.Error as error:
            raise self._binding_mistake(error, query, len(_BIND)) from None
        self._refuse_unrepeatable(query)
        return tuple((str(name), str(kind)) for name, kind, *_ in result_columns)

    def columns_read(self, query: Query) -> frozenset[str]:
        """Return the columns that a query reads, in lower case, with `*` expanded."""
        names: set[str] = set()
        tables: set[str] = set()
        reads_all = False
        for node in _json_objects(self._parsed_query(query)):
            names.update(node.get("column_names", ())[-1:])
            names.update(node.get("using_columns", ()))
            tables.add(str(node.get("table_name", "")).casefold())
            reads_all = reads_all or node.get("class") == "STAR" or node.get("type") == "STAR"
        if reads_all:
            for table, columns in self._tables.items():
                names.update(columns if table.casefold() in tables else ())
        return frozenset(map(str.casefold, names))

    def rows(self, query: Query) -> TableRows:
        """Return the rows of a bound query.

        Raises:
            ExtractError: a cell cannot be computed; from the batches, too.
            StoreError: the query needs too much memory or disk; from the batches, too.
        """
        try:
            reader = self._connection.sql(query.text).to_arrow_reader(BATCH_ROWS)
        except duckdb.Error as error:
            raise self._not_computed(error, query) from None
        version = TableVersion("query", query.file)
        return TableRows(version, reader.schema, self._batches(reader, query))

    def _batches(self, reader: pa.RecordBatchReader, query: Query) -> Iterator[pa.RecordBatch]:
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
            except (duckdb.Error, pa.ArrowException, OSError) as error:
                raise self._not_computed(error, query) from None
            yield batch

    def _not_computed(self, error: Exception, query: Query) -> Exception:
        """Return the error of a failed query, with the rows at which it failed."""
        failure = _read_error(error, query.file, query)
        if isinstance(failure, ExtractError):
            rows = ", ".join(f"row {row} of {file}" for file, row in self._failing_rows(query))
            return _read_error(error, query.file, query, f" ({rows})" if rows else "")
        return failure

    def _failing_rows(self, query: Query) -> Iterator[tuple[str, int]]:
        """Yield file and row of each table's first row that makes a query fail.

        Binary search: the query is run again over more or fewer of a table's first rows, by a
        temporary view with the table's name.
        """
        [(database_name,)] = self._connection.execute("SELECT current_database()").fetchall()
        database = quoted_name(database_name)

        def fails(name: str, count: int) -> bool:
            table = f"{database}.main.{quoted_name(name)}"
            rows = f"SELECT * FROM {table} WHERE rowid < {count}"  # noqa: S608 (names are quoted)
            view = f"CREATE OR REPLACE TEMP VIEW {quoted_name(name)} AS {rows}"
            self._connection.execute(view)
            try:
                deque(self._connection.sql(query.text).to_arrow_reader(BATCH_ROWS), maxlen=0)
            except (duckdb.Error, pa.ArrowException):
                return True
            return False

        for name in self._tables:
            table = f"{database}.main.{quoted_name(name)}"
            count_query = f"SELECT count(*) FROM {table}"  # noqa: S608 (names are quoted)
            [(row_count,)] = self._connection.execute(count_query).fetchall()
            if fails(name, 0):
                continue
            failing = bisect_left(range(row_count), True, key=lambda rows: fails(name, rows))
            fails(name, failing)  # Leave this view: the next tables are searched together with it.
            row_query = (
                f"SELECT {FILE_COLUMN}, {ROW_COLUMN} FROM {table} WHERE rowid = {failing - 1}"  # noqa: S608
            )
            [(file, row)] = self._connection.execute(row_query).fetchall()
            yield file, row
        for name in self._tables:
            self._connection.execute(f"DROP VIEW IF EXISTS temp.{quoted_name(name)}")

    def _binding_mistake(self, error: duckdb.Error, query: Query, offset: int) -> MappingError:
        """Return the error of a query that cannot be bound, in DuckDB's words."""
        details = _error_document(error)
        words, *other_lines = str(details.get("exception_message", error)).splitlines()
        hint = nearest(str(details.get("name", "")), self._names(details))
        if not hint and "Function" in str(details.get("type")) and other_lines:
            hint = other_lines[0]
        where = query.file
        if str(details.get("position", "")).isdigit():
            where = query.at(int(details["position"]) - offset)
        return MappingError(where, "sql-query", words.rstrip("!"), hint=hint)

    def _refuse_unrepeatable(self, query: Query) -> None:
        """Refuse a query that can have other rows in the next run."""
        for node in _json_objects(self._parsed_query(query)):
            name = str(node.get("function_name", "")).lower()
            if node.get("type") == "COLUMN_REF" and len(node["column_names"]) == 1:
                name = str(node["column_names"][0]).lower()
                name = name if name in _CLOCK and not self._has_column(name) else ""
            is_sample = bool(node.get("sample"))
            one_day = name == "age" and len(node.get("arguments") or node.get("children", ())) == 1
            if is_sample or one_day or name in self._unrepeatable:
                construct = "a sample" if is_sample else name
                raise MappingError(
                    query.at(int(node.get("query_location") or 0)),
                    "sql-query",
                    f"{construct} can give different rows in the next run, but equal files must "
                    "give equal rows",
                )

    def _parsed_query(self, query: Query) -> Any:
        parsed = self._connection.execute("SELECT json_serialize_sql(?)", [query.text])
        return json.loads(parsed.fetchall()[0][0])

    def _names(self, details: Mapping[str, Any]) -> list[str]:
        """Return the tables or columns that an unknown name may have meant."""
        if details.get("type") == "Table":
            return list(self._tables)
        return sorted({name for names in self._tables.values() for name in names})

    def _has_column(self, name: str) -> bool:
        return any(name in map(str.lower, names) for names in self._tables.values())


def is_exact(kind: str) -> bool:
    """Return whether a DuckDB type is text, a day, or an exact number."""
    return _EXACT.fullmatch(kind) is not None


def _read_error(
    error: Exception, name: str, query: Query | None = None, rows: str = ""
) -> Exception:
    """Return the error of unreadable or uncomputable rows, without any cell."""
    details = _error_document(error)
    kind = str(details.get("exception_type", "")) or type(error).__name__
    if isinstance(error, duckdb.OutOfMemoryException) or "Out of Memory" in kind:
        return StoreError(
            f"{name}: needs more memory or disk space than is available; reduce what it sorts"
        )
    if isinstance(error, OSError) and error.errno:
        return disk_error(error)
    where = name
    if query is not None and str(details.get("position", "")).isdigit():
        where = query.at(int(details["position"]))
    return ExtractError(
        f"{where}{rows}: a cell cannot be converted (DuckDB's {kind} error; its text is hidden "
        "because it shows the cell); try_cast and try_strptime return null instead, and "
        "coalesce(…, cell) leaves the cell to the checks"
    )


def _error_document(error: Exception) -> Mapping[str, Any]:
    """Return DuckDB's description of an error as an object."""
    text = str(error)
    try:
        document = json.loads(text[text.index("{") : text.rindex("}") + 1])
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _json_objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a JSON document."""
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from _json_objects(part)
    elif isinstance(value, list):
        for part in value:
            yield from _json_objects(part)


_ONE_STATE: Final = {
    "postgresql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
}
"""Driver -> statement that makes a transaction read-only and repeatable."""
_RAISED: Final = "P0"
"""Class of SQLSTATE of errors that a database function raises, whose message may quote a cell."""
_QUOTED: Final = re.compile(r"""(["'`])(.*?)\1""")
_NUMBER: Final = re.compile(r"(?<![A-Za-z_0-9])[0-9][0-9.,:/-]*")
_EXTRAS: Final = {"postgresql": "sql", "snowflake": "snowflake", "bigquery": "bigquery"}
"""Driver -> the extra that installs it."""


def read_queries(
    connection: DatabaseConnection, name: str, queries: Mapping[str, str]
) -> Iterator[TableRows]:
    """Yield the rows of each query, one after the other, in one transaction.

    Args:
        name: name of the connection in messages.
        queries: name of a raw file -> its query.

    Raises:
        ExtractError: an environment variable is not set, the driver is not installed, or a query
            is refused.
        StoreError: the database does not answer.
    """
    driver = _load_driver(connection.driver)
    options = {
        **connection.options,
        **{
            option: _read_variable(variable, name)
            for option, variable in connection.variables.items()
        },
    }
    uri_args = [] if connection.uri is None else [_read_variable(connection.uri, name)]
    with ExitStack() as until_the_end:
        try:
            opened = driver.connect(*uri_args, **({"db_kwargs": options} if options else {}))
        except Exception as error:
            raise _database_error(
                error, f"connection {name}: the database cannot be opened"
            ) from None
        until_the_end.enter_context(closing(opened))
        statement = _ONE_STATE.get(connection.driver)
        for file, query in queries.items():
            cursor = until_the_end.enter_context(closing(opened.cursor()))
            message = f"{file}: the query of connection {name} failed"
            try:
                if statement is not None:
                    cursor.execute(statement)
                    statement = None
                cursor.execute(query)
                rows = cursor.fetch_record_batch()
            except Exception as error:
                raise _database_error(error, message, query) from None
            yield TableRows(TableVersion("sql", file), rows.schema, _batches(rows, message, query))


def _batches(rows: pa.RecordBatchReader, message: str, query: str) -> Iterator[pa.RecordBatch]:
    try:
        yield from rows
    except Exception as error:
        if isinstance(error, EtlError):
            raise
        raise _database_error(error, message, query) from None


def _load_driver(name: str) -> Any:
    try:
        return importlib.import_module(f"adbc_driver_{name}.dbapi")
    except (ImportError, ValueError):
        is_ours = name in _EXTRAS
        hint = not_installed(_EXTRAS[name]) if is_ours else "which is not installed"
        raise ExtractError(
            f"driver {name!r} needs the package adbc-driver-{name.replace('_', '-')}, {hint}"
        ) from None


def _read_variable(variable: str, name: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        raise ExtractError(f"connection {name}: the environment variable {variable} is not set")
    return value


def _database_error(error: Exception, message: str, query: str = "") -> EtlError:
    """Return the error for a connection or query that a database rejected.

    A message about a connection may contain a secret, so only those about queries are passed on.
    """
    state = getattr(error, "sqlstate", None)
    status = getattr(getattr(error, "status_code", None), "name", type(error).__name__)
    says = f"SQLSTATE {state}" if state else status
    if query and not (state or "").startswith(_RAISED) and (words := own_words(str(error), query)):
        says += f": {words}"
    # Class 08 of SQLSTATE, and IO of ADBC: no connection; 57 and 53: the server is stopped or full.
    if status in ("IO", "TIMEOUT") or (state or "")[:2] in ("08", "53", "57"):
        return StoreError(f"{message} ({says}); run it again")
    return ExtractError(f"{message} ({says}); try it with the database's own client")


def own_words(message: str, query: str) -> str:
    """Return a database's message about a query, without values.

    Quotations are shown if they occur in the query, as names do. The message ends at the first one
    that does not, because a value may contain quotes.
    """
    lines = [line for line in message.splitlines() if line.strip()]
    words = next((line for line in lines if "ERROR:" in line), lines[0] if lines else "")
    words = words.rpartition("ERROR:")[2].strip()
    for quoted in _QUOTED.finditer(words):
        if quoted[2] not in query:
            words = words[: quoted.start()] + "…"
            break
    return _NUMBER.sub(lambda number: number[0] if number[0] in query else "…", words)
