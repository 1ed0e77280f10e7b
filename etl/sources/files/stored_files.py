"""Where extracts lie: folders, and buckets whose objects are read in the state that was listed."""

from __future__ import annotations

import errno
import io
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from etl.errors import CommitConflict, ExtractError, NotFound, StoreError, UsageError
from etl.storage.port import StoreOptions

if TYPE_CHECKING:
    from etl.storage.s3 import S3Object, S3Prefix
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Protocol

FIRST_BYTES: Final = 256 << 10
"""Size of the first request at a place: most looks are at a file's beginning or end."""
MOST_BYTES: Final = 8 << 20
"""Largest size of a request. It doubles as long as reading goes on where it ended."""
_IS_FOLDER: Final = "is a folder, but its name is that of a file"


class ObjectFiles:
    """The objects directly under a prefix of a bucket.

    Args:
        address: `s3://bucket/prefix`, or `s3://bucket/prefix/object` for that object alone.
        options: endpoint, region, profile, limits.
        alone: whether the address is an object's.

    Raises:
        UsageError: the address has no bucket.
        ExtractError: nothing lies there.
        StoreError: the server refused, or did not answer.
    """

    def __init__(self, address: str, options: StoreOptions, *, alone: bool = False) -> None:
        self._bucket, _, key = address.removeprefix("s3://").strip("/").partition("/")
        if not self._bucket:
            raise UsageError(f"{address}: there is no bucket in it; write s3://bucket/prefix")
        self._name, self._options = address, options
        self._prefix, _, only = key.rpartition("/") if alone else (key, "", "")
        listed = [self._objects.find(only)] if alone else list(self._objects.objects())
        self._found = {item.name: item for item in listed if item is not None}
        if not self._found:
            raise ExtractError(f"{address} holds no objects; name the prefix of the extract")

    def __getstate__(self) -> dict[str, object]:
        """Leave out the client: each process makes one."""
        return {name: value for name, value in self.__dict__.items() if name != "_objects"}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Share the client of those that came to this process before: jobs bring a copy each."""
        self.__dict__.update(state)
        self._objects = _shared(self._bucket, self._prefix, self._options)

    @cached_property
    def _objects(self) -> S3Prefix:
        return _opened(self._bucket, self._prefix, self._options)

    @property
    def name(self) -> str:
        """The address."""
        return self._name

    def entries(self) -> tuple[StoredFile, ...]:
        """Return what lies directly under the prefix, folders of objects included."""
        return tuple(
            StoredFile(item.name, item.bytes, _IS_FOLDER if item.is_folder else "")
            for item in sorted(self._found.values(), key=lambda item: item.name)
        )

    def open(self, name: str) -> BinaryIO:
        """Return the bytes of an object."""
        entry = self._found.get(name)
        if entry is None:
            raise FileNotFoundError(2, "there is no such object", name)
        return cast("BinaryIO", _ObjectStream(self._objects, entry))


def _opened(bucket: str, prefix: str, options: StoreOptions) -> S3Prefix:
    from etl.storage.s3 import S3Prefix  # boto3 is slow to load

    return S3Prefix(bucket, prefix, options)


_shared = lru_cache(maxsize=1)(_opened)


@dataclass(slots=True)
class _Window:
    start: int = 0
    data: bytes = b""

    @property
    def end(self) -> int:
        return self.start + len(self.data)


class _ObjectStream(io.RawIOBase):
    """The bytes of an object, asked for in ranges as they are read."""

    def __init__(self, objects: S3Prefix, item: S3Object) -> None:
        super().__init__()
        self._objects, self._item = objects, item
        self._at, self._window, self._ask = 0, _Window(), FIRST_BYTES

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._item.bytes}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(self._item.bytes - self._at, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        parts = []
        while wanted:
            if not self._window.start <= self._at < self._window.end:
                self._fill(wanted)
            begin = self._at - self._window.start
            part = self._window.data[begin : begin + wanted]
            parts.append(part)
            self._at += len(part)
            wanted -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def _fill(self, wanted: int) -> None:
        """Ask for what begins at the present place, and some more."""
        goes_on = self._at == self._window.end and self._window.data
        self._ask = min(2 * self._ask, MOST_BYTES) if goes_on else FIRST_BYTES
        length = min(max(self._ask, min(wanted, MOST_BYTES)), self._item.bytes - self._at)
        try:
            data = self._objects.part(self._item, self._at, length)
        except (CommitConflict, NotFound):
            raise ExtractError(
                f"{self._item.name} was replaced or deleted in the bucket while it was read; "
                "wait until the extract is complete and run again"
            ) from None
        if len(data) != length:
            raise StoreError(
                f"{self._objects.name}: {len(data)} bytes of {self._item.name} came where "
                f"{length} were asked for"
            )
        self._window = _Window(self._at, data)


@dataclass(frozen=True, slots=True)
class TableVersion:
    """The table that the rows of a raw file were taken from, and which state of it.

    Attributes:
        kind: `delta`, `iceberg`, `sql`, `query` over files of the extract, or `layers`.
        table: the table's location or name; in SQL the name of its raw file; the query's file.
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
class QueriedFile:
    """A file of the payer that queries read.

    Attributes:
        name: its name inside the extract.
        bytes: its size.
        sha256: its hash, in lower-case hex.
        rows: how many rows were read from it.
        unread_columns: number and header of each column that no query reads.
        unused_rows: the rows that are behind no row of a result, ascending, if some are behind one.
    """

    name: str
    bytes: int
    sha256: str
    rows: int
    unread_columns: tuple[tuple[int, str], ...] = ()
    unused_rows: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplacedFiles:
    """The files of an extract, some of them replaced by those that they were staged as.

    Attributes:
        files: those of the extract.
        staged: those that stand for the replaced ones.
        replaced: names of the replaced ones.
        queried: those behind the staged ones, where queries or a merge of extracts made these.
    """

    files: ExtractFiles
    staged: FolderFiles
    replaced: frozenset[str]
    queried: tuple[QueriedFile, ...] = ()

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


def disk_error(error: OSError) -> StoreError:
    """Return the error of a work folder that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError("the disk of the work folder is full; free some space and run again")
    return StoreError(f"the work folder cannot be written: {error.strerror}")
