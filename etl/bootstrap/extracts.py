"""Open the files of EXTRACT: a folder, a bucket prefix, or a single file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from tempfile import gettempdir
from typing import TYPE_CHECKING, Final

from filelock import FileLock, Timeout

from etl.bootstrap.definitions import load_definitions
from etl.bootstrap.mappings import declare_columns, mapping_roots
from etl.bootstrap.settings import Settings
from etl.errors import ExtractError, StoreError, UsageError
from etl.sources.extract.opening import count_files as files_of_yaml
from etl.sources.extract.staging import (
    DEFINITION,
    WORKBOOK_ENDINGS,
    list_workbooks,
    stage_extract,
    stage_workbooks,
    staged_format,
)
from etl.sources.files.listed_files import open_files
from etl.sources.files.stored_files import (
    MANIFEST_NAME,
    ExtractFiles,
    FolderFiles,
    ObjectFiles,
    read_manifest,
    remote_address,
)
from etl.storage.port import OWNER, StoreOptions

if TYPE_CHECKING:
    from etl.sources.extract.sql_extract import SqlExtract

STAGED: Final = ".cpcds-extract-"
"""Beginning of the name of a folder of staged files; its lock has the same name and `.lock`."""
_ENDINGS: Final = (".zip", ".tar", ".tgz", ".tar.gz", ".toml", *WORKBOOK_ENDINGS)
"""Endings of objects that are whole extracts; a prefix of a bucket may end like anything else."""


@contextmanager
def extract_files(
    settings: Settings, extract: Path, beside: Path | None, *, as_sent: bool = False
) -> Iterator[ExtractFiles]:
    """Yield the files of an extract; staged ones are deleted afterwards.

    Args:
        settings: name the storage options and the work folder.
        extract: a folder, `s3://bucket/prefix`, or a file that is a whole extract, on disk or in a
            bucket. An `extract.toml` in the folder or under the prefix is the extract.
        beside: folder for members' data while it is read, unless `run.work` is set; None for the
            system's folder of temporary files.
        as_sent: whether layouts in SQL are ignored.

    Raises:
        ExtractError: there is no such extract, or it cannot be unpacked.
        UsageError: a layout is named, but the extract has queries of its own.
        StoreError: storage refused or did not answer, or the disk is full.
    """
    address = "" if extract.exists() else remote_address(str(extract))
    if address.startswith("s3://"):
        alone = address.lower().endswith(_ENDINGS)
        files: ExtractFiles = ObjectFiles(address, _source_options(settings), alone=alone)
        name, called = (address.rpartition("/")[2] if alone else ""), address
    elif extract.is_file():
        files, name, called = FolderFiles(extract.parent), extract.name, extract.name
    else:
        files, name, called = open_files(extract), "", ""
    if not name and not as_sent and any(entry.name == DEFINITION for entry in files.entries()):
        name = called = DEFINITION
    if name and not staged_format(files, name):
        if address:
            raise ExtractError(f"{address} is not an archive; use a prefix that contains files")
        open_files(extract)  # raises, and says what it is
    declare_columns(settings)  # queries are checked against the tables
    queries = _own_queries(files, name)
    if queries and not as_sent and settings.layout not in (None, queries.tables.model.layout):
        raise UsageError(
            f"--layout {settings.layout} doesn't apply: {queries.file} has its own queries; "
            "leave --layout out"
        )
    with ExitStack() as until_the_end:
        if name and queries is None:
            folder = until_the_end.enter_context(_private_folder(settings, beside))
            files = stage_extract(files, name, called, folder)
        if workbooks := list_workbooks(files):
            folder = until_the_end.enter_context(_private_folder(settings, beside))
            files = stage_workbooks(files, workbooks, folder)
        if not as_sent and (queries := queries or _fitting_layout(settings, files)):
            from etl.sources.extract.sql_extract import stage_queries

            folder = until_the_end.enter_context(_private_folder(settings, beside))
            files = stage_queries(queries, files, folder, memory=settings.run.memory)
        yield files


def layout_of_rows(settings: Settings) -> str | None:
    """Return the layout of the rows; canonical if the settings name one in SQL."""
    return None if settings.layout in sql_layouts(settings) else settings.layout


def sql_layouts(settings: Settings) -> dict[str, Path]:
    """Return the folders of layouts in SQL by name; a payer's own override shipped ones."""
    return {
        definition.parent.name: definition.parent
        for root in mapping_roots(settings)
        for definition in sorted((root / "layouts").glob("*/extract.toml"))
    }


def _own_queries(files: ExtractFiles, name: str) -> SqlExtract | None:
    """Return the queries of an `extract.toml`, if it has any."""
    if not name.lower().endswith(".toml"):
        return None
    from etl.sources.extract.sql_extract import read_sql_extract
    from etl.sources.extract.tables import read_tables

    tables = read_tables(files, name)
    return read_sql_extract(files, name, tables) if tables.tables else None


def _fitting_layout(settings: Settings, files: ExtractFiles) -> SqlExtract | None:
    """Return the named layout in SQL, or the one that fits the files.

    Of several fitting layouts, in SQL or YAML, the one that reads the most files counts.

    Raises:
        ExtractError: several layouts in SQL read the most files.
    """
    folders = sql_layouts(settings)
    named = settings.layout
    if named is None and any(entry.name == MANIFEST_NAME for entry in files.entries()):
        named = read_manifest(files).layout
    if named is not None and named not in folders:
        return None
    from etl.sources.extract.sql_extract import count_files, read_sql_layout

    if named is not None:
        return read_sql_layout(folders[named])
    layouts = {name: read_sql_layout(folder) for name, folder in folders.items()}
    counts = {name: count_files(layout, files) for name, layout in layouts.items()}
    most = max(counts.values(), default=0)
    if not most or most < files_of_yaml(files, load_definitions(settings).layouts):
        return None
    fitting = [name for name, count in counts.items() if count == most]
    if len(fitting) > 1:
        names = " and ".join(fitting)
        raise ExtractError(f"{files.name} fits the layouts {names}; choose one with --layout")
    return layouts[fitting[0]]


def _source_options(settings: Settings) -> StoreOptions:
    """Return the storage options of extracts; by default those of the target."""
    overrides = settings.extract.model_dump(exclude_none=True)
    return StoreOptions(**{**settings.store.model_dump(), **overrides})


@contextmanager
def _private_folder(settings: Settings, beside: Path | None) -> Iterator[Path]:
    """Yield a new private folder, and delete it afterwards.

    Folders of killed processes, whose locks are free, are deleted too.
    """
    parent = settings.run.work if settings.run.work is not None else beside
    with ExitStack() as until_the_end:
        try:
            if parent is not None:
                parent.mkdir(parents=True, exist_ok=True, mode=OWNER)
                _clear_abandoned(parent)
            folder = (parent or Path(gettempdir())) / f"{STAGED}{token_hex(8)}"
            # The lock comes first: a folder without one seems abandoned.
            lock = until_the_end.enter_context(FileLock(f"{folder}.lock"))
            until_the_end.callback(Path(lock.lock_file).unlink, missing_ok=True)
            folder.mkdir(mode=OWNER)
            until_the_end.callback(shutil.rmtree, folder, ignore_errors=True)
        except OSError as error:
            raise StoreError(
                f"{parent or gettempdir()}: no work folder can be made there: {error.strerror}"
            ) from None
        yield folder


def _clear_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{STAGED}*/"):
        with suppress(Timeout, OSError), FileLock(f"{folder}.lock", blocking=False) as lock:
            shutil.rmtree(folder, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)
