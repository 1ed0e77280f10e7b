"""Where extracts lie, how their files are written, and what their manifest says of them.

Extracts lie in folders, or in buckets whose objects are read in the state that was listed. Files
that payers send are often not written as their endings say: each physical form, detected from the
first bytes, has a name here, so that it is reported as what it is, not as a layout that does not
fit. `manifest.json` is what the sender says that is in an extract.
"""

from __future__ import annotations

import csv
import errno
import io
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    BinaryIO,
    Final,
    Literal,
    Protocol,
    TypeAlias,
    cast,
)

from etl.documents.json_text import read_json
from etl.documents.models import Check, ErrorIds, Given, Mistake, Model, RawText, Whole, read_as
from etl.documents.yaml_text import Map
from etl.errors import CommitConflict, ExtractError, MappingError, NotFound, StoreError, UsageError
from etl.storage.port import StoreOptions

if TYPE_CHECKING:
    from etl.storage.s3 import S3Object, S3Prefix


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
            raise UsageError(f"{address}: it has no bucket; write s3://bucket/prefix")
        self._name, self._options = address, options
        self._prefix, _, only = key.rpartition("/") if alone else (key, "", "")
        listed = [self._objects.find(only)] if alone else list(self._objects.objects())
        self._found = {item.name: item for item in listed if item is not None}
        if not self._found:
            raise ExtractError(f"{address} contains no objects; use the prefix of the extract")

    def __getstate__(self) -> dict[str, object]:
        """Leave out the client: each process makes one."""
        return {name: value for name, value in self.__dict__.items() if name != "_objects"}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Share the client of those that came to this process before: jobs bring a copy each."""
        self.__dict__.update(state)
        self._objects = _shared(self._bucket, self._prefix, self._options)

    @cached_property
    def _objects(self) -> S3Prefix:
        return _open_prefix(self._bucket, self._prefix, self._options)

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
        return cast("BinaryIO", RangeStream(self._objects, entry))


def _open_prefix(bucket: str, prefix: str, options: StoreOptions) -> S3Prefix:
    from etl.storage.s3 import S3Prefix  # boto3 is slow to load

    return S3Prefix(bucket, prefix, options)


_shared = lru_cache(maxsize=1)(_open_prefix)


class RangeSource(Protocol):
    """Has files of which it gives ranges."""

    @property
    def name(self) -> str:
        """The name in messages."""

    def part(self, item: Any, start: int, length: int) -> bytes:
        """Return some bytes of a file.

        Raises:
            CommitConflict: it was replaced.
            NotFound: it was deleted.
        """


class RangeStream(io.RawIOBase):
    """The bytes of a file, asked for in ranges as they are read.

    Args:
        objects: where the file is.
        item: what that knows it by; it has a name and a size.
    """

    def __init__(self, objects: RangeSource, item: S3Object | StoredFile) -> None:
        super().__init__()
        self._objects, self._item = objects, item
        self._at, self._ask = 0, FIRST_BYTES
        self._start, self._data = 0, b""  # a part that is held, and where it begins

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
            if not self._start <= self._at < self._start + len(self._data):
                self._read_ahead(wanted)
            begin = self._at - self._start
            part = self._data[begin : begin + wanted]
            parts.append(part)
            self._at += len(part)
            wanted -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def _read_ahead(self, wanted: int) -> None:
        """Read from the current position, and some bytes more."""
        goes_on = self._data and self._at == self._start + len(self._data)
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
                f"{self._objects.name}: {len(data)} bytes of {self._item.name} arrived, "
                f"but {length} were requested"
            )
        self._start, self._data = self._at, data


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
class DataFile:
    """A Parquet file of a lake's table, as the table's log describes it.

    Attributes:
        columns: all columns of the table, in order; one that the file lacks is empty.
        partition: partition columns, each with its text in all rows of the file.
    """

    columns: tuple[str, ...]
    partition: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An entry of an extract.

    Attributes:
        name: its name inside the extract.
        bytes: its size.
        problem: what it is where it is no file that can be read, as `is a folder, …`; else "".
        origin: the table that its rows were taken from; None where it is a file itself.
        data: what the table's log says of it; None where it is no data file of a table.
    """

    name: str
    bytes: int
    problem: str = ""
    origin: TableVersion | None = None
    data: DataFile | None = None


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
        problem = _irregular_file_problem(path)
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


def _irregular_file_problem(path: Path) -> str:
    """Return why a path is not a regular file; empty if it is one.

    Reading such an entry could block, never end, or hide that data is missing.
    """
    if path.is_file():
        return ""
    if path.is_dir():
        return "is a folder, but its name is that of a file"
    if not path.exists():
        file_type = "a broken link"
    else:
        file_type = "a pipe" if path.is_fifo() else "a socket" if path.is_socket() else "a device"
    return f"is {file_type}; put the file itself into the extract"


def disk_error(error: OSError) -> StoreError:
    """Return the error of a work folder that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(
            "the disk of the work folder is full; free some space, and run the command again"
        )
    return StoreError(f"the work folder cannot be written: {error.strerror}")


PAGE: Final = "docs/layouts.md, Drafting a layout"
HEAD_BYTES: Final = 1 << 16
"""Number of bytes of a file that are examined."""
DELIMITER_NAMES: Final = {",": "commas", "|": "|", ";": ";", "\t": "tabs", "~": "~", "^": "^"}
DELIMITERS: Final = tuple(DELIMITER_NAMES)
ENDING_OF: Final = {",": ".csv", "|": ".psv", "\t": ".tsv"}
"""What stands between the cells of a file -> the ending that says so."""
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
OTHER_FORMS: Final = frozenset({"xlsx", "xls", "zip", "tar", "gzip", "zstd", "UTF-16", "PDF"})
"""Kinds of files that hold no delimited text, whatever they are called."""
_REMOTE: Final = re.compile(r"(?P<scheme>s3|gs|gcs|az|abfss?|wasbs?|sftp|https?):/+(?P<rest>.*)")
_VALUE: Final = re.compile(r"[-+$(]*\d[\d.,/:-]*\)?|\d{1,2}-[A-Za-z]{3}-\d{2,4}")
_LINES: Final = 50
_MOST_ALIKE: Final = 0.9
_FEWEST_EVEN: Final = 3
_SHORTEST_EVEN: Final = 20


@dataclass(frozen=True, slots=True)
class Physical:
    """The physical form of a file.

    Attributes:
        kind: `delimited`, `fixed width`, `one column`, `UTF-16`, `xlsx`, `zip`, `tar`, `gzip`,
            `zstd`, `parquet`, `JSON`, `XML`, `PDF`, `binary` or `empty`.
        delimiter: what stands between the cells of a delimited file; "" otherwise.
    """

    kind: str
    delimiter: str = ""


def recognize(head: bytes) -> Physical:
    """Return the physical form of a file, given its first bytes, unpacked where it is gzip."""
    kind = _file_kind(head)
    if kind:
        return Physical(kind)
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
    lines = [line for line in text.splitlines()[:_LINES] if line.strip()]
    if len(head) >= HEAD_BYTES and len(lines) > 1:
        lines.pop()  # it may be cut off
    start = text.lstrip()[:1]
    if start in ("{", "[") and '"' in text[:200]:
        return Physical("JSON")
    if start == "<":
        return Physical("XML")
    delimiter = delimiter_of(lines)
    if delimiter and not is_fixed_width(lines):
        return Physical("delimited", delimiter)
    if len({len(line) for line in lines}) == 1 and is_fixed_width(lines):
        return Physical("fixed width")
    return Physical("one column")


def _file_kind(head: bytes) -> str:
    if not head:
        return "empty"
    if head.startswith(b"PK\x03\x04"):
        return "xlsx" if b"xl/" in head or b"[Content_Types].xml" in head[:200] else "zip"
    signatures = {
        b"\x1f\x8b": "gzip",
        b"\x28\xb5\x2f\xfd": "zstd",
        b"PAR1": "parquet",
        b"%PDF": "PDF",
        b"\xd0\xcf\x11\xe0": "xls",
    }
    for signature, kind in signatures.items():
        if head.startswith(signature):
            return kind
    if head.startswith(_UTF16):
        return "UTF-16"
    if head[257:262] == b"ustar":
        return "tar"
    zeros = head[:4096].count(0)
    if zeros:
        # Text of one byte a character in UTF-16 is half NUL bytes.
        return "UTF-16" if 0.3 < zeros / len(head[:4096]) < 0.6 else "binary"
    return ""


def delimiter_of(lines: list[str]) -> str:
    """Return what stands between the cells of lines; "" where nothing does so on all of them."""
    candidates: list[tuple[float, int, str]] = []
    for delimiter in DELIMITERS:
        counts = cell_counts(lines, delimiter)
        if not counts:
            continue
        cells, often = counts.most_common(1)[0]
        if cells > 1:
            candidates.append((often / counts.total(), cells, delimiter))
    steady = [candidate for candidate in candidates if candidate[0] >= _MOST_ALIKE] or candidates
    return max(steady, key=lambda candidate: (candidate[1], candidate[0]))[2] if steady else ""


def is_even(lines: Sequence[str]) -> bool:
    """Return whether most lines are of one length, which is no short one."""
    if len(lines) < _FEWEST_EVEN:
        return False
    length, often = Counter(map(len, lines)).most_common(1)[0]
    return length >= _SHORTEST_EVEN and often >= _MOST_ALIKE * len(lines)


def is_fixed_width(lines: Sequence[str]) -> bool:
    """Return whether lines are padded to one length and no delimiter stands at fixed places.

    Commas in names do so at other places on each line; those between padded cells do not.
    """
    if not is_even(lines):
        return False
    length = Counter(map(len, lines)).most_common(1)[0][0]
    even = [line for line in lines if len(line) == length]
    for delimiter in DELIMITERS:
        places = [{at for at, char in enumerate(line) if char == delimiter} for line in even]
        if set.intersection(*places):
            return False
        if any(places) and sum("  " in line for line in even) < 0.5 * len(even):
            return False
    return True


def cell_counts(lines: list[str], delimiter: str) -> Counter[int]:
    """Return how many lines have how many cells."""
    try:
        return Counter(len(row) for row in csv.reader(lines, delimiter=delimiter) if row)
    except csv.Error:
        return Counter(line.count(delimiter) + 1 for line in lines)


def said_of(physical: Physical, name: str, ending_says: str) -> str:
    """Return what a file is, and what to do, where it is not written as its ending says; else "".

    Args:
        physical: how it is written.
        name: its name.
        ending_says: what stands between its cells by its ending; "" where that says nothing.
    """
    is_parquet = name.lower().endswith(".parquet")
    rest = {
        "xlsx": "is an Excel workbook next to files of another format; save each sheet "
        "as CSV UTF-8",
        "xls": "is an old Excel workbook, or one with a password; save each sheet as CSV UTF-8",
        "zip": "is a ZIP archive inside an extract; use the archive itself as the extract, "
        "or unpack it",
        "tar": "is a tar archive inside an extract; use the archive itself as the extract, "
        "or unpack it",
        "gzip": "is gzip data; add .gz to its name after .csv, .psv, or .tsv",
        "zstd": "is Zstandard data; add .zst to its name after .csv, .psv, or .tsv",
        "UTF-16": f"is text in UTF-16; write it as UTF-8 (iconv -f UTF-16 -t UTF-8 {name})",
        "JSON": "is JSON, not a delimited file",
        "XML": "is XML, not a delimited file",
        "PDF": "is a PDF, not a delimited file",
        "binary": "is not text: it contains NUL bytes; export it as CSV",
        "parquet": "" if is_parquet else "is Parquet; change its extension to .parquet",
        "fixed width": "has columns of fixed width without a delimiter; use a layout with "
        "fixed_width",
    }.get(physical.kind, "")
    if rest:
        return f"{name} {rest}"
    if physical.kind == "delimited" and physical.delimiter != ending_says:
        between, ending = physical.delimiter, "but its extension does not say so"
        if ending_says:
            ending = f"but its extension says {DELIMITER_NAMES[ending_says]}"
        advised = f'use a layout with delimiter: "{between}"'
        if between in ENDING_OF:
            advised = f"rename it to {ENDING_OF[between]}"
        return f"{name} has {DELIMITER_NAMES[between]} between its cells, {ending}; {advised}"
    return ""


def lacks_header(head: bytes, physical: Physical) -> bool:
    """Return whether the first row of a delimited file holds values: numbers or dates."""
    line = head.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].decode("utf-8", errors="replace")
    row = next(csv.reader([line.strip()], delimiter=physical.delimiter), [])
    return any(_VALUE.fullmatch(cell.strip()) for cell in row)


def remote_address(text: str) -> str:
    """Return the remote address that a path stands for; "" for a local path."""
    match = _REMOTE.match(text)
    return f"{match['scheme']}://{match['rest']}" if match else ""


def advice(extract: str) -> str:
    """Return the next step for files that are not understood."""
    return f"`cpcds doctor {shlex.quote(extract)}` examines every file and drafts a layout ({PAGE})"


MANIFEST_NAME: Final = "manifest.json"
NO_IDS: Final = ErrorIds(key="", missing="", value="")
"""No ids: errors of an extract are shown as messages alone."""

Kind = Literal["full", "delta"]


def _day(text: str, _context: Any) -> date:
    try:
        if len(text) != len("YYYY-MM-DD"):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise Mistake("", "{key} must be a day, as YYYY-MM-DD") from None


def filled_text(text: str, _context: Any) -> str:
    """Return a text without the blanks around it; it must not be blank."""
    if not text.strip():
        raise Mistake("", "{key} must not be blank")
    return text.strip()


def _count(rows: int, _context: Any) -> int:
    if rows < 0:
        raise Mistake("", "{key} must be a whole number, 0 or more")
    return rows


def _hash(text: str, _context: Any) -> str | None:
    return text.lower() or None


def _files(files: dict[str, FileClaim], _context: Any) -> Mapping[str, FileClaim]:
    return MappingProxyType(files)


FilledText: TypeAlias = Annotated[RawText, Check(filled_text)]
MaybeFilledText: TypeAlias = Annotated[str | None, Given(FilledText)]


def _without_nulls(value: Any, *but: str) -> Any:
    if not isinstance(value, Map):
        return value
    return value.without(*(key for key in value if value[key] is None and key not in but))


@dataclass(frozen=True, slots=True)
class FileClaim(Model):
    """A manifest's entry of one file; None where it says nothing.

    Attributes:
        rows: how many rows it has, the header not counted.
        sha256: its hash, in lower-case hex.
    """

    rows: Annotated[int | None, Given(Annotated[Whole, Check(_count)])] = None
    sha256: Annotated[str | None, Given(Annotated[RawText, Check(_hash)])] = None

    @classmethod
    def normalize(cls, value: Any) -> Any:
        """Return the entry without its null keys."""
        return _without_nulls(value)


@dataclass(frozen=True, slots=True)
class ExtractManifest(Model):
    """A manifest; None where it says nothing.

    Attributes:
        layout: name of the layout.
        kind: whether the extract is everything, or what changed.
        as_of: day of the state that the extract holds.
        payer: name of the payer, as reports show it.
        files: file name -> what the manifest says of it; empty where no file is listed.
    """

    layout: MaybeFilledText = None
    kind: Kind = "full"
    as_of: Annotated[date | None, Given(Annotated[FilledText, Check(_day)])] = None
    payer: MaybeFilledText = None
    files: Annotated[Mapping[str, FileClaim], Given(dict[str, FileClaim]), Check(_files)] = field(
        default_factory=lambda: MappingProxyType({})
    )

    @classmethod
    def normalize(cls, value: Any) -> Any:
        """Return the manifest without its null keys."""
        return _without_nulls(value, "kind")


def read_manifest(files: ExtractFiles) -> ExtractManifest:
    """Return the manifest of an extract that has one.

    Raises:
        ExtractError: it is no JSON, or no valid manifest: every mistake, with line and column.
        StoreError: storage refused, or did not answer.
    """
    try:
        with files.open(MANIFEST_NAME) as stream:
            document = read_json(stream.read().decode("utf-8-sig"), MANIFEST_NAME)
        return read_as(ExtractManifest, document, MANIFEST_NAME, NO_IDS)
    except OSError as error:
        raise ExtractError(f"{MANIFEST_NAME} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ExtractError(f"{MANIFEST_NAME} is not UTF-8; write it as UTF-8") from None
    except UsageError as error:
        raise ExtractError(str(error)) from None
    except MappingError as error:
        raise mistakes_of(error) from None


def mistakes_of(error: MappingError) -> ExtractError:
    """Return the error of a part of an extract that people wrote: a sentence for each mistake."""
    return ExtractError("\n".join(mistake.sentence for mistake in error.every))
