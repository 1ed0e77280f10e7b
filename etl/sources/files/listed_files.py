"""List the files of an extract, with their formats, headers, hashes and split points.

A large delimited file is split at row boundaries, which are found while it is hashed. A line end
with an even number of quotes before it ends a row, unless there is a quote inside an unquoted cell
(an inch mark). So split points are good guesses, and the reader of a span checks whether it ended
as expected (`spans.SpanMismatch`). The number of rows is an equally good guess. It is counted
without a parser, so that it shows if a parser lost rows.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from etl.errors import ExtractError
from etl.sources.files.stored_files import (
    ENDING_OF,
    HEAD_BYTES,
    MANIFEST_NAME,
    OTHER_FORMS,
    DataFile,
    ExtractFiles,
    FolderFiles,
    StoredFile,
    TableVersion,
    describe_problem,
    doctor_advice,
    recognize_format,
    remote_address,
)


@dataclass(frozen=True, slots=True)
class FileHashed:
    """Event: a file has been read for its hash.

    Attributes:
        file: its name inside the extract.
        bytes: its size.
    """

    file: str
    bytes: int


@dataclass(frozen=True, slots=True)
class FileProgress:
    """Event: a part of a file has been read.

    Attributes:
        file: its name inside the extract.
        bytes_read: bytes read so far, as stored (so before decompression).
        bytes: its size.
        rows: rows read from it so far.
    """

    file: str
    bytes_read: int
    bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class Partitioned:
    """Event: all files have been read.

    Attributes:
        rows: rows read.
        partitions: how many partitions there are.
    """

    rows: int
    partitions: int


Event = FileHashed | FileProgress | Partitioned
Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Ignore an event."""
    del event


SPLIT_BYTES: Final = 16 << 20
"""Approximate number of bytes between two split points."""
_LINE_END: Final = b"\n"
_QUOTE: Final = b'"'

Offsets = npt.NDArray[np.int64]
SplitPoint = tuple[int, int]
"""Byte offset of the start of a row, and its row number; the header is row 1."""


class SplitFinder:
    """Finds split points in a file's bytes.

    Args:
        split_bytes: approximate number of bytes between two split points.
        quoting: whether cells may be quoted.
    """

    def __init__(self, split_bytes: int, *, quoting: bool = True) -> None:
        self._split_bytes = split_bytes
        self._quoting = quoting
        self._last = _LINE_END
        self._next_split = split_bytes
        self._offset = 0
        self._rows = 0
        self._quotes = 0
        self.split_points: list[SplitPoint] = []

    @property
    def rows(self) -> int:
        """Number of rows so far, including the header and blank rows."""
        return self._rows + (self._last != _LINE_END)

    def feed(self, chunk: bytes) -> None:
        """Process the next bytes of the file."""
        is_split_due = self._offset + len(chunk) > self._next_split
        has_quotes = self._quoting and _QUOTE in chunk
        self._last = chunk[-1:] or self._last
        if is_split_due or has_quotes:
            ends = _byte_positions(chunk, _LINE_END)
            quotes = _byte_positions(chunk, _QUOTE) if has_quotes else ends[:0]
            quotes_before = self._quotes + np.searchsorted(quotes, ends)
            ends = ends[quotes_before % 2 == 0]
            if is_split_due:
                self._add_split_points(ends)
            self._rows += len(ends)
            self._quotes += len(quotes)
        elif self._quotes % 2 == 0:
            self._rows += int(np.count_nonzero(_is_byte(chunk, _LINE_END)))
        self._offset += len(chunk)

    def _add_split_points(self, ends: Offsets) -> None:
        while True:
            index = int(np.searchsorted(ends, self._next_split - self._offset))
            if index == len(ends):
                return
            start = self._offset + int(ends[index]) + 1
            self.split_points.append((start, self._rows + index + 2))
            self._next_split = start + self._split_bytes


class QuoteChecker:
    """Checks that each quote of a text begins or ends a cell, or is doubled.

    If so, quotes open and close cells in turn. Any other quote is in an unquoted cell (an inch
    mark), or follows an unclosed cell. From there on, only a parser can decide.

    Args:
        delimiter: the character between cells.

    Attributes:
        has_stray_quote: whether there was such a quote.
    """

    def __init__(self, delimiter: str) -> None:
        self._ends = np.zeros(256, dtype=np.bool_)
        self._ends[list(b'"\r\n' + delimiter.encode())] = True
        self._tail = _LINE_END * 2
        self._quotes = 0
        self.has_stray_quote = False

    @property
    def has_quotes(self) -> bool:
        """Whether there was a quote."""
        return self._quotes > 0

    def feed(self, chunk: bytes) -> None:
        """Process the next bytes of the text; at its end, pass a line end."""
        if self.has_stray_quote:
            return
        text = self._tail + chunk
        if _QUOTE in text:
            # The first byte has been examined, and the last one's successor is still unknown.
            quotes = _byte_positions(text[1:-1], _QUOTE) + 1
            is_closing = (self._quotes + np.arange(len(quotes))) % 2
            neighbours = np.frombuffer(text, dtype=np.uint8)[quotes + np.where(is_closing, 1, -1)]
            self.has_stray_quote = not self._ends[neighbours].all()
            self._quotes += len(quotes)
        self._tail = text[-2:]


def _byte_positions(chunk: bytes, byte: bytes) -> Offsets:
    return np.flatnonzero(_is_byte(chunk, byte))


def _is_byte(chunk: bytes, byte: bytes) -> npt.NDArray[np.bool_]:
    # Vectorized, because `bytes.count` takes a nanosecond per byte.
    is_equal: npt.NDArray[np.bool_] = np.frombuffer(chunk, dtype=np.uint8) == ord(byte)
    return is_equal


ENDINGS: Final = {ending: delimiter for delimiter, ending in ENDING_OF.items()}
"""Extension of a delimited file -> delimiter."""
TEXT_ENDINGS: Final = (".txt", ".dat")
"""Extensions of text whose delimiter only a layout knows."""
COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd"}
"""Second extension of a delimited file -> compression."""
PARQUET_ENDING: Final = ".parquet"
_LONGEST_ENDING: Final = 6
"""Maximum length of an extension, such as `sha256`."""
BOM: Final = b"\xef\xbb\xbf"
HEADER_BYTES: Final = 1 << 20
"""A header line longer than this is refused."""
CHUNK_BYTES: Final = 1 << 20
FREE_BYTES: Final = 1 << 30
"""Any file may unpack to this size."""
MOST_RATIO: Final = 100
"""Maximum compression ratio, in addition to `FREE_BYTES`; real text has 5 to 30."""


class BrokenCompression(Exception):
    """Compressed data is broken or incomplete."""


COMPRESSION_ERRORS: Final = (BrokenCompression, EOFError, zlib.error, gzip.BadGzipFile)
"""Errors of reading a file with broken compression."""


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file that may contain rows.

    Attributes:
        name: its name inside the extract.
        files: the files of the extract.
        stem: its name without extension, which must be unique; for a data file, the table's name.
        delimiter: the delimiter that its extension implies; "" for Parquet and if unknown.
        compression: `gzip` or `zstd`; "" if it isn't compressed.
        origin: the table that its rows come from; None if it is a file of its own.
        data: its entry in the table's log; None if it isn't a data file of a table.
    """

    name: str
    files: ExtractFiles
    stem: str
    delimiter: str
    compression: str = ""
    origin: TableVersion | None = None
    data: DataFile | None = None

    def open(self) -> BinaryIO:
        """Open the stored bytes; see `ExtractFiles.open`."""
        return self.files.open(self.name)

    @property
    def is_parquet(self) -> bool:
        """Whether it is a Parquet file."""
        return self.name.lower().endswith(PARQUET_ENDING)

    @property
    def is_data(self) -> bool:
        """Whether it has the extension of a data file."""
        return bool(self.delimiter) or self.is_parquet

    @property
    def is_other_text(self) -> bool:
        """Whether it may be text in a form that only a layout knows.

        The last part of a mainframe's name (`P.A0001.ACO.ZC5Y24.D240801.T0102030`) is no extension.
        """
        plain = self.name.lower()[: self.name.rfind(".") if self.compression else None]
        has_ending = "." in plain and len(plain) - plain.rfind(".") <= _LONGEST_ENDING + 1
        return not self.is_data and (plain.endswith(TEXT_ENDINGS) or not has_ending)


@dataclass(frozen=True, slots=True)
class RowForm:
    """Form of the rows of a file.

    Attributes:
        delimiter: the character between cells; "" for Parquet.
        quoting: whether cells may be quoted.
        has_header: whether the first row has the headers.
        extra_cells: how many cells without a header a row may have at its end; they are dropped.
    """

    delimiter: str = ""
    quoting: bool = True
    has_header: bool = True
    extra_cells: int = 0

    @property
    def csv_quoting(self) -> Literal[0, 3]:
        """The `quoting` parameter of `csv.reader`."""
        return csv.QUOTE_MINIMAL if self.quoting else csv.QUOTE_NONE


PARQUET_FORM: Final = RowForm()


@dataclass(frozen=True, slots=True)
class Traits:
    """Size, hash and splits of a file.

    Attributes:
        bytes: its size.
        sha256: its hash, in hex.
        split_points: where it can be split into spans of rows; none unless it is plain text.
        lines: how many rows it seems to have, including the header and blank rows; None unless it
            is plain text.
    """

    bytes: int
    sha256: str
    split_points: tuple[SplitPoint, ...] = ()
    lines: int | None = None


def list_files(extract: Path | ExtractFiles) -> tuple[ListedFile, ...]:
    """List the files of an extract in the order of their names.

    Ignores sub-folders, hidden files, `README*` and the manifest.

    Args:
        extract: a folder, or files elsewhere.

    Raises:
        ExtractError: the folder doesn't exist, can't be listed or is empty; or an entry with the
            name of a data file is no file (but a folder, a pipe, a broken link).
        StoreError: storage refused, or didn't answer.
    """
    files = open_files(extract)
    listed_files = []
    for entry in files.entries():
        if entry.name.startswith(".") or entry.name.upper().startswith("README"):
            continue
        file, is_manifest = recognize_entry(entry, files), entry.name.lower() == MANIFEST_NAME
        if entry.problem and (file.is_data or is_manifest):
            raise ExtractError(f"{entry.name} {entry.problem}")
        if not entry.problem and not is_manifest:
            listed_files.append(file)
    if not listed_files:
        raise ExtractError(f"{files.name} contains no files; give the folder of the extract")
    _refuse_duplicate_tables(listed_files)
    return tuple(listed_files)


def open_files(extract: Path | ExtractFiles) -> ExtractFiles:
    """Return the files of an extract, given as a folder or as files.

    Raises:
        ExtractError: the folder doesn't exist.
    """
    if not isinstance(extract, Path):
        return extract
    if extract.is_dir():
        return FolderFiles(extract)
    if extract.exists():
        siblings = FolderFiles(extract.parent)
        listed = recognize_entry(StoredFile(extract.name, 0), siblings)
        form = recognize_format(read_head(listed))
        problem = describe_problem(form, listed.name, listed.delimiter)
        if problem and extract.is_file():
            raise ExtractError(f"{problem}; then {doctor_advice('FOLDER')}")
        raise ExtractError(
            f"{extract} is a file; give the folder that contains the extract's files"
        )
    remote = remote_address(str(extract))
    if remote:
        raise ExtractError(
            f"{remote} is not a folder: extracts are read from folders and s3://bucket/prefix; "
            f"copy the files into one, then {doctor_advice('FOLDER')}"
        )
    raise ExtractError(f"{extract}: there is no such folder or file; give the path of the extract")


def read_head(listed: ListedFile) -> bytes:
    """Read the first bytes of a file, unpacked if its extension says that it is compressed.

    Raises:
        ExtractError: the file can't be read, or its compression is broken.
    """
    return next(text_chunks(listed), b"")[:HEAD_BYTES]


def refuse_non_tables(listed: ListedFile) -> None:
    """Refuse a file whose content is neither delimited text nor Parquet.

    Raises:
        ExtractError: the file is a workbook, an archive, a PDF, or text in UTF-16.
    """
    if not listed.is_data or listed.data is not None:
        return
    if (form := recognize_format(read_head(listed))).kind in OTHER_FORMS:
        sentence = describe_problem(form, listed.name, listed.delimiter)
        raise ExtractError(f"{sentence}; {doctor_advice(listed.files.name)}")


def compression_of(name: str) -> str:
    """Return the compression that a file's name implies; "" for none."""
    return COMPRESSIONS.get(name.lower()[name.rfind(".") :], "")


def recognize_entry(entry: StoredFile, files: ExtractFiles) -> ListedFile:
    """Derive format, delimiter and compression of an entry from its name."""
    compression = compression_of(entry.name)
    plain_name = entry.name[: entry.name.rfind(".")] if compression else entry.name
    endings = {**ENDINGS, **dict.fromkeys(TEXT_ENDINGS, "")}
    ending = next((ending for ending in endings if plain_name.lower().endswith(ending)), "")
    if not ending:
        compression, plain_name = "", entry.name
        ending = PARQUET_ENDING if plain_name.lower().endswith(PARQUET_ENDING) else ""
    stem = plain_name[: len(plain_name) - len(ending)]
    if entry.data is not None:
        stem = stem.partition("/")[0]
    delimiter = endings.get(ending, "")
    return ListedFile(entry.name, files, stem, delimiter, compression, entry.origin, entry.data)


def _refuse_duplicate_tables(listed_files: list[ListedFile]) -> None:
    names_by_stem: dict[str, str] = {}
    for listed in listed_files:
        if not listed.is_data or listed.data is not None:
            continue
        first = names_by_stem.setdefault(listed.stem.lower(), listed.name)
        if first != listed.name:
            raise ExtractError(f"{first} and {listed.name} are the same table; remove one of them")


def read_traits(listed: ListedFile, *, quoting: bool = True) -> Traits:
    """Read a file once for its size, hash, split points and estimated number of rows.

    Args:
        quoting: whether cells of a delimited file may be quoted.

    Raises:
        ExtractError: the file can't be read, or has NUL bytes.
    """
    digest, size, split_finder = hashlib.sha256(), 0, SplitFinder(SPLIT_BYTES, quoting=quoting)
    is_text = listed.is_data and not listed.is_parquet and not listed.compression
    try:
        with listed.open() as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                if is_text:
                    refuse_nul(chunk, size - len(chunk), listed.name)
                    split_finder.feed(chunk)
    except OSError as error:
        raise ExtractError(f"{listed.name} cannot be read: {error.strerror}") from None
    lines = split_finder.rows if is_text else None
    return Traits(size, digest.hexdigest(), tuple(split_finder.split_points), lines)


def refuse_nul(chunk: bytes | bytearray, start: int, name: str) -> None:
    """Refuse NUL bytes, which are frequent in UTF-16 files and broken copies.

    Raises:
        ExtractError: the chunk has a NUL byte.
    """
    offset = chunk.find(0)
    if offset >= 0:
        raise ExtractError(
            f"{name}: NUL byte at byte {start + offset + 1}; the file is broken or UTF-16, "
            "write it as UTF-8"
        )


def read_header(listed: ListedFile, form: RowForm) -> tuple[str, ...]:
    """Read the headers of a delimited file, trimmed but otherwise unchanged.

    Raises:
        ExtractError: the file is empty, or its first line is blank, too long, or not UTF-8.
    """
    line = _first_line(listed)
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ExtractError(
            f"{listed.name}: byte {error.start + 1}, in row 1, is not UTF-8; write it as UTF-8"
        ) from None
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=form.delimiter, quoting=form.csv_quoting)
    cells = tuple(cell.strip() for cell in next(reader, []))
    if not any(cells):
        raise ExtractError(f"{listed.name}: the first line is blank; it must contain the headers")
    return cells


def _first_line(listed: ListedFile) -> bytes:
    head = bytearray()
    for chunk in text_chunks(listed):
        head += chunk
        start = len(BOM) if head.startswith(BOM) else 0
        ends = [end for end in (head.find(b"\n", start), head.find(b"\r", start)) if end >= 0]
        if ends:
            line = bytes(head[start : min(ends)])
            refuse_nul(line, start, listed.name)
            return line
        if len(head) > HEADER_BYTES:
            raise ExtractError(f"{listed.name}: the first line is longer than {HEADER_BYTES} bytes")
    if not head:
        raise ExtractError(f"{listed.name} is empty; it must contain at least the headers")
    refuse_nul(head, 0, listed.name)
    return bytes(head.removeprefix(BOM))


def has_rows(listed: ListedFile) -> bool:
    """Return whether a delimited file has more than blanks after its first line."""
    in_first_line = True
    for chunk in text_chunks(listed):
        text = chunk
        if in_first_line:
            ends = [end for end in (chunk.find(b"\n"), chunk.find(b"\r")) if end >= 0]
            if not ends:
                continue
            in_first_line, text = False, chunk[min(ends) :]
        if text.strip():
            return True
    return False


def text_chunks(listed: ListedFile) -> Iterator[bytes]:
    """Yield the bytes of a delimited file, unpacked.

    Raises:
        ExtractError: the file cannot be read, or its compression is broken or incomplete.
    """
    try:
        with listed.open() as raw, open_unpacked(raw, listed.compression, listed.name) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
    except COMPRESSION_ERRORS:
        raise broken_compression_error(listed) from None
    except OSError as error:
        raise ExtractError(f"{listed.name} cannot be read: {error.strerror}") from None


class UnpackedBudget:
    """The number of bytes that a compressed file or an archive may unpack to.

    Args:
        size: its stored size.
        name: its name in messages.
    """

    def __init__(self, size: int, name: str) -> None:
        self._left, self._name = FREE_BYTES + MOST_RATIO * size, name

    def take(self, size: int) -> None:
        """Count unpacked bytes.

        Raises:
            ExtractError: the budget is exceeded.
        """
        self._left -= size
        if size < 0 or self._left < 0:
            raise ExtractError(
                f"{self._name} unpacks to more than {MOST_RATIO} times its size, as a file does "
                "that is made to fill disks; unpack it into a folder and name the folder"
            )


def open_unpacked(raw: BinaryIO, compression: str, name: str) -> Any:
    """Return a stream of a file's unpacked bytes.

    Reading it raises one of `COMPRESSION_ERRORS` if the compression is broken or incomplete, and
    `ExtractError` if there are too many bytes.
    """
    if not compression:
        return raw
    budget = UnpackedBudget(raw.seek(0, os.SEEK_END), name)
    raw.seek(0)
    stream = gzip.GzipFile(fileobj=raw) if compression == "gzip" else _ZstandardStream(raw)
    return _BudgetedStream(stream, budget)


class _BudgetedStream(AbstractContextManager["_BudgetedStream"]):
    """A stream that counts its bytes against a budget."""

    def __init__(self, stream: Any, budget: UnpackedBudget) -> None:
        self._stream, self._budget = stream, budget

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, size: int) -> bytes:
        data: bytes = self._stream.read(size)
        self._budget.take(len(data))
        return data

    def close(self) -> None:
        self._stream.close()


class _ZstandardStream:
    """A stream of unpacked Zstandard data, of one frame or several."""

    def __init__(self, raw: BinaryIO) -> None:
        self._stream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self._stream.read(size)
        except OSError as error:
            if error.errno is None:  # raised by Arrow: the data is broken, not the file
                raise BrokenCompression from None
            raise
        return data

    def close(self) -> None:
        self._stream.close()


def broken_compression_error(listed: ListedFile) -> ExtractError:
    """Return the error for a compressed file that can't be unpacked completely."""
    return ExtractError(
        f"{listed.name}: the {listed.compression} data is broken or incomplete; copy the file again"
    )


SOURCE_POSITIONS: Final = ("source_file", "source_row")
"""Columns of a computed file with the payer's file and row behind each row."""
SOURCE_POSITION_HEADERS: Final = tuple(f"?{header}" for header in SOURCE_POSITIONS)
"""The names that `unique_headers` gives to `SOURCE_POSITIONS`."""
LAYERS: Final = "layers"
"""Kind of a `TableVersion` with rows merged from several extracts (deltas)."""
RESULT_OF: Final = "result of "
"""Prefix of the title of a query's rows; the query's file follows."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of an extract, or the records of one type in it.

    Attributes:
        index: the value of `_file` in its rows.
        name: its name inside the extract; `<file>#<table>` for records of one of several types.
        table: its raw table in the layout; "" if the layout doesn't use it.
        bytes: its size.
        sha256: its hash, in lower-case hex.
        columns: its headers, trimmed but otherwise unchanged.
        known: the layout's name for each of them; None if it has none.
        form: how its rows are written.
        compression: `gzip` or `zstd`; "" if it isn't compressed.
        rows: number of rows in the manifest; None if it states none, and for Parquet, whose own
            count was compared. For a file that queries read, its number of rows.
        split_points: where it can be split into spans of rows.
        lines: number of rows counted in its bytes, including the header and blank rows; None if it
            is compressed or Parquet.
        stored: its name inside the extract.
        widths: number of characters of each column; empty if cells are delimited.
        types: raw table and columns of every type of record in it; empty if rows aren't records.
        origin: the table that its rows come from; None if it is a file of its own.
        data: its entry in the table's log; None if it isn't a data file of a table.
    """

    index: int
    name: str
    table: str
    bytes: int
    sha256: str
    columns: tuple[str, ...] = ()
    known: tuple[str | None, ...] = ()
    form: RowForm = PARQUET_FORM
    compression: str = ""
    rows: int | None = None
    split_points: tuple[SplitPoint, ...] = ()
    lines: int | None = None
    stored: str = ""
    widths: tuple[int, ...] = ()
    types: tuple[tuple[str, tuple[str, ...]], ...] = ()
    origin: TableVersion | None = None
    data: DataFile | None = None

    @property
    def query(self) -> str:
        """The file of the query that computed its rows; "" if there is none."""
        return self.origin.table if self.origin and self.origin.kind == "query" else ""

    @property
    def is_computed(self) -> bool:
        """Whether queries or a merge of extracts computed its rows."""
        return self.origin is not None and self.origin.kind in ("query", LAYERS)

    @property
    def title(self) -> str:
        """Its name for people, to whom the result of a query is no file."""
        return f"{RESULT_OF}{self.query}" if self.query else self.name

    def listed(self, files: ExtractFiles) -> ListedFile:
        """Return the file as one listed in its extract."""
        stored = self.stored or self.name
        delimiter = self.form.delimiter
        return ListedFile(stored, files, stored, delimiter, self.compression, data=self.data)


def unique_headers(source: SourceFile) -> tuple[str, ...]:
    """Return a unique name for each column of a file.

    It is the layout's name of the column. A header that the layout lacks gets a `?` in front,
    so that it can't be mistaken for one that it has; an empty header is replaced by its number.
    """
    headers_and_names = zip(source.columns, source.known, strict=True)
    return tuple(
        name or f"?{header or number}"
        for number, (header, name) in enumerate(headers_and_names, start=1)
    )
