"""Spans of files, their text as a stream that a parser reads, and the batches made of it."""

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
    PACKING_ERRORS,
    Listed,
    QuoteWatch,
    broken_packing,
    refuse_nul,
    unpacked,
)

_LAST_READ_SECONDS: Final = 0.2


class SpanText(io.RawIOBase):
    """The bytes of a span: unpacked, checked to be text, and followed by a sentinel row.

    The parser reads ahead in a thread of its own. Closing lets that thread read the end of the text
    first: one that still reads while the interpreter shuts down would abort the process.

    Args:
        listed: the file.
        span: what to read of it; bytes are those of the file as it is stored.
        end: the sentinel row.
        quotes: watches the quotes of the text; None where cells are not quoted.

    Attributes:
        name: of the file.
        error: what kept it from being read; None so far.
    """

    def __init__(self, listed: Listed, span: Span, end: bytes, quotes: QuoteWatch | None) -> None:
        super().__init__()
        self._quotes = quotes
        self.name = listed.name
        self._listed = listed
        self._raw = listed.open()
        self._stream = unpacked(self._raw, listed.compression, listed.name)
        if span.start:
            self._stream.seek(span.start)
        self._start = span.start
        self._left = None if span.end is None else span.end - span.start
        self._end = end
        self._last = b"\n"  # what stands before a span
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._before = span.start
        self._line = 1
        self.error: EtlError | None = None
        self._reading = Lock()
        self._is_over = False
        self._end_was_read = Event()

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    @property
    def done(self) -> int:
        """Bytes read of the span as it is stored."""
        return self._raw.tell() - self._start

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, at most so many; the sentinel row after the last, then none.

        Raises:
            ExtractError: they are no UTF-8 text, have a NUL, or cannot be read; kept in `error`.
            OSError: likewise.
        """
        with self._reading:
            try:
                text = b"" if self._is_over else self._next(size)
            except BaseException:
                self._end_was_read.set()
                raise
            if not text:
                self._end_was_read.set()
            return text

    def _next(self, size: int) -> bytes:
        # Arrow raises an exception of its own instead of ours, so ours is kept here.
        try:
            chunk: bytes = self._stream.read(size if self._left is None else min(size, self._left))
            refuse_nul(chunk, self._before, self.name)
            self._refuse_other_encodings(chunk)
        except EtlError as error:
            self.error = error
            raise
        except PACKING_ERRORS as error:
            self.error = broken_packing(self._listed)
            raise OSError from error
        except OSError as error:
            self.error = ExtractError(f"{self.name} cannot be read: {error.strerror}")
            raise
        if self._quotes is not None:
            self._quotes.see(chunk or b"\n")
        if not chunk:
            end, self._end = self._end, b""
            return end if self._last in (b"\n", b"\r") or not end else b"\n" + end
        self._before += len(chunk)
        self._line += chunk.count(b"\n")
        self._last = chunk[-1:]
        if self._left is not None:
            self._left -= len(chunk)
        return chunk

    def _refuse_other_encodings(self, chunk: bytes) -> None:
        # A character may be cut in two by the end of a chunk: then the decoder holds its start.
        held = self._decoder.getstate()[0]
        if chunk and not held and chunk.isascii():
            return
        try:
            self._decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            line = self._line + (held + chunk)[: error.start].count(b"\n")
            raise ExtractError(
                f"{self.name}: byte {self._before - len(held) + error.start + 1}, in line {line}, "
                "is not UTF-8; write the file as UTF-8"
            ) from None

    def close(self) -> None:
        """Close the file, once the parser has read the end or reads no more."""
        if not self.closed:
            with self._reading:
                self._is_over = True
            self._end_was_read.wait(_LAST_READ_SECONDS)
            self._stream.close()
            self._raw.close()
        super().close()


LONGEST_ROW: Final = 1 << 20
"""Most bytes of a row, in files of every kind; FHIR R4 allows a string as many characters."""


@dataclass(frozen=True, slots=True)
class Span:
    """Part of a file, from the beginning of a row to the end of one.

    Attributes:
        start: where it begins, in bytes.
        row: number of the row that it begins with; where `start` is 0 that is the header's.
        end: where it ends; None for the end of the file.
        next_row: number of the row that follows it; None if unknown.
    """

    start: int = 0
    row: int = 1
    end: int | None = None
    next_row: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole file."""
        return self.start == 0 and self.end is None


WHOLE: Final = Span()


class SpanAstray(Exception):
    """A span does not end at a row boundary, or not at the expected row."""


@dataclass(frozen=True, slots=True)
class Ragged:
    """A row with another number of cells than the header.

    Attributes:
        row: its number.
        text: the row as it was.
    """

    row: int
    text: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Some consecutive rows of a file.

    Attributes:
        rows: a `string` column a header, then `_row`.
        ragged: rows with too few or too many cells.
        done: bytes of the file read so far, as stored.
    """

    rows: pa.RecordBatch
    ragged: tuple[Ragged, ...]
    done: int


@contextmanager
def csv_of_rows() -> Iterator[None]:
    """Let the module `csv` read cells as long as a row may be."""
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
        raise row_too_long(name, rows.column(ROW_COLUMN)[int(long[0])].as_py())


def row_too_long(name: str, row: int) -> ExtractError:
    """Return the error of a row longer than `LONGEST_ROW`."""
    return ExtractError(f"{name}: row {row} is longer than {LONGEST_ROW >> 10} KB")


def drop_empty_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return rows without those in which every cell is empty. The last column is the row number."""
    is_empty: Any = None
    for column in batch.columns[:-1]:
        is_empty_cell = pc.equal(pc.binary_length(column), 0)
        is_empty = is_empty_cell if is_empty is None else pc.and_(is_empty, is_empty_cell)
        if not pc.any(is_empty).as_py():
            return batch
    return batch.filter(pc.invert(is_empty))
