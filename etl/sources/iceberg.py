"""Iceberg tables, read with pyiceberg (extra `iceberg`) in the snapshot that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from etl.errors import ExtractError, StoreError, not_installed
from etl.sources.extract_files import TableVersion
from etl.sources.table_rows import TableRows


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
    try:
        found = _opened(table, catalog)
        present = found.current_snapshot()
        chosen = present if snapshot is None else found.snapshot_by_id(snapshot)
        if snapshot is not None and chosen is None:
            newest = "none" if present is None else present.snapshot_id
            raise ExtractError(
                f"{name}: Iceberg table {table} has no snapshot {snapshot}; the present one is "
                f"{newest}"
            )
        version = None if chosen is None else chosen.snapshot_id
        rows = found.scan(snapshot_id=version).to_arrow_batch_reader()
    except ExtractError:
        raise
    except ImportError:
        raise _missing() from None
    except Exception as error:
        raise _unread(error, name, table) from None

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from rows
        except Exception as error:
            # The library's errors share no class, and may quote a value.
            if isinstance(error, ExtractError | StoreError):
                raise
            raise _unread(error, name, table) from None

    origin = TableVersion("iceberg", table, "" if version is None else str(version))
    return TableRows(origin, rows.schema, batches())


def _opened(table: str, catalog: str | None) -> Any:
    try:
        from pyiceberg.catalog import load_catalog
        from pyiceberg.table import StaticTable
    except ImportError:
        raise _missing() from None
    if catalog is None:
        return StaticTable.from_metadata(table)
    return load_catalog(catalog).load_table(table)


def _missing() -> ExtractError:
    return ExtractError(
        f"Iceberg tables need the package pyiceberg, {not_installed('iceberg')}; some catalogs "
        "need more packages"
    )


def _unread(error: Exception, name: str, table: str) -> ExtractError:
    return ExtractError(
        f"{name}: Iceberg table {table} cannot be read ({type(error).__name__}); check its name, "
        "the catalog's configuration and the rights"
    )
