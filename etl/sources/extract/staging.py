"""Stage extracts that are not folders of data files in a private folder.

The reader of each form is imported when needed: most extracts are folders of files. The extra
`iceberg` installs pyiceberg.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from etl.errors import ExtractError, not_installed
from etl.sources.extract.delta_tables import DeltaFiles, LakeFiles, read_delta
from etl.sources.extract.tables import (
    ExtractTables,
    TableRows,
    read_tables,
    table_batches,
    table_error,
    write_rows,
)
from etl.sources.files.listed_files import COMPRESSION_ERRORS, recognize_entry
from etl.sources.files.stored_files import (
    HEAD_BYTES,
    MANIFEST_NAME,
    ExtractFiles,
    FolderFiles,
    ReplacedFiles,
    TableVersion,
    recognize_format,
)


def read_iceberg(table: str, catalog: str | None, snapshot: int | None, name: str) -> TableRows:
    """Return the rows of an Iceberg table, without deleted ones.

    Args:
        table: its name in the catalog; without one, the address of its metadata file.
        catalog: its name in pyiceberg's configuration, which contains its secrets.
        snapshot: its ID; None for the current snapshot.
        name: the raw file in messages.

    Raises:
        ExtractError: there is no such table or snapshot, or pyiceberg is not installed; from the
            rows, data of that snapshot are no longer there.
    """
    title = f"{name}: Iceberg table {table}"
    hint = "check its name, the catalog's configuration and the rights"
    try:
        iceberg_table = _open_table(table, catalog)
        present = iceberg_table.current_snapshot()
        chosen = present if snapshot is None else iceberg_table.snapshot_by_id(snapshot)
        if snapshot is not None and chosen is None:
            newest = "none" if present is None else present.snapshot_id
            raise ExtractError(f"{title} has no snapshot {snapshot}; the current one is {newest}")
        version = None if chosen is None else chosen.snapshot_id
        rows = iceberg_table.scan(snapshot_id=version).to_arrow_batch_reader()
    except ExtractError:
        raise
    except ImportError:
        raise ExtractError(
            f"Iceberg tables need the package pyiceberg, {not_installed('iceberg')}; some catalogs "
            "need more packages"
        ) from None
    except Exception as error:
        raise table_error(title, error, hint) from None

    origin = TableVersion("iceberg", table, "" if version is None else str(version))
    return TableRows(origin, rows.schema, table_batches(rows, title, hint))


def _open_table(table: str, catalog: str | None) -> Any:
    from pyiceberg.catalog import load_catalog
    from pyiceberg.table import StaticTable

    if catalog is None:
        return StaticTable.from_metadata(table)
    return load_catalog(catalog).load_table(table)


TABLES_ENDING: Final = ".toml"
DEFINITION: Final = "extract.toml"
"""Name of the file that makes its folder an extract: tables and connections, or queries."""
WORKBOOK_ENDINGS: Final = (".xlsx", ".xlsm")
_FORMS: Final = ("zip", "tar", "xlsx")


def staged_format(beside: ExtractFiles, name: str) -> str:
    """Return `zip`, `tar`, `xlsx` or `tables` for a file that is a whole extract; else "".

    Args:
        beside: the files around it.
        name: its name among them.

    Raises:
        ExtractError: it cannot be read.
        StoreError: storage refused, or did not answer.
    """
    if name.lower().endswith(TABLES_ENDING):
        return "tables"
    try:
        with beside.open(name) as stream:
            head = stream.read(HEAD_BYTES)
            if head.startswith(b"\x1f\x8b"):
                stream.seek(0)
                head = _unpacked_head(stream)
    except OSError as error:
        raise ExtractError(f"{name} cannot be read: {error.strerror}") from None
    kind = recognize_format(head).kind
    return kind if kind in _FORMS else ""


def stage_extract(beside: ExtractFiles, name: str, called: str, folder: Path) -> ExtractFiles:
    """Write the files of an extract that is a single file, and return them.

    Args:
        beside: the files around it.
        name: its name among them.
        called: its name in messages.
        folder: an empty private folder, deleted by the caller once the extract is read.

    Raises:
        ExtractError: it is broken, or cannot be staged safely and exactly.
        StoreError: storage or a database refused or did not answer, or the disk is full.
    """
    form = staged_format(beside, name)
    if form == "tables":
        base = beside.folder if isinstance(beside, FolderFiles) else Path()
        return stage_tables(read_tables(beside, name), called, base, folder)
    from etl.sources.extract.archives import stage_workbook, unpack_tar, unpack_zip

    size = next(entry.bytes for entry in beside.entries() if entry.name == name)
    with beside.open(name) as stream:
        if form == "zip":
            unpack_zip(stream, size, called, folder)
        elif form == "tar":
            unpack_tar(stream, size, called, folder)
        else:
            stage_workbook(stream, size, name, folder)
    return FolderFiles(folder, called)


def list_workbooks(files: ExtractFiles) -> tuple[str, ...]:
    """Return the workbooks of an extract; none if it has other data files."""
    entries = [entry for entry in files.entries() if not entry.name.startswith((".", "~$"))]
    if any(recognize_entry(entry, files).is_data for entry in entries):
        return ()
    return tuple(entry.name for entry in entries if entry.name.lower().endswith(WORKBOOK_ENDINGS))


def stage_workbooks(files: ExtractFiles, workbooks: tuple[str, ...], folder: Path) -> ReplacedFiles:
    """Return the files of an extract, with workbooks replaced by their sheets.

    Args, Raises: as for `stage_extract`.
    """
    from etl.sources.extract.archives import stage_workbook

    sizes = {entry.name: entry.bytes for entry in files.entries()}
    for name in workbooks:
        try:
            with files.open(name) as stream:
                stage_workbook(stream, sizes[name], name, folder)
        except OSError as error:
            raise ExtractError(f"{name} cannot be read: {error.strerror}") from None
    return ReplacedFiles(files, FolderFiles(folder), frozenset(workbooks))


def _unpacked_head(stream: Any) -> bytes:
    try:
        with gzip.GzipFile(fileobj=stream) as unpacked:
            return unpacked.read(HEAD_BYTES)
    except COMPRESSION_ERRORS:
        return b""


def stage_tables(tables: ExtractTables, called: str, base: Path, folder: Path) -> ExtractFiles:
    """Write each table as a delimited file, and the manifest of them all.

    Delta tables with sufficient data files are not copied, but read in place.

    Args:
        tables: what to read. Queries of one connection see one state, if the database can do that.
        called: name of the extract in messages.
        base: folder of the `extract.toml`, to which paths are relative.
        folder: an empty private folder.

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
    in_place: dict[str, DeltaFiles] = {}
    for name, rows in _table_rows(tables, base):
        if isinstance(rows, DeltaFiles):
            in_place[name] = rows
            continue
        origins[f"{name}.csv"] = rows.origin
        write_rows(rows, folder / f"{name}.csv")
    staged = FolderFiles(folder, called, origins)
    return LakeFiles(staged, in_place) if in_place else staged


def _table_rows(tables: ExtractTables, base: Path) -> Iterator[tuple[str, TableRows | DeltaFiles]]:
    """Yield the rows or data files of each raw file."""
    queries: dict[str, dict[str, str]] = {}
    for name, table in tables.files.items():
        if table.delta is not None:
            location = _resolve_location(table.delta, base)
            yield name, read_delta(location, table.version, table.options, name)
        elif table.iceberg is not None:
            address = table.iceberg if table.catalog else _resolve_location(table.iceberg, base)
            yield name, read_iceberg(address, table.catalog, table.snapshot, name)
        elif table.sql is not None and table.connection is not None:
            queries.setdefault(table.connection, {})[name] = table.sql
    for connection, of_connection in queries.items():
        from etl.sources.extract.queries import read_queries

        found_rows = read_queries(tables.connections[connection], connection, of_connection)
        yield from zip(of_connection, found_rows, strict=True)


def _resolve_location(location: str, base: Path) -> str:
    """Return the absolute location of a table."""
    return location if "://" in location else str(base / location)
