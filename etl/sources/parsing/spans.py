"""Spans of files, their text as a stream for a parser, and the batches of rows in it."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Lock
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.errors import EtlError, ExtractError
from etl.model.canonical_tables import ROW_COLUMN
from etl.sources.files.listed_files import (
    COMPRESSION_ERRORS,
    ListedFile,
    QuoteChecker,
    broken_compression_error,
    open_unpacked,
    refuse_nul,
)

_LAST_READ_SECONDS: Final = 0.2


class SpanStream(io.RawIOBase):
    """The bytes of a span: unpacked, checked to be text, and followed by a sentinel row.

    The parser reads ahead in another thread. `close` waits until that thread has read the end,
    because a thread that reads while the interpreter shuts down would abort the process.

    Args:
        span: what to read of it; bytes are those of the file as it is stored.
        sentinel: the sentinel row.
        quotes: checks the quotes of the text; None if cells are not quoted.

    Attributes:
        name: of the file.
        error: why reading failed; None if it did not.
    """

    def __init__(
        self, listed: ListedFile, span: Span, sentinel: bytes, quotes: QuoteChecker | None
    ) -> None:
        super().__init__()
        self._quotes = quotes
        self.name = listed.name
        self._listed = listed
        self._raw = listed.open()
        self._stream = open_unpacked(self._raw, listed.compression, listed.name)
        if span.start:
            self._stream.seek(span.start)
        self._start = span.start
        self._bytes_left = None if span.end is None else span.end - span.start
        self._sentinel = sentinel
        self._last_byte = b"\n"  # a row ends before a span
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._offset = span.start
        self._line = 1
        self.error: EtlError | None = None
        self._read_lock = Lock()
        self._is_closing = False
        self._end_was_reached = Event()

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    @property
    def bytes_read(self) -> int:
        """Bytes of the span read so far, as stored."""
        return self._raw.tell() - self._start

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` of the next bytes; after the last, the sentinel row, then none.

        Raises:
            ExtractError: they are not UTF-8, have a NUL, or cannot be read; stored in `error`.
            OSError: the same.
        """
        with self._read_lock:
            try:
                text = b"" if self._is_closing else self._read_chunk(size)
            except BaseException:
                self._end_was_reached.set()
                raise
            if not text:
                self._end_was_reached.set()
            return text

    def _read_chunk(self, size: int) -> bytes:
        # Arrow replaces our exception by its own, so ours is stored.
        try:
            if self._bytes_left is not None:
                size = min(size, self._bytes_left)
            chunk: bytes = self._stream.read(size)
            refuse_nul(chunk, self._offset, self.name)
            self._refuse_other_encodings(chunk)
        except EtlError as error:
            self.error = error
            raise
        except COMPRESSION_ERRORS as error:
            self.error = broken_compression_error(self._listed)
            raise OSError from error
        except OSError as error:
            self.error = ExtractError(f"{self.name} cannot be read: {error.strerror}")
            raise
        if self._quotes is not None:
            self._quotes.feed(chunk or b"\n")
        if not chunk:
            sentinel, self._sentinel = self._sentinel, b""
            ends_row = self._last_byte in (b"\n", b"\r")
            return sentinel if ends_row or not sentinel else b"\n" + sentinel
        self._offset += len(chunk)
        self._line += chunk.count(b"\n")
        self._last_byte = chunk[-1:]
        if self._bytes_left is not None:
            self._bytes_left -= len(chunk)
        return chunk

    def _refuse_other_encodings(self, chunk: bytes) -> None:
        # If a chunk ends within a character, the decoder holds the character's first bytes.
        pending = self._decoder.getstate()[0]
        if chunk and not pending and chunk.isascii():
            return
        try:
            self._decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            line = self._line + (pending + chunk)[: error.start].count(b"\n")
            byte = self._offset - len(pending) + error.start + 1
            raise ExtractError(
                f"{self.name}: byte {byte}, in line {line}, is not UTF-8; write the file as UTF-8"
            ) from None

    def close(self) -> None:
        """Close the file, once the parser has read the end or reads no more."""
        if not self.closed:
            with self._read_lock:
                self._is_closing = True
            self._end_was_reached.wait(_LAST_READ_SECONDS)
            self._stream.close()
            self._raw.close()
        super().close()


LONGEST_ROW: Final = 1 << 20
"""Most bytes of a row, in files of every kind; FHIR R4 allows a string as many characters."""


@dataclass(frozen=True, slots=True)
class Span:
    """A byte range of a file, from the start of a row to the end of one.

    Attributes:
        start: byte offset of its start.
        first_row: number of its first row; if `start` is 0, that of the header.
        end: byte offset of its end; None for the end of the file.
        next_row: number of the row that follows it; None if unknown.
    """

    start: int = 0
    first_row: int = 1
    end: int | None = None
    next_row: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole file."""
        return self.start == 0 and self.end is None


WHOLE_FILE: Final = Span()


class SpanMismatch(Exception):
    """A span does not end at a row boundary, or not at the expected row."""


@dataclass(frozen=True, slots=True)
class MalformedRow:
    """A row with too few or too many cells.

    Attributes:
        row: its number.
        text: the row, unchanged.
    """

    row: int
    text: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Some consecutive rows of a file.

    Attributes:
        rows: a `string` column per header, then `_row`.
        malformed: rows with too few or too many cells.
        bytes_read: bytes of the file read so far, as stored.
    """

    rows: pa.RecordBatch
    malformed: tuple[MalformedRow, ...]
    bytes_read: int


@contextmanager
def allow_long_cells() -> Iterator[None]:
    """Let the module `csv` read cells of up to `LONGEST_ROW` bytes."""
    limit = csv.field_size_limit(LONGEST_ROW)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def refuse_long_rows(rows: pa.RecordBatch, name: str) -> None:
    """Refuse a file with a row longer than `LONGEST_ROW`.

    Args:
        rows: `string` columns, then `_row`.
        name: of the file.

    Raises:
        ExtractError: naming the row.
    """
    cells = rows.columns[:-1]
    # Without the offsets, most batches hold less text than one row may.
    if sum(column.nbytes for column in cells) - 4 * len(cells) * len(rows) <= LONGEST_ROW:
        return
    lengths = np.full(len(rows), len(cells), dtype=np.int64)
    for column in cells:
        lengths += pc.binary_length(column).to_numpy(zero_copy_only=False)
    long = np.flatnonzero(lengths > LONGEST_ROW)
    if len(long):
        raise long_row_error(name, rows.column(ROW_COLUMN)[int(long[0])].as_py())


def long_row_error(name: str, row: int) -> ExtractError:
    """Return the error of a row longer than `LONGEST_ROW`."""
    return ExtractError(f"{name}: row {row} is longer than {LONGEST_ROW >> 10} KB")


def drop_empty_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows with a filled cell. The last column is the row number."""
    is_empty: Any = None
    for column in batch.columns[:-1]:
        is_empty_cell = pc.equal(pc.binary_length(column), 0)
        is_empty = is_empty_cell if is_empty is None else pc.and_(is_empty, is_empty_cell)
        if not pc.any(is_empty).as_py():
            return batch
    return batch.filter(pc.invert(is_empty))
