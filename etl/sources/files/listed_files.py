"""The files of an extract: which there are, how each is written, its headers, hash and splits.

A large delimited file is split at record boundaries, which are found while it is hashed. A line
end with an even number of quotes before it ends a row, unless a quote stands inside a cell that is
not quoted (an inch mark). So the splits are good guesses, and the reader of a span checks whether
it ended as expected (`spans.SpanAstray`). The number of rows is as good a guess. It is counted
without a parser, so that it shows where a parser lost rows.
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
    advice,
    recognize,
    remote_address,
    said_of,
)


@dataclass(frozen=True, slots=True)
class Hashed:
    """A file was read once for its hash.

    Attributes:
        file: its name inside the extract.
        bytes: its size.
    """

    file: str
    bytes: int


@dataclass(frozen=True, slots=True)
class FileProgress:
    """Part of a file has been read.

    Attributes:
        file: its name inside the extract.
        done: bytes of the file that have been read; counted as stored, so compressed where it is.
        bytes: its size.
        rows: rows read from it so far.
    """

    file: str
    done: int
    bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class Partitioned:
    """Every file has been read.

    Attributes:
        rows: rows read.
        partitions: how many partitions there are.
    """

    rows: int
    partitions: int


Event = Hashed | FileProgress | Partitioned
Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Emit nothing."""
    del event


CUT_BYTES: Final = 16 << 20
"""Approximate distance between two cuts."""
_LINE_END: Final = b"\n"
_QUOTE: Final = b'"'

Places = npt.NDArray[np.int64]
Cut = tuple[int, int]
"""Start of a row in bytes, and its number, the header being 1."""


class CutFinder:
    """Finds cuts in a file's bytes.

    Args:
        cut_bytes: approximate distance between two cuts.
        quoting: whether cells may be quoted.
    """

    def __init__(self, cut_bytes: int, *, quoting: bool = True) -> None:
        self._every = cut_bytes
        self._quoting = quoting
        self._last = _LINE_END
        self._next = cut_bytes
        self._at = 0
        self._rows = 0
        self._quotes = 0
        self.found: list[Cut] = []

    @property
    def rows(self) -> int:
        """Number of rows so far, the header and blank ones included."""
        return self._rows + (self._last != _LINE_END)

    def see(self, chunk: bytes) -> None:
        """Take the next bytes of the file."""
        wanted = self._at + len(chunk) > self._next
        quoted = self._quoting and _QUOTE in chunk
        self._last = chunk[-1:] or self._last
        if wanted or quoted:
            ends = _byte_positions(chunk, _LINE_END)
            quotes = _byte_positions(chunk, _QUOTE) if quoted else ends[:0]
            before = self._quotes + np.searchsorted(quotes, ends)
            ends = ends[before % 2 == 0]
            if wanted:
                self._add_cuts(ends)
            self._rows += len(ends)
            self._quotes += len(quotes)
        elif self._quotes % 2 == 0:
            self._rows += int(np.count_nonzero(_is_byte(chunk, _LINE_END)))
        self._at += len(chunk)

    def _add_cuts(self, ends: Places) -> None:
        while True:
            later = int(np.searchsorted(ends, self._next - self._at))
            if later == len(ends):
                return
            start = self._at + int(ends[later]) + 1
            self.found.append((start, self._rows + later + 2))
            self._next = start + self._every


class QuoteWatch:
    """Watches whether each quote of a text begins or ends a cell, or is one of two in a row.

    As long as that holds, quotes open and close cells in turn. The first that does neither stands
    in a cell that is not quoted (an inch mark), or follows a cell that was left open. From there
    on, only a parser can decide.

    Args:
        delimiter: what stands between cells.

    Attributes:
        is_astray: whether some quote does neither.
    """

    def __init__(self, delimiter: str) -> None:
        self._ends = np.zeros(256, dtype=np.bool_)
        self._ends[list(b'"\r\n' + delimiter.encode())] = True
        self._tail = _LINE_END * 2
        self._quotes = 0
        self.is_astray = False

    @property
    def has_seen_any(self) -> bool:
        """Whether there was a quote."""
        return self._quotes > 0

    def see(self, chunk: bytes) -> None:
        """Take the next bytes of the text; at its end, a line end."""
        if self.is_astray:
            return
        text = self._tail + chunk
        if _QUOTE in text:
            # The first byte was examined before, and what follows the last is not known yet.
            at = _byte_positions(text[1:-1], _QUOTE) + 1
            closing = (self._quotes + np.arange(len(at))) % 2
            beside = np.frombuffer(text, dtype=np.uint8)[at + np.where(closing, 1, -1)]
            self.is_astray = not self._ends[beside].all()
            self._quotes += len(at)
        self._tail = text[-2:]


def _byte_positions(chunk: bytes, byte: bytes) -> Places:
    return np.flatnonzero(_is_byte(chunk, byte))


def _is_byte(chunk: bytes, byte: bytes) -> npt.NDArray[np.bool_]:
    # Compared as numbers, all at once: `bytes.count` takes a nanosecond a byte.
    same: npt.NDArray[np.bool_] = np.frombuffer(chunk, dtype=np.uint8) == ord(byte)
    return same


ENDINGS: Final = {ending: delimiter for delimiter, ending in ENDING_OF.items()}
"""Ending of a delimited file -> what stands between its cells."""
TEXT_ENDINGS: Final = (".txt", ".dat")
"""Endings of text of which only a layout can say what stands between cells."""
COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd"}
"""Ending behind that of a delimited file -> how it is compressed."""
PARQUET_ENDING: Final = ".parquet"
_LONGEST_ENDING: Final = 6
"""Characters of the longest ending that is taken for one, as `sha256`."""
BOM: Final = b"\xef\xbb\xbf"
HEADER_BYTES: Final = 1 << 20
"""A header line longer than this is refused."""
CHUNK_BYTES: Final = 1 << 20
FREE_BYTES: Final = 1 << 30
"""Anything may unpack to this much, however small it is."""
MOST_RATIO: Final = 100
"""Times its size that compressed text may unpack to, beside `FREE_BYTES`; honest text: 5 to 30."""


class BrokenPacking(Exception):
    """Compressed data is broken or incomplete."""


PACKING_ERRORS: Final = (BrokenPacking, EOFError, zlib.error, gzip.BadGzipFile)
"""Errors of reading unpacked bytes where their compression is broken."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A file that may hold rows.

    Attributes:
        name: its name inside the extract.
        files: where it lies.
        stem: its name without ending, which must be unique; of a data file the table's name.
        delimiter: what stands between its cells by its ending; "" for Parquet and for unknown.
        compression: `gzip` or `zstd`; "" where it is not compressed.
        origin: the table that its rows were taken from; None where it is a file itself.
        data: what the table's log says of it; None where it is no data file of a table.
    """

    name: str
    files: ExtractFiles
    stem: str
    delimiter: str
    compression: str = ""
    origin: TableVersion | None = None
    data: DataFile | None = None

    def open(self) -> BinaryIO:
        """Return its bytes as they are stored; `ExtractFiles.open`."""
        return self.files.open(self.name)

    @property
    def is_parquet(self) -> bool:
        """Whether it is a Parquet file."""
        return self.name.lower().endswith(PARQUET_ENDING)

    @property
    def is_data(self) -> bool:
        """Whether its ending says that it holds rows."""
        return bool(self.delimiter) or self.is_parquet

    @property
    def is_other_text(self) -> bool:
        """Whether its ending says at most that it is text, so that a layout may take it.

        The last part of a mainframe's name (`P.A0001.ACO.ZC5Y24.D240801.T0102030`) is no ending.
        """
        plain = self.name.lower()[: self.name.rfind(".") if self.compression else None]
        has_ending = "." in plain and len(plain) - plain.rfind(".") <= _LONGEST_ENDING + 1
        return not self.is_data and (plain.endswith(TEXT_ENDINGS) or not has_ending)


@dataclass(frozen=True, slots=True)
class RowForm:
    """Form of the rows of a file.

    Attributes:
        delimiter: what stands between cells; "" for Parquet.
        quoting: whether cells may be quoted.
        has_header: whether the first row has the headers.
        extra_cells: how many cells a row may have behind those of the headers; they are left out.
    """

    delimiter: str = ""
    quoting: bool = True
    has_header: bool = True
    extra_cells: int = 0

    @property
    def csv_quoting(self) -> Literal[0, 3]:
        """How the module `csv` reads quotes."""
        return csv.QUOTE_MINIMAL if self.quoting else csv.QUOTE_NONE


PARQUET_FORM: Final = RowForm()


@dataclass(frozen=True, slots=True)
class Traits:
    """Size, hash and splits of a file.

    Attributes:
        bytes: its size.
        sha256: its hash, in hex.
        cuts: where it may be cut into spans of rows; none where it is no plain text.
        lines: how many rows it seems to have, the header and blank ones counted; None where it is
            no plain text.
    """

    bytes: int
    sha256: str
    cuts: tuple[Cut, ...] = ()
    lines: int | None = None


def list_files(extract: Path | ExtractFiles) -> tuple[Listed, ...]:
    """Return the files of an extract in the order of their names.

    Sub-folders, hidden files, `README*` and the manifest are no part of it.

    Args:
        extract: a folder, or files that lie elsewhere.

    Raises:
        ExtractError: there is no such folder, it cannot be listed, holds nothing, or something
            else than a file (a folder, a pipe, a broken link) stands where one should
            be.
        StoreError: storage refused, or did not answer.
    """
    files = files_of(extract)
    found = []
    for entry in files.entries():
        if entry.name.startswith(".") or entry.name.upper().startswith("README"):
            continue
        listed, is_manifest = listed_as(entry, files), entry.name.lower() == MANIFEST_NAME
        if entry.problem and (listed.is_data or is_manifest):
            raise ExtractError(f"{entry.name} {entry.problem}")
        if not entry.problem and not is_manifest:
            found.append(listed)
    if not found:
        raise ExtractError(f"{files.name} contains no files; give the folder of the extract")
    _refuse_twice(found)
    return tuple(found)


def files_of(extract: Path | ExtractFiles) -> ExtractFiles:
    """Return the files of an extract: those of a folder, where it is named by its path.

    Raises:
        ExtractError: there is no such folder.
    """
    if not isinstance(extract, Path):
        return extract
    if extract.is_dir():
        return FolderFiles(extract)
    if extract.exists():
        beside = FolderFiles(extract.parent)
        listed = listed_as(StoredFile(extract.name, 0), beside)
        problem = said_of(recognize(head_of(listed)), listed.name, listed.delimiter)
        if problem and extract.is_file():
            raise ExtractError(f"{problem}; then {advice('FOLDER')}")
        raise ExtractError(
            f"{extract} is a file; give the folder that contains the extract's files"
        )
    remote = remote_address(str(extract))
    if remote:
        raise ExtractError(
            f"{remote} is not a folder: extracts are read from folders and s3://bucket/prefix; "
            f"copy the files into one, then {advice('FOLDER')}"
        )
    raise ExtractError(f"{extract}: there is no such folder or file; give the path of the extract")


def head_of(listed: Listed) -> bytes:
    """Return the first bytes of a file, unpacked where its ending says that it is compressed.

    Raises:
        ExtractError: it cannot be read, or its compression is broken.
    """
    return next(text_chunks(listed), b"")[:HEAD_BYTES]


def refuse_other_forms(listed: Listed) -> None:
    """Refuse a file that is no delimited text or Parquet at all, whatever it is called.

    Raises:
        ExtractError: it is a workbook, an archive, a PDF, or text in UTF-16.
    """
    if not listed.is_data or listed.data is not None:
        return
    if (form := recognize(head_of(listed))).kind in OTHER_FORMS:
        sentence = said_of(form, listed.name, listed.delimiter)
        raise ExtractError(f"{sentence}; {advice(listed.files.name)}")


def compression_of(name: str) -> str:
    """Return how a file is compressed by its name; "" where it is not."""
    return COMPRESSIONS.get(name.lower()[name.rfind(".") :], "")


def listed_as(entry: StoredFile, files: ExtractFiles) -> Listed:
    """Return an entry of an extract with what its name says of it."""
    compression = compression_of(entry.name)
    plain = entry.name[: entry.name.rfind(".")] if compression else entry.name
    endings = {**ENDINGS, **dict.fromkeys(TEXT_ENDINGS, "")}
    ending = next((ending for ending in endings if plain.lower().endswith(ending)), "")
    if not ending:
        compression, plain = "", entry.name
        ending = PARQUET_ENDING if plain.lower().endswith(PARQUET_ENDING) else ""
    stem = plain[: len(plain) - len(ending)]
    if entry.data is not None:
        stem = stem.partition("/")[0]
    delimiter = endings.get(ending, "")
    return Listed(entry.name, files, stem, delimiter, compression, entry.origin, entry.data)


def _refuse_twice(found: list[Listed]) -> None:
    seen: dict[str, str] = {}
    for listed in found:
        if not listed.is_data or listed.data is not None:
            continue
        other = seen.setdefault(listed.stem.lower(), listed.name)
        if other != listed.name:
            raise ExtractError(f"{other} and {listed.name} are the same table; remove one of them")


def traits(listed: Listed, *, quoting: bool = True) -> Traits:
    """Read a file once and return its size, its hash, and what rows it seems to have.

    Args:
        listed: the file.
        quoting: whether cells of a delimited file may be quoted.

    Raises:
        ExtractError: it cannot be read, or holds NUL bytes.
    """
    digest, size, finder = hashlib.sha256(), 0, CutFinder(CUT_BYTES, quoting=quoting)
    text = listed.is_data and not listed.is_parquet and not listed.compression
    try:
        with listed.open() as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                if text:
                    refuse_nul(chunk, size - len(chunk), listed.name)
                    finder.see(chunk)
    except OSError as error:
        raise ExtractError(f"{listed.name} cannot be read: {error.strerror}") from None
    lines = finder.rows if text else None
    return Traits(size, digest.hexdigest(), tuple(finder.found), lines)


def refuse_nul(chunk: bytes | bytearray, before: int, name: str) -> None:
    """Refuse NUL bytes: UTF-16 files are full of them, and so are broken copies.

    Raises:
        ExtractError: there is a NUL byte.
    """
    offset = chunk.find(0)
    if offset >= 0:
        raise ExtractError(
            f"{name}: NUL byte at byte {before + offset + 1}; the file is broken or UTF-16, "
            "write it as UTF-8"
        )


def read_header(listed: Listed, form: RowForm) -> tuple[str, ...]:
    """Return the headers of a delimited file as they are written, trimmed.

    Raises:
        ExtractError: the file is empty, its first line is blank, too long, or not UTF-8.
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


def _first_line(listed: Listed) -> bytes:
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


def holds_rows(listed: Listed) -> bool:
    """Return whether anything but blanks follows the first line of a delimited file."""
    before_end = True
    for chunk in text_chunks(listed):
        rest = chunk
        if before_end:
            ends = [end for end in (chunk.find(b"\n"), chunk.find(b"\r")) if end >= 0]
            if not ends:
                continue
            before_end, rest = False, chunk[min(ends) :]
        if rest.strip():
            return True
    return False


def text_chunks(listed: Listed) -> Iterator[bytes]:
    """Yield the bytes of a delimited file, unpacked.

    Raises:
        ExtractError: the file cannot be read, or its compression is broken or incomplete.
    """
    try:
        with listed.open() as raw, unpacked(raw, listed.compression, listed.name) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
    except PACKING_ERRORS:
        raise broken_packing(listed) from None
    except OSError as error:
        raise ExtractError(f"{listed.name} cannot be read: {error.strerror}") from None


class UnpackedBudget:
    """Bytes that a compressed file or an archive may unpack to.

    Args:
        size: its size as it is stored.
        name: what messages call it.
    """

    def __init__(self, size: int, name: str) -> None:
        self._left, self._name = FREE_BYTES + MOST_RATIO * size, name

    def take(self, size: int) -> None:
        """Count bytes that are unpacked.

        Raises:
            ExtractError: they are more than an honest file has.
        """
        self._left -= size
        if size < 0 or self._left < 0:
            raise ExtractError(
                f"{self._name} unpacks to more than {MOST_RATIO} times its size, as a file does "
                "that is made to fill disks; unpack it into a folder and name the folder"
            )


def unpacked(raw: BinaryIO, compression: str, name: str) -> Any:
    """Return the bytes of a file unpacked, given those that are stored.

    Reading them raises one of `PACKING_ERRORS` where the compression is broken or incomplete, and
    `ExtractError` where they are too many.
    """
    if not compression:
        return raw
    budget = UnpackedBudget(raw.seek(0, os.SEEK_END), name)
    raw.seek(0)
    stream = gzip.GzipFile(fileobj=raw) if compression == "gzip" else _Zstandard(raw)
    return _Budgeted(stream, budget)


class _Budgeted(AbstractContextManager["_Budgeted"]):
    """Unpacked bytes that are counted."""

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


class _Zstandard:
    """Unpacked Zstandard data, of one frame or several."""

    def __init__(self, raw: BinaryIO) -> None:
        self._stream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self._stream.read(size)
        except OSError as error:
            if error.errno is None:  # Arrow's own: the data is at fault, not the file
                raise BrokenPacking from None
            raise
        return data

    def close(self) -> None:
        self._stream.close()


def broken_packing(listed: Listed) -> ExtractError:
    """Return the error for a compressed file that cannot be unpacked to its end."""
    return ExtractError(
        f"{listed.name}: the {listed.compression} data is broken or incomplete; copy the file again"
    )


SOURCE_PLACES: Final = ("source_file", "source_row")
"""Columns of a computed file that name the payer's file and row behind each of its rows."""
SPILLED_SOURCES: Final = tuple(f"?{header}" for header in SOURCE_PLACES)
"""The names that `spill_names` gives them."""
LAYERS: Final = "layers"
"""Kind of `TableVersion` of rows that were merged from several extracts (deltas)."""
RESULT_OF: Final = "result of "
"""Beginning of what people call the rows of a query; the query's file follows."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of an extract, or the records of one type in it.

    Attributes:
        index: what `_file` says in its rows.
        name: its name inside the extract; of records of one type among several `<file>#<table>`.
        table: its raw table in the layout; "" where the layout does not use it.
        bytes: its size.
        sha256: its hash, in lower-case hex.
        columns: its headers as they are written, trimmed.
        known: the layout's name for each of them; None where it has none.
        form: how its rows are written.
        compression: `gzip` or `zstd`; "" where it is not compressed.
        rows: number of rows that the manifest states; None where it states none, and for Parquet,
            where the file's own count was compared. Of a file that queries read, its rows.
        cuts: where it may be cut into spans of rows.
        lines: how many rows were counted in its bytes, the header and blank ones too; None where
            they were not, because it is compressed or Parquet.
        stored: its name inside the extract.
        widths: number of characters of each column; empty where cells are delimited.
        types: raw table and columns of every type of record in it; empty where rows are not lines.
        origin: the table that its rows were taken from; None where it is a file itself.
        data: what the table's log says of it; None where it is no data file of a table.
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
    cuts: tuple[Cut, ...] = ()
    lines: int | None = None
    stored: str = ""
    widths: tuple[int, ...] = ()
    types: tuple[tuple[str, tuple[str, ...]], ...] = ()
    origin: TableVersion | None = None
    data: DataFile | None = None

    @property
    def query(self) -> str:
        """The file of the query that computed its rows; "" where none did."""
        return self.origin.table if self.origin and self.origin.kind == "query" else ""

    @property
    def is_computed(self) -> bool:
        """Whether queries or a merge of extracts made its rows, and may name those behind them."""
        return self.origin is not None and self.origin.kind in ("query", LAYERS)

    @property
    def title(self) -> str:
        """Its name for people, who have not seen the result of a query as a file."""
        return f"{RESULT_OF}{self.query}" if self.query else self.name

    def listed(self, files: ExtractFiles) -> Listed:
        """Return the file as one of those of its extract."""
        stored = self.stored or self.name
        delimiter = self.form.delimiter
        return Listed(stored, files, stored, delimiter, self.compression, data=self.data)


def spill_names(source: SourceFile) -> tuple[str, ...]:
    """Return a unique name for each column of a file.

    It is the layout's name of the column. A header that the layout lacks gets a `?` in front,
    so that it can't be mistaken for one that it has; an empty header is replaced by its number.
    """
    headers_and_names = zip(source.columns, source.known, strict=True)
    return tuple(
        name or f"?{header or number}"
        for number, (header, name) in enumerate(headers_and_names, start=1)
    )
