"""The files of an extract: which there are, how each is written, its headers and hash."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import pyarrow as pa

from etl.errors import ExtractError
from etl.sources.files import splits
from etl.sources.files.forms import (
    ENDING_OF,
    HEAD_BYTES,
    OTHER_FORMS,
    advice,
    recognize,
    remote_address,
    said_of,
)
from etl.sources.files.manifest import MANIFEST_NAME
from etl.sources.files.splits import Cut, CutFinder
from etl.sources.files.stored_files import ExtractFiles, FolderFiles, StoredFile, TableVersion

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
    """Compressed data is broken or cut off."""


PACKING_ERRORS: Final = (BrokenPacking, EOFError, zlib.error, gzip.BadGzipFile)
"""Errors of reading unpacked bytes where their compression is broken."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A file that may hold rows.

    Attributes:
        name: its name inside the extract.
        files: where it lies.
        stem: its name without ending, which must be unique.
        delimiter: what stands between its cells by its ending; "" for Parquet and for unknown.
        compression: `gzip` or `zstd`; "" where it is not compressed.
        origin: the table that its rows were taken from; None where it is a file itself.
    """

    name: str
    files: ExtractFiles
    stem: str
    delimiter: str
    compression: str = ""
    origin: TableVersion | None = None

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
            else than a file (a folder, a pipe, a link that leads nowhere) stands where one should
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
        raise ExtractError(f"{files.name} holds no files; name the folder of the extract")
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
        raise ExtractError(f"{extract} is a file; name the folder that holds the extract's files")
    remote = remote_address(str(extract))
    if remote:
        raise ExtractError(
            f"{remote} is no folder: extracts are read from folders and s3://bucket/prefix; copy "
            f"the files into one, then {advice('FOLDER')}"
        )
    raise ExtractError(f"{extract}: there is no such folder or file; name the extract")


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
    if listed.is_data and (form := recognize(head_of(listed))).kind in OTHER_FORMS:
        sentence = said_of(form, listed.name, listed.delimiter)
        raise ExtractError(f"{sentence}; {advice(listed.files.name)}")


def compression_of(name: str) -> str:
    """Return how a file is compressed by its name; "" where it is not."""
    return COMPRESSIONS.get(name.lower()[name.rfind(".") :], "")


def listed_as(entry: StoredFile, files: ExtractFiles) -> Listed:
    """Return an entry of an extract with what its name says of it."""
    compression = compression_of(entry.name)
    plain = entry.name[: entry.name.rfind(".")] if compression else entry.name
    for ending, delimiter in ENDINGS.items():
        if plain.lower().endswith(ending):
            stem = plain[: -len(ending)]
            return Listed(entry.name, files, stem, delimiter, compression, entry.origin)
    if plain.lower().endswith(TEXT_ENDINGS):
        stem = plain[: -len(TEXT_ENDINGS[0])]
        return Listed(entry.name, files, stem, "", compression, entry.origin)
    ending = PARQUET_ENDING if entry.name.lower().endswith(PARQUET_ENDING) else ""
    stem = entry.name[: len(entry.name) - len(ending)]
    return Listed(entry.name, files, stem, "", "", entry.origin)


def _refuse_twice(found: list[Listed]) -> None:
    seen: dict[str, str] = {}
    for listed in found:
        if not listed.is_data:
            continue
        other = seen.setdefault(listed.stem.lower(), listed.name)
        if other != listed.name:
            raise ExtractError(
                f"{other} and {listed.name} are the same table twice; take one of them away"
            )


def traits(listed: Listed, *, quoting: bool = True) -> Traits:
    """Read a file once and return its size, its hash, and what rows it seems to have.

    Args:
        listed: the file.
        quoting: whether cells of a delimited file may be quoted.

    Raises:
        ExtractError: it cannot be read, or holds NUL bytes.
    """
    digest, size, finder = hashlib.sha256(), 0, CutFinder(splits.CUT_BYTES, quoting=quoting)
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
        raise ExtractError(f"{listed.name}: the first line is blank; it must hold the headers")
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
        raise ExtractError(f"{listed.name} is empty; it must at least hold the headers")
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
        ExtractError: the file cannot be read, or its compression is broken or cut off.
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

    Reading them raises one of `PACKING_ERRORS` where the compression is broken or cut off, and
    `ExtractError` where they are too many.
    """
    if not compression:
        return raw
    budget = UnpackedBudget(raw.seek(0, os.SEEK_END), name)
    raw.seek(0)
    stream = gzip.GzipFile(fileobj=raw) if compression == "gzip" else _Zstandard(raw)
    return _Budgeted(stream, budget)


class _Budgeted:
    """Unpacked bytes that are counted."""

    def __init__(self, stream: Any, budget: UnpackedBudget) -> None:
        self._stream, self._budget = stream, budget

    def __enter__(self) -> _Budgeted:
        return self

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
        f"{listed.name}: the {listed.compression} data is broken or cut off; copy the file again"
    )
