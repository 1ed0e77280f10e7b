"""The files of an extract folder: which there are, how each is written, its headers and hash."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from etl.errors import ExtractError
from etl.sources import file_splits
from etl.sources.file_splits import Cut, CutFinder
from etl.sources.physical import (
    HEAD_BYTES,
    OTHER_FORMS,
    advice,
    recognize,
    remote_address,
    said_of,
)

MANIFEST_NAME: Final = "manifest.json"
ENDINGS: Final = {
    ".csv": ",",
    ".psv": "|",
    ".tsv": "\t",
}
"""Ending of a delimited file -> what stands between its cells."""
TEXT_ENDINGS: Final = (".txt", ".dat")
"""Endings of text of which only a layout can say what stands between cells."""
PARQUET_ENDING: Final = ".parquet"
BOM: Final = b"\xef\xbb\xbf"
HEADER_BYTES: Final = 1 << 20
"""A header line longer than this is refused."""
CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Listed:
    """A file that may hold rows.

    Attributes:
        name: its name inside the extract.
        path: where it is.
        stem: its name without ending, which must be unique.
        delimiter: what stands between its cells by its ending; "" for Parquet and for unknown.
        gzipped: whether it is compressed.
    """

    name: str
    path: Path
    stem: str
    delimiter: str
    gzipped: bool

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
        """Whether its ending says at most that it is text, so that a layout may take it."""
        plain = self.name.lower().removesuffix(".gz")
        return not self.is_data and (plain.endswith(TEXT_ENDINGS) or "." not in plain)


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


def list_files(folder: Path) -> tuple[Listed, ...]:
    """Return the files of an extract in the order of their names.

    Sub-folders, hidden files, `README*` and the manifest are no part of it.

    Raises:
        ExtractError: there is no such folder, it cannot be listed, holds nothing, or something
            else than a file (a folder, a pipe, a link that leads nowhere) stands where one should
            be.
    """
    if not folder.exists():
        remote = remote_address(str(folder))
        if remote:
            raise ExtractError(
                f"{remote} is no folder: extracts are read from folders; copy the files into one, "
                f"then {advice('FOLDER')}"
            )
        raise ExtractError(f"{folder}: there is no such folder; name the folder of the extract")
    if not folder.is_dir():
        said = said_of(recognize(head_of(_listed(folder))), folder.name, _listed(folder).delimiter)
        if said and folder.is_file():
            raise ExtractError(f"{said}; then {advice('FOLDER')}")
        raise ExtractError(f"{folder} is a file; name the folder that holds the extract's files")
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise ExtractError(f"{folder} cannot be listed: {error.strerror}") from None
    found = []
    for path in entries:
        if path.name.startswith(".") or path.name.upper().startswith("README"):
            continue
        listed, is_manifest = _listed(path), path.name.lower() == MANIFEST_NAME
        if listed.is_data or is_manifest:
            refuse_no_file(path)
        if path.is_file() and not is_manifest:
            found.append(listed)
    if not found:
        raise ExtractError(f"{folder} holds no files; name the folder of the extract")
    _refuse_twice(found)
    return tuple(found)


def head_of(listed: Listed) -> bytes:
    """Return the first bytes of a file, unpacked where it is gzip by its ending.

    Raises:
        ExtractError: it cannot be read, or its compression is broken.
    """
    return next(text_chunks(listed), b"")[:HEAD_BYTES]


def refuse_other_forms(listed: Listed) -> None:
    """Refuse a file that is no delimited text or Parquet at all, whatever it is called.

    Raises:
        ExtractError: it is a workbook, an archive, a PDF, or text in UTF-16.
    """
    form = recognize(head_of(listed))
    if form.kind in OTHER_FORMS and listed.is_data:
        said = said_of(form, listed.name, listed.delimiter)
        raise ExtractError(f"{said}; {advice(str(listed.path.parent))}")


def refuse_no_file(path: Path) -> None:
    """Refuse an entry that is no regular file: it may block, never end, or hide a loss.

    Raises:
        ExtractError: it is a folder, a link that leads nowhere, a pipe, a socket or a device.
    """
    if path.is_file():
        return
    if path.is_dir():
        raise ExtractError(f"{path.name} is a folder, but its name is that of a file")
    if not path.exists():
        what = "a link that leads nowhere"
    else:
        what = "a pipe" if path.is_fifo() else "a socket" if path.is_socket() else "a device"
    raise ExtractError(f"{path.name} is {what}; put the file itself into the extract")


def _listed(path: Path) -> Listed:
    lowered = path.name.lower()
    gzipped = lowered.endswith(".gz")
    plain = lowered[:-3] if gzipped else lowered
    for ending, delimiter in ENDINGS.items():
        if plain.endswith(ending):
            return Listed(
                path.name, path, path.name[: len(plain) - len(ending)], delimiter, gzipped
            )
    if lowered.endswith(PARQUET_ENDING):
        return Listed(path.name, path, path.name[: -len(PARQUET_ENDING)], "", gzipped=False)
    if plain.endswith(TEXT_ENDINGS):
        return Listed(path.name, path, path.name[: len(plain) - len(TEXT_ENDINGS[0])], "", gzipped)
    return Listed(path.name, path, path.name, "", gzipped=False)


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
    digest, size, finder = hashlib.sha256(), 0, CutFinder(file_splits.CUT_BYTES, quoting=quoting)
    text = listed.is_data and not listed.is_parquet and not listed.gzipped
    try:
        with listed.path.open("rb") as stream:
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


def read_header(listed: Listed, delimiter: str, *, quoting: bool) -> tuple[str, ...]:
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
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE,
    )
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
        with listed.path.open("rb") as raw:
            if not listed.gzipped:
                while chunk := raw.read(CHUNK_BYTES):
                    yield chunk
                return
            with gzip.GzipFile(fileobj=raw) as unpacked:
                while chunk := unpacked.read(CHUNK_BYTES):
                    yield chunk
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise broken_gzip(listed.name) from None
    except OSError as error:
        raise ExtractError(f"{listed.name} cannot be read: {error.strerror}") from None


def broken_gzip(name: str) -> ExtractError:
    """Return the error for a compressed file that cannot be unpacked to its end."""
    return ExtractError(f"{name}: the gzip data is broken or cut off; copy the file again")
