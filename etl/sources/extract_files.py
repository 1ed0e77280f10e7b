"""The port for the raw files of an extract: what lies there, and how it is opened.

A folder and a prefix of object storage are read where they lie. Archives, workbooks and tables are
staged first: their content becomes files of a private folder, which is read like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from etl.errors import ExtractError


@dataclass(frozen=True, slots=True)
class TableVersion:
    """The table that the rows of a raw file were taken from, and which state of it.

    Attributes:
        kind: `delta`, `iceberg` or `sql`.
        table: the table's location or name; of a query the name of its raw file.
        version: of a Delta table, or the snapshot of an Iceberg table: naming it reads the same
            rows again. Empty for SQL, where the hash of the rows is all there is.
    """

    kind: str
    table: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An entry of an extract.

    Attributes:
        name: its name inside the extract.
        bytes: its size.
        problem: what it is where it is no file that can be read, as `is a folder, …`; else "".
        origin: the table that its rows were taken from; None where it is a file itself.
    """

    name: str
    bytes: int
    problem: str = ""
    origin: TableVersion | None = None


class ExtractFiles(Protocol):
    """The files of an extract, wherever they lie. It can be pickled: every process opens files."""

    @property
    def name(self) -> str:
        """The name in messages: that which the caller gave."""

    def entries(self) -> tuple[StoredFile, ...]:
        """Return what lies there, in the order of the names.

        Raises:
            ExtractError: there is no such extract, or it cannot be listed.
            StoreError: storage refused, or did not answer.
        """

    def open(self, name: str) -> BinaryIO:
        """Return the bytes of a file, which can be sought in.

        They are those of one state of the file: where it is replaced meanwhile, reading fails.

        Raises:
            OSError: it cannot be opened; so where it is read.
            StoreError: storage refused, or did not answer; so where it is read.
            ExtractError: it was replaced while it was read.
        """


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The files of a folder.

    Attributes:
        folder: the folder.
        staged_from: what its files were made from, for messages; "" where it is the extract itself.
        origins: file name -> the table that its rows were taken from.
    """

    folder: Path
    staged_from: str = ""
    origins: Mapping[str, TableVersion] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The path, or what was staged."""
        return self.staged_from or str(self.folder)

    def entries(self) -> tuple[StoredFile, ...]:
        """Return what lies in the folder."""
        try:
            paths = sorted(self.folder.iterdir(), key=lambda path: path.name)
            return tuple(self._entry(path) for path in paths)
        except OSError as error:
            raise ExtractError(f"{self.name} cannot be listed: {error.strerror}") from None

    def open(self, name: str) -> BinaryIO:
        """Return the bytes of a file."""
        return (self.folder / name).open("rb")

    def _entry(self, path: Path) -> StoredFile:
        problem = _problem(path)
        size = 0 if problem else path.stat().st_size
        return StoredFile(path.name, size, problem, self.origins.get(path.name))


@dataclass(frozen=True, slots=True)
class ReplacedFiles:
    """The files of an extract, some of them replaced by those that they were staged as.

    Attributes:
        files: those of the extract.
        staged: those that stand for the replaced ones.
        replaced: names of the replaced ones.
    """

    files: ExtractFiles
    staged: FolderFiles
    replaced: frozenset[str]

    @property
    def name(self) -> str:
        """The name of the extract."""
        return self.files.name

    def entries(self) -> tuple[StoredFile, ...]:
        """Return the entries, staged ones included."""
        kept = [entry for entry in self.files.entries() if entry.name not in self.replaced]
        return tuple(sorted([*kept, *self.staged.entries()], key=lambda entry: entry.name))

    def open(self, name: str) -> BinaryIO:
        """Return the bytes of a file."""
        is_staged = any(entry.name == name for entry in self.staged.entries())
        return (self.staged if is_staged else self.files).open(name)


def _problem(path: Path) -> str:
    """Return what an entry is that is no regular file: it may block, never end, or hide a loss."""
    if path.is_file():
        return ""
    if path.is_dir():
        return "is a folder, but its name is that of a file"
    if not path.exists():
        what = "a link that leads nowhere"
    else:
        what = "a pipe" if path.is_fifo() else "a socket" if path.is_socket() else "a device"
    return f"is {what}; put the file itself into the extract"
