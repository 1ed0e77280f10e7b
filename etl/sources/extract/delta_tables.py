"""Delta tables: data files to read in place, or rows if the files are not enough.

deltalake comes with the extra `delta`.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import unquote

import pyarrow as pa

from etl.errors import ExtractError, not_installed
from etl.sources.extract.tables import TableRows, table_batches, table_error
from etl.sources.files.stored_files import DataFile, FolderFiles, StoredFile, TableVersion
from etl.sources.parsing.parquet import text_converter

if TYPE_CHECKING:
    from deltalake import DeltaTable

_HINT: Final = "the version may be vacuumed, or rights are missing"
_HARMLESS: Final = frozenset({"columnMapping", "deletionVectors", "timestampNtz", "v2Checkpoint"})
"""Features of tables that can be read from data files, if the first two are unused."""


@dataclass(frozen=True, slots=True)
class DeltaFiles:
    """The data files of one version of a Delta table.

    Attributes:
        location: absolute path of its folder, or an address as `s3://bucket/table`.
        options: of storage.
        title: what messages call the table.
        files: its data files; names are paths below the location, and the raw file's before them.
    """

    location: str
    options: Mapping[str, str]
    title: str
    files: tuple[StoredFile, ...]

    @property
    def is_seen(self) -> bool:
        """Whether this machine can read the table; addresses of stores always count."""
        return "://" in self.location or Path(self.location).is_dir()

    def open(self, path: str) -> BinaryIO:
        """Return the bytes of a data file.

        Raises:
            ExtractError: it is no longer there, or must not be read.
        """
        try:
            if "://" not in self.location:
                return Path(self.location, path).open("rb")
            storage = _storage(self.location, tuple(self.options.items()))
            stream: BinaryIO = storage.open_input_file(path)
        except ExtractError:
            raise
        except Exception as error:
            raise table_error(self.title, error, _HINT) from None
        return stream


@lru_cache(maxsize=8)
def _storage(location: str, options: tuple[tuple[str, str], ...]) -> Any:
    try:
        from deltalake.fs import DeltaStorageHandler
    except ImportError:
        raise _not_installed() from None
    return DeltaStorageHandler(location, dict(options) or None)


@dataclass(frozen=True, slots=True)
class LakeFiles:
    """The files of an extract with tables that are read in place (`ExtractFiles`).

    Attributes:
        staged: the other files, in a folder of the machine that staged them; other machines have
            access to the tables alone.
        tables: raw file -> its data files.
    """

    staged: FolderFiles
    tables: Mapping[str, DeltaFiles]

    @property
    def name(self) -> str:
        """The name of the extract."""
        return self.staged.name

    def entries(self) -> tuple[StoredFile, ...]:
        """Return the files that this machine can read."""
        entries = list(self.staged.entries()) if self.staged.folder.is_dir() else []
        entries += [file for table in self.tables.values() if table.is_seen for file in table.files]
        return tuple(sorted(entries, key=lambda entry: entry.name))

    def only(self, names: Set[str]) -> LakeFiles:
        """Return a copy with some of the data files: a job reads few of thousands."""
        tables = {
            raw: replace(table, files=tuple(file for file in table.files if file.name in names))
            for raw, table in self.tables.items()
        }
        return replace(self, tables=tables)

    def open(self, name: str) -> BinaryIO:
        """Return the bytes of a file."""
        table, _, path = name.partition("/")
        return self.tables[table].open(path) if path else self.staged.open(name)


def read_delta(
    location: str, version: int | None, options: Mapping[str, str], name: str
) -> DeltaFiles | TableRows:
    """Return the data files of a Delta table, or its rows if the files are not enough.

    They do not where rows are deleted by deletion vectors or columns are mapped.

    Args:
        location: a folder, or an address as `s3://bucket/table`.
        version: which one; None for the newest.
        options: of storage. Secrets come from the environment.
        name: the raw file, in messages.

    Raises:
        ExtractError: there is no such table or version, a column has no exact text, or deltalake
            is not installed; from the rows, data of that version are no longer there.
    """
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError
    except ImportError:
        raise _not_installed() from None
    title = f"{name}: Delta table {location}"
    try:
        table = DeltaTable(location, storage_options=dict(options) or None)
        newest = table.version()
        if version is not None and not 0 <= version <= newest:
            raise ExtractError(f"{title} has no version {version}; its newest is {newest}")
        if version is not None:
            table.load_as_version(version)
        origin = TableVersion("delta", location, str(table.version()))
        if files := _data_files(table, name, origin):
            where = location if "://" in location else str(Path(location).absolute())
            return DeltaFiles(where, options, title, files)
        rows = pa.RecordBatchReader.from_stream(table.scan())
    except TableNotFoundError:
        raise ExtractError(
            f"{name}: there is no Delta table at {location}; check the address and the rights"
        ) from None
    except (DeltaError, OSError, ValueError) as error:
        raise table_error(title, error, _HINT) from None
    return TableRows(origin, rows.schema, table_batches(rows, title, _HINT))


def _data_files(table: DeltaTable, name: str, origin: TableVersion) -> tuple[StoredFile, ...]:
    """Return the data files of a table; none if they are not enough or it is empty."""
    about, features = table.metadata(), set(table.protocol().reader_features or ())
    is_mapped = about.configuration.get("delta.columnMapping.mode", "none") != "none"
    if is_mapped or features - _HARMLESS:
        return ()
    if "deletionVectors" in features and any(
        vectors.num_rows for vectors in table.deletion_vectors()
    ):
        return ()
    schema = pa.schema(table.schema().to_arrow())
    writers = {
        field.name: text_converter(field, f"{name}: column {number} ({field.name})")
        for number, field in enumerate(schema, start=1)
    }
    actions = pa.table(table.get_add_actions(flatten=True)).combine_chunks()
    paths = [unquote(path) for path in actions.column("path").to_pylist()]
    if any(path.startswith("/") or "://" in path for path in paths):
        return ()  # files of a table that this one is a shallow copy of
    partition = {
        column: writers[column](actions.column(f"partition.{column}")).to_pylist()
        for column in about.partition_columns
    }
    files, columns = [], tuple(schema.names)
    for at, (path, size) in enumerate(
        zip(paths, actions.column("size_bytes").to_pylist(), strict=True)
    ):
        cells = tuple((column, texts[at] or "") for column, texts in partition.items())
        data = DataFile(columns, cells)
        files.append(StoredFile(f"{name}/{path}", size, origin=origin, data=data))
    return tuple(files)


def _not_installed() -> ExtractError:
    return ExtractError(f"Delta tables need the package deltalake, {not_installed('delta')}")
