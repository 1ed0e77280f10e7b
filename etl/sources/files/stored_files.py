"""The storage of extracts, the physical formats of their files, and their manifest.

Extracts are in folders, or in buckets whose objects are read in the state that was listed. Payers
often send files whose extension is wrong: this module recognizes formats by the first bytes, so
that messages name the format instead of a layout that doesn't fit. `manifest.json` is the sender's
description of an extract.
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
"""Size of the first request at a position: most reads are at a file's start or end."""
MOST_BYTES: Final = 8 << 20
"""Maximum size of a request. The size doubles during sequential reads."""
_IS_FOLDER: Final = "is a folder, but its name is that of a file"


class ObjectFiles:
    """The objects directly under a prefix of a bucket.

    Args:
        address: `s3://bucket/prefix`, or `s3://bucket/prefix/object` for a single object.
        options: endpoint, region, profile, limits.
        alone: whether the address is an object's.

    Raises:
        UsageError: the address has no bucket.
        ExtractError: there are no objects.
        StoreError: the server refused, or didn't answer.
    """

    def __init__(self, address: str, options: StoreOptions, *, alone: bool = False) -> None:
        self._bucket, _, key = address.removeprefix("s3://").strip("/").partition("/")
        if not self._bucket:
            raise UsageError(f"{address}: it has no bucket; write s3://bucket/prefix")
        self._name, self._options = address, options
        self._prefix, _, object_name = key.rpartition("/") if alone else (key, "", "")
        items = [self._objects.find(object_name)] if alone else list(self._objects.objects())
        self._found = {item.name: item for item in items if item is not None}
        if not self._found:
            raise ExtractError(f"{address} contains no objects; use the prefix of the extract")

    def __getstate__(self) -> dict[str, object]:
        """Omit the client: each process creates its own."""
        return {name: value for name, value in self.__dict__.items() if name != "_objects"}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Share one client among the copies that this process receives with its jobs."""
        self.__dict__.update(state)
        self._objects = _shared_prefix(self._bucket, self._prefix, self._options)

    @cached_property
    def _objects(self) -> S3Prefix:
        return _open_prefix(self._bucket, self._prefix, self._options)

    @property
    def name(self) -> str:
        """The address."""
        return self._name

    def entries(self) -> tuple[StoredFile, ...]:
        """Return the entries directly under the prefix, including folders."""
        return tuple(
            StoredFile(item.name, item.bytes, _IS_FOLDER if item.is_folder else "")
            for item in sorted(self._found.values(), key=lambda item: item.name)
        )

    def open(self, name: str) -> BinaryIO:
        """Open an object."""
        entry = self._found.get(name)
        if entry is None:
            raise FileNotFoundError(2, "there is no such object", name)
        return cast("BinaryIO", RangeStream(self._objects, entry))


def _open_prefix(bucket: str, prefix: str, options: StoreOptions) -> S3Prefix:
    from etl.storage.s3 import S3Prefix  # boto3 is slow to load

    return S3Prefix(bucket, prefix, options)


_shared_prefix = lru_cache(maxsize=1)(_open_prefix)


class RangeSource(Protocol):
    """Something that reads byte ranges of files."""

    @property
    def name(self) -> str:
        """The name in messages."""

    def read_range(self, item: Any, start: int, length: int) -> bytes:
        """Read a byte range of a file.

        Raises:
            CommitConflict: the file was replaced.
            NotFound: the file was deleted.
        """


class RangeStream(io.RawIOBase):
    """A file stream that requests byte ranges as they are read.

    Args:
        objects: the source of the file.
        item: the file's handle in the source, with name and size.
    """

    def __init__(self, objects: RangeSource, item: S3Object | StoredFile) -> None:
        super().__init__()
        self._objects, self._item = objects, item
        self._at, self._ask = 0, FIRST_BYTES
        self._start, self._data = 0, b""  # the buffer, and its offset in the file

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
        remaining = max(self._item.bytes - self._at, 0)
        missing = remaining if size is None or size < 0 else min(size, remaining)
        chunks = []
        while missing:
            if not self._start <= self._at < self._start + len(self._data):
                self._read_ahead(missing)
            offset = self._at - self._start
            chunk = self._data[offset : offset + missing]
            chunks.append(chunk)
            self._at += len(chunk)
            missing -= len(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def _read_ahead(self, wanted: int) -> None:
        """Fill the buffer from the current position."""
        is_sequential = self._data and self._at == self._start + len(self._data)
        self._ask = min(2 * self._ask, MOST_BYTES) if is_sequential else FIRST_BYTES
        length = min(max(self._ask, min(wanted, MOST_BYTES)), self._item.bytes - self._at)
        try:
            data = self._objects.read_range(self._item, self._at, length)
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
    """The table that the rows of a raw file come from, and its version.

    Attributes:
        kind: `delta`, `iceberg`, `sql`, `query` over files of the extract, or `layers`.
        table: the table's location or name; for SQL, the name of its raw file; the query's file.
        version: the version of a Delta table or snapshot of an Iceberg table, with which the same
            rows can be read again. Empty for SQL, which only has the hash of the rows.
    """

    kind: str
    table: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A Parquet file of a lake's table, as the table's log describes it.

    Attributes:
        columns: all columns of the table, in order; those that the file lacks are empty.
        partition: partition columns, each with its value in all rows of the file.
    """

    columns: tuple[str, ...]
    partition: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An entry of an extract.

    Attributes:
        name: its name inside the extract.
        bytes: its size.
        problem: why it isn't a readable file, such as `is a folder, …`; else "".
        origin: the table that its rows come from; None if it is a file of its own.
        data: its entry in the table's log; None if it isn't a data file of a table.
    """

    name: str
    bytes: int
    problem: str = ""
    origin: TableVersion | None = None
    data: DataFile | None = None


class ExtractFiles(Protocol):
    """The files of an extract. Can be pickled, because every process opens files."""

    @property
    def name(self) -> str:
        """The name in messages, as the caller gave it."""

    def entries(self) -> tuple[StoredFile, ...]:
        """Return the entries in the order of their names.

        Raises:
            ExtractError: the extract doesn't exist, or can't be listed.
            StoreError: storage refused, or didn't answer.
        """

    def open(self, name: str) -> BinaryIO:
        """Open a file as a seekable stream.

        The stream reads one version of the file: if the file is replaced, reading fails.

        Raises:
            OSError: the file can't be opened; also raised by reads.
            StoreError: storage refused, or didn't answer; also raised by reads.
            ExtractError: the file was replaced while it was read.
        """


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The files of a folder.

    Attributes:
        folder: the folder.
        staged_from: the source of its staged files, for messages; "" if it is the extract itself.
        origins: file name -> the table that its rows come from.
    """

    folder: Path
    staged_from: str = ""
    origins: Mapping[str, TableVersion] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The path, or the source of the staged files."""
        return self.staged_from or str(self.folder)

    def entries(self) -> tuple[StoredFile, ...]:
        """Return the entries of the folder."""
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
        unused_rows: rows behind no computed row, ascending; empty if no row is behind one.
    """

    name: str
    bytes: int
    sha256: str
    rows: int
    unread_columns: tuple[tuple[int, str], ...] = ()
    unused_rows: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplacedFiles:
    """The files of an extract, some of them replaced by staged files.

    Attributes:
        files: the files of the extract.
        staged: the replacements.
        replaced: names of the replaced files.
        queried: the files behind the staged ones, if queries or a merge of extracts computed them.
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
        """Return the entries, including staged ones."""
        unreplaced = [entry for entry in self.files.entries() if entry.name not in self.replaced]
        return tuple(sorted([*unreplaced, *self.staged.entries()], key=lambda entry: entry.name))

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
    """Return the error for a work folder that can't be written."""
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
"""Delimiter -> extension."""
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
OTHER_FORMS: Final = frozenset({"xlsx", "xls", "zip", "tar", "gzip", "zstd", "UTF-16", "PDF"})
"""Formats that aren't delimited text, whatever the extension."""
_REMOTE: Final = re.compile(r"(?P<scheme>s3|gs|gcs|az|abfss?|wasbs?|sftp|https?):/+(?P<rest>.*)")
_VALUE: Final = re.compile(r"[-+$(]*\d[\d.,/:-]*\)?|\d{1,2}-[A-Za-z]{3}-\d{2,4}")
_SAMPLE_LINES: Final = 50
_MIN_AGREEMENT: Final = 0.9
_MIN_EVEN_LINES: Final = 3
_MIN_EVEN_LENGTH: Final = 20


@dataclass(frozen=True, slots=True)
class PhysicalFormat:
    """The physical format of a file.

    Attributes:
        kind: `delimited`, `fixed width`, `one column`, `UTF-16`, `xlsx`, `zip`, `tar`, `gzip`,
            `zstd`, `parquet`, `JSON`, `XML`, `PDF`, `binary` or `empty`.
        delimiter: the delimiter of a delimited file; "" otherwise.
    """

    kind: str
    delimiter: str = ""


def recognize_format(head: bytes) -> PhysicalFormat:
    """Recognize the format of a file by its first bytes (unpacked if it is gzip)."""
    kind = _file_kind(head)
    if kind:
        return PhysicalFormat(kind)
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
    lines = [line for line in text.splitlines()[:_SAMPLE_LINES] if line.strip()]
    if len(head) >= HEAD_BYTES and len(lines) > 1:
        lines.pop()  # it may be incomplete
    start = text.lstrip()[:1]
    if start in ("{", "[") and '"' in text[:200]:
        return PhysicalFormat("JSON")
    if start == "<":
        return PhysicalFormat("XML")
    delimiter = guess_delimiter(lines)
    if delimiter and not is_fixed_width(lines):
        return PhysicalFormat("delimited", delimiter)
    if len({len(line) for line in lines}) == 1 and is_fixed_width(lines):
        return PhysicalFormat("fixed width")
    return PhysicalFormat("one column")


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
        # Half of the bytes of ASCII text in UTF-16 are NUL.
        return "UTF-16" if 0.3 < zeros / len(head[:4096]) < 0.6 else "binary"
    return ""


def guess_delimiter(lines: list[str]) -> str:
    """Guess the delimiter of some lines; "" if there is none."""
    candidates: list[tuple[float, int, str]] = []
    for delimiter in DELIMITERS:
        counts = count_cells(lines, delimiter)
        if not counts:
            continue
        cells, count = counts.most_common(1)[0]
        if cells > 1:
            candidates.append((count / counts.total(), cells, delimiter))
    steady = [candidate for candidate in candidates if candidate[0] >= _MIN_AGREEMENT] or candidates
    return max(steady, key=lambda candidate: (candidate[1], candidate[0]))[2] if steady else ""


def has_even_lines(lines: Sequence[str]) -> bool:
    """Return whether most lines have the same length, which isn't short."""
    if len(lines) < _MIN_EVEN_LINES:
        return False
    length, count = Counter(map(len, lines)).most_common(1)[0]
    return length >= _MIN_EVEN_LENGTH and count >= _MIN_AGREEMENT * len(lines)


def is_fixed_width(lines: Sequence[str]) -> bool:
    """Return whether lines are padded to one length and have no delimiter at fixed positions.

    Commas in names are at different positions on each line; commas between padded cells aren't.
    """
    if not has_even_lines(lines):
        return False
    length = Counter(map(len, lines)).most_common(1)[0][0]
    even_lines = [line for line in lines if len(line) == length]
    for delimiter in DELIMITERS:
        positions = [{i for i, char in enumerate(line) if char == delimiter} for line in even_lines]
        if set.intersection(*positions):
            return False
        if any(positions) and sum("  " in line for line in even_lines) < 0.5 * len(even_lines):
            return False
    return True


def count_cells(lines: list[str], delimiter: str) -> Counter[int]:
    """Count the lines by their number of cells."""
    try:
        return Counter(len(row) for row in csv.reader(lines, delimiter=delimiter) if row)
    except csv.Error:
        return Counter(line.count(delimiter) + 1 for line in lines)


def describe_problem(physical: PhysicalFormat, name: str, ending_says: str) -> str:
    """Explain a file whose format isn't that of its extension, and what to do; else "".

    Args:
        ending_says: the delimiter that its extension implies; "" for none.
    """
    is_parquet = name.lower().endswith(".parquet")
    explanation = {
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
        "JSON": "is JSON; use a layout in SQL with `json`",
        "XML": "is XML, not a delimited file",
        "PDF": "is a PDF, not a delimited file",
        "binary": "is not text: it contains NUL bytes; export it as CSV",
        "parquet": "" if is_parquet else "is Parquet; change its extension to .parquet",
        "fixed width": "has columns of fixed width without a delimiter; use a layout with "
        "fixed_width",
    }.get(physical.kind, "")
    if explanation:
        return f"{name} {explanation}"
    if physical.kind == "delimited" and physical.delimiter != ending_says:
        between, ending = physical.delimiter, "but its extension does not say so"
        if ending_says:
            ending = f"but its extension says {DELIMITER_NAMES[ending_says]}"
        advised = f'use a layout with delimiter: "{between}"'
        if between in ENDING_OF:
            advised = f"rename it to {ENDING_OF[between]}"
        return f"{name} has {DELIMITER_NAMES[between]} between its cells, {ending}; {advised}"
    return ""


def lacks_header(head: bytes, physical: PhysicalFormat) -> bool:
    """Return whether the first row of a delimited file has values: numbers or dates."""
    line = head.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].decode("utf-8", errors="replace")
    row = next(csv.reader([line.strip()], delimiter=physical.delimiter), [])
    return any(_VALUE.fullmatch(cell.strip()) for cell in row)


def remote_address(text: str) -> str:
    """Normalize a remote address; "" for a local path."""
    match = _REMOTE.match(text)
    return f"{match['scheme']}://{match['rest']}" if match else ""


def doctor_advice(extract: str) -> str:
    """Return the next step if files aren't recognized."""
    return f"`cpcds doctor {shlex.quote(extract)}` examines every file and drafts a layout ({PAGE})"


MANIFEST_NAME: Final = "manifest.json"
NO_IDS: Final = ErrorIds(key="", missing="", value="")
"""No ids: errors of an extract are only messages."""

Kind = Literal["full", "delta"]


def _parse_day(text: str, _context: Any) -> date:
    try:
        if len(text) != len("YYYY-MM-DD"):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise Mistake("", "{key} must be a day, as YYYY-MM-DD") from None


def strip_text(text: str, _context: Any) -> str:
    """Strip a text that must not be blank."""
    if not text.strip():
        raise Mistake("", "{key} must not be blank")
    return text.strip()


def _check_count(rows: int, _context: Any) -> int:
    if rows < 0:
        raise Mistake("", "{key} must be a whole number, 0 or more")
    return rows


def _parse_hash(text: str, _context: Any) -> str | None:
    return text.lower() or None


def _freeze(files: dict[str, ManifestEntry], _context: Any) -> Mapping[str, ManifestEntry]:
    return MappingProxyType(files)


FilledText: TypeAlias = Annotated[RawText, Check(strip_text)]
MaybeFilledText: TypeAlias = Annotated[str | None, Given(FilledText)]


def _drop_nulls(value: Any, *keep: str) -> Any:
    if not isinstance(value, Map):
        return value
    return value.without(*(key for key in value if value[key] is None and key not in keep))


@dataclass(frozen=True, slots=True)
class ManifestEntry(Model):
    """A manifest's entry of a file; None for missing keys.

    Attributes:
        rows: number of rows, without the header.
        sha256: its hash, in lower-case hex.
    """

    rows: Annotated[int | None, Given(Annotated[Whole, Check(_check_count)])] = None
    sha256: Annotated[str | None, Given(Annotated[RawText, Check(_parse_hash)])] = None

    @classmethod
    def normalize(cls, value: Any) -> Any:
        """Return the entry without its null keys."""
        return _drop_nulls(value)


@dataclass(frozen=True, slots=True)
class ExtractManifest(Model):
    """A manifest; None for missing keys.

    Attributes:
        layout: name of the layout.
        kind: a full extract, or a delta with changes.
        as_of: the day of the extract's data.
        payer: name of the payer, as reports show it.
        files: file name -> its entry; empty if no file is listed.
    """

    layout: MaybeFilledText = None
    kind: Kind = "full"
    as_of: Annotated[date | None, Given(Annotated[FilledText, Check(_parse_day)])] = None
    payer: MaybeFilledText = None
    files: Annotated[
        Mapping[str, ManifestEntry], Given(dict[str, ManifestEntry]), Check(_freeze)
    ] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def normalize(cls, value: Any) -> Any:
        """Return the manifest without its null keys."""
        return _drop_nulls(value, "kind")


def read_manifest(files: ExtractFiles) -> ExtractManifest:
    """Read the manifest of an extract.

    Raises:
        ExtractError: the manifest isn't valid JSON or has mistakes; the error lists all of them.
        StoreError: storage refused, or didn't answer.
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
        raise extract_error(error) from None


def extract_error(error: MappingError) -> ExtractError:
    """Convert to an error of the extract: one sentence per mistake."""
    return ExtractError("\n".join(mistake.sentence for mistake in error.every))
