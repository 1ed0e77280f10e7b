"""Tables of a lake or a database, written as the raw files of an extract."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from etl.sources.extract_files import FolderFiles, TableVersion
from etl.sources.extract_manifest import MANIFEST_NAME
from etl.sources.extract_tables import ExtractTables
from etl.sources.table_rows import TableRows, write_rows


def stage_tables(tables: ExtractTables, called: str, base: Path, folder: Path) -> FolderFiles:
    """Write each table as a delimited file, and what is said of all of them as the manifest.

    Args:
        tables: what to read. Queries of one connection see one state, where the database can.
        called: what the caller named.
        base: folder of the file; paths in it are relative to that.
        folder: an empty folder that is closed to others.

    Raises:
        ExtractError: a table or column cannot be read as text exactly, or a library is missing.
        StoreError: a lake or a database refused or did not answer, or the disk is full.
    """
    facts = {
        key: getattr(tables, key)
        for key in ("layout", "kind", "as_of", "payer")
        if getattr(tables, key) is not None
    }
    if facts:
        (folder / MANIFEST_NAME).write_text(json.dumps(facts), encoding="utf-8")
    origins: dict[str, TableVersion] = {}
    for name, rows in _rows(tables, base):
        origins[f"{name}.csv"] = rows.origin
        write_rows(rows, folder / f"{name}.csv")
    return FolderFiles(folder, called, origins)


def _rows(tables: ExtractTables, base: Path) -> Iterator[tuple[str, TableRows]]:
    """Yield the rows of each raw file; each library is loaded where it is needed."""
    queries: dict[str, dict[str, str]] = {}
    for name, table in tables.files.items():
        if table.delta is not None:
            from etl.sources.delta import read_delta

            location = _place(table.delta, base)
            yield name, read_delta(location, table.version, table.options, name)
        elif table.iceberg is not None:
            from etl.sources.iceberg import read_iceberg

            found = table.iceberg if table.catalog else _place(table.iceberg, base)
            yield name, read_iceberg(found, table.catalog, table.snapshot, name)
        elif table.sql is not None and table.connection is not None:
            queries.setdefault(table.connection, {})[name] = table.sql
    for connection, of_connection in queries.items():
        from etl.sources.database import read_queries

        found_rows = read_queries(tables.connections[connection], connection, of_connection)
        yield from zip(of_connection, found_rows, strict=True)


def _place(location: str, base: Path) -> str:
    """Return where a table lies; a path is relative to the file that names it."""
    return location if "://" in location else str(base / location)
