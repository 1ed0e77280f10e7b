"""The text of a span of a file, as a stream that a parser reads."""

from __future__ import annotations

import codecs
import io
from threading import Event, Lock
from typing import Final

from etl.errors import EtlError, ExtractError
from etl.sources.extract_folder import (
    PACKING_ERRORS,
    Listed,
    broken_packing,
    refuse_nul,
    unpacked,
)
from etl.sources.file_splits import QuoteWatch
from etl.sources.row_batches import Span

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
