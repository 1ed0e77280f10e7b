"""Queries of a database, read through ADBC (extra `sql`) as Arrow."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from typing import Any, Final

import pyarrow as pa

from etl.errors import EtlError, ExtractError, StoreError, not_installed
from etl.sources.extract.table_rows import TableRows
from etl.sources.extract.tables import DatabaseConnection
from etl.sources.files.stored_files import TableVersion

_ONE_STATE: Final = {
    "postgresql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
}
"""Driver -> statement after which a transaction sees one state and changes nothing."""
_RAISED: Final = "P0"
"""Class of SQLSTATE of what a function in the database raises, in words of its own."""
_QUOTED: Final = re.compile(r"""(["'`])(.*?)\1""")
_NUMBER: Final = re.compile(r"(?<![A-Za-z_0-9])[0-9][0-9.,:/-]*")
_EXTRAS: Final = {"postgresql": "sql", "snowflake": "snowflake", "bigquery": "bigquery"}
"""Driver -> the extra that installs it."""


def read_queries(
    connection: DatabaseConnection, name: str, queries: Mapping[str, str]
) -> Iterator[TableRows]:
    """Yield the rows of each query, in one transaction; each is read before the next begins.

    Args:
        connection: the database.
        name: of the connection, in messages.
        queries: name of a raw file -> its query.

    Raises:
        ExtractError: an environment variable is not set, the driver is not installed, or a query
            is refused.
        StoreError: the database does not answer.
    """
    driver = _driver(connection.driver)
    options = {
        **connection.options,
        **{option: _secret(variable, name) for option, variable in connection.variables.items()},
    }
    given = [] if connection.uri is None else [_secret(connection.uri, name)]
    with ExitStack() as until_the_end:
        try:
            opened = driver.connect(*given, **({"db_kwargs": options} if options else {}))
        except Exception as error:
            raise _refused(error, f"connection {name}: the database cannot be opened") from None
        until_the_end.enter_context(closing(opened))
        statement = _ONE_STATE.get(connection.driver)
        for file, query in queries.items():
            cursor = until_the_end.enter_context(closing(opened.cursor()))
            what = f"{file}: the query of connection {name} failed"
            try:
                if statement is not None:
                    cursor.execute(statement)
                    statement = None
                cursor.execute(query)
                rows = cursor.fetch_record_batch()
            except Exception as error:
                raise _refused(error, what, query) from None
            yield TableRows(TableVersion("sql", file), rows.schema, _batches(rows, what, query))


def _batches(rows: pa.RecordBatchReader, what: str, query: str) -> Iterator[pa.RecordBatch]:
    try:
        yield from rows
    except Exception as error:
        if isinstance(error, EtlError):
            raise
        raise _refused(error, what, query) from None


def _driver(name: str) -> Any:
    try:
        return importlib.import_module(f"adbc_driver_{name}.dbapi")
    except (ImportError, ValueError):
        is_ours = name in _EXTRAS
        hint = not_installed(_EXTRAS[name]) if is_ours else "which is not installed"
        raise ExtractError(
            f"driver {name!r} needs the package adbc-driver-{name.replace('_', '-')}, {hint}"
        ) from None


def _secret(variable: str, name: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        raise ExtractError(f"connection {name}: the environment variable {variable} is not set")
    return value


def _refused(error: Exception, what: str, query: str = "") -> EtlError:
    """Return the error for what a database refused.

    Its own words about a connection may hold a secret, so only those about a query are passed on.
    """
    state = getattr(error, "sqlstate", None)
    status = getattr(getattr(error, "status_code", None), "name", type(error).__name__)
    says = f"SQLSTATE {state}" if state else status
    if query and not (state or "").startswith(_RAISED) and (words := own_words(str(error), query)):
        says += f": {words}"
    # Class 08 of SQLSTATE, and IO of ADBC: no connection; 57 and 53: the server is stopped or full.
    if status in ("IO", "TIMEOUT") or (state or "")[:2] in ("08", "53", "57"):
        return StoreError(f"{what} ({says}); run it again")
    return ExtractError(f"{what} ({says}); try it with the database's own client")


def own_words(message: str, query: str) -> str:
    """Return what a database says of a query, without values.

    What it quotes is shown where it stands in the query, as names do. From the first quotation that
    does not, nothing is shown, because a value may have quotes in it.
    """
    lines = [line for line in message.splitlines() if line.strip()]
    words = next((line for line in lines if "ERROR:" in line), lines[0] if lines else "")
    words = words.rpartition("ERROR:")[2].strip()
    for quoted in _QUOTED.finditer(words):
        if quoted[2] not in query:
            words = words[: quoted.start()] + "…"
            break
    return _NUMBER.sub(lambda number: number[0] if number[0] in query else "…", words)
