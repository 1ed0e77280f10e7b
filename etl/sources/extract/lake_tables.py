"""Delta and Iceberg tables, read in the version or snapshot that is asked for.

Their libraries, deltalake and pyiceberg, come with the extras `delta` and `iceberg`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from etl.errors import ExtractError, StoreError, not_installed
from etl.sources.extract.table_rows import TableRows
from etl.sources.files.stored_files import TableVersion


def read_iceberg(table: str, catalog: str | None, snapshot: int | None, name: str) -> TableRows:
    """Return the rows of an Iceberg table; deleted rows are not among them.

    Args:
        table: its name in the catalog; without one, the address of its metadata file.
        catalog: as pyiceberg's own configuration names it, which holds its secrets.
        snapshot: which one; None for the present one.
        name: the raw file, in messages.

    Raises:
        ExtractError: there is no such table or snapshot, or pyiceberg is not installed; from the
            rows, data of that snapshot are no longer there.
    """
    what = f"{name}: Iceberg table {table}"
    hint = "check its name, the catalog's configuration and the rights"
    try:
        found = _opened(table, catalog)
        present = found.current_snapshot()
        chosen = present if snapshot is None else found.snapshot_by_id(snapshot)
        if snapshot is not None and chosen is None:
            newest = "none" if present is None else present.snapshot_id
            raise ExtractError(f"{what} has no snapshot {snapshot}; the present one is {newest}")
        version = None if chosen is None else chosen.snapshot_id
        rows = found.scan(snapshot_id=version).to_arrow_batch_reader()
    except ExtractError:
        raise
    except ImportError:
        raise ExtractError(
            f"Iceberg tables need the package pyiceberg, {not_installed('iceberg')}; some catalogs "
            "need more packages"
        ) from None
    except Exception as error:
        raise _unread(what, error, hint) from None

    origin = TableVersion("iceberg", table, "" if version is None else str(version))
    return TableRows(origin, rows.schema, _batches(rows, what, hint))


def _opened(table: str, catalog: str | None) -> Any:
    from pyiceberg.catalog import load_catalog
    from pyiceberg.table import StaticTable

    if catalog is None:
        return StaticTable.from_metadata(table)
    return load_catalog(catalog).load_table(table)


def read_delta(
    location: str, version: int | None, options: Mapping[str, str], name: str
) -> TableRows:
    """Return the rows of a Delta table; deleted rows are not among them.

    Args:
        location: a folder, or an address as `s3://bucket/table`.
        version: which one; None for the newest.
        options: of storage. Secrets come from the environment.
        name: the raw file, in messages.

    Raises:
        ExtractError: there is no such table or version, or deltalake is not installed; from the
            rows, data of that version are no longer there.
    """
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError
    except ImportError:
        raise ExtractError(
            f"Delta tables need the package deltalake, {not_installed('delta')}"
        ) from None
    what = f"{name}: Delta table {location}"
    hint = "the version may be vacuumed, or rights are missing"
    try:
        table = DeltaTable(location, storage_options=dict(options) or None)
        newest = table.version()
        if version is not None and not 0 <= version <= newest:
            raise ExtractError(f"{what} has no version {version}; its newest is {newest}")
        if version is not None:
            table.load_as_version(version)
        rows = pa.RecordBatchReader.from_stream(table.scan())
    except TableNotFoundError:
        raise ExtractError(
            f"{name}: there is no Delta table at {location}; check the address and the rights"
        ) from None
    except (DeltaError, OSError, ValueError) as error:
        raise _unread(what, error, hint) from None

    origin = TableVersion("delta", location, str(table.version()))
    return TableRows(origin, rows.schema, _batches(rows, what, hint))


def _batches(rows: pa.RecordBatchReader, what: str, hint: str) -> Iterator[pa.RecordBatch]:
    """Yield rows of a library whose errors share no class, and may quote a value."""
    try:
        yield from rows
    except (ExtractError, StoreError):
        raise
    except Exception as error:
        raise _unread(what, error, hint) from None


def _unread(what: str, error: Exception, hint: str) -> ExtractError:
    return ExtractError(f"{what} cannot be read ({type(error).__name__}); {hint}")
