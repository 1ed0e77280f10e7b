"""Delta tables, read with deltalake (extra `delta`) in the version that is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import pyarrow as pa

from etl.errors import ExtractError, StoreError, not_installed
from etl.sources.extract_files import TableVersion
from etl.sources.table_rows import TableRows


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
    library = _deltalake()
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        table = library.DeltaTable(location, storage_options=dict(options) or None)
        newest = table.version()
        if version is not None and not 0 <= version <= newest:
            raise ExtractError(
                f"{name}: Delta table {location} has no version {version}; its newest is {newest}"
            )
        if version is not None:
            table.load_as_version(version)
        rows = pa.RecordBatchReader.from_stream(table.scan())
    except TableNotFoundError:
        raise ExtractError(
            f"{name}: there is no Delta table at {location}; check the address and the rights"
        ) from None
    except (DeltaError, OSError, ValueError) as error:
        raise _unread(error, name, location) from None

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from rows
        except Exception as error:
            # The library's errors share no class, and may quote a value.
            if isinstance(error, ExtractError | StoreError):
                raise
            raise _unread(error, name, location) from None

    return TableRows(TableVersion("delta", location, str(table.version())), rows.schema, batches())


def _unread(error: Exception, name: str, location: str) -> ExtractError:
    return ExtractError(
        f"{name}: Delta table {location} cannot be read ({type(error).__name__}); the version may "
        "be vacuumed, or rights are missing"
    )


def _deltalake() -> ModuleType:
    try:
        import deltalake
    except ImportError:
        raise ExtractError(
            f"Delta tables need the package deltalake, {not_installed('delta')}"
        ) from None
    module: Any = deltalake
    return module  # type: ignore[no-any-return]
