"""Splits of delimited files at record boundaries, and row counts, found while a file is hashed.

A line end with an even number of quotes before it ends a row, unless a quote stands inside a cell
that is not quoted (an inch mark). So the splits are good guesses, and the reader of a span checks
whether it ended as expected (`delimited.SpanAstray`). The number of rows is as good a guess. It is
counted without a parser, so that it shows where a parser lost rows.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

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
            ends = _places(chunk, _LINE_END)
            quotes = _places(chunk, _QUOTE) if quoted else ends[:0]
            before = self._quotes + np.searchsorted(quotes, ends)
            ends = ends[before % 2 == 0]
            if wanted:
                self._cut(ends)
            self._rows += len(ends)
            self._quotes += len(quotes)
        elif self._quotes % 2 == 0:
            self._rows += int(np.count_nonzero(_is(chunk, _LINE_END)))
        self._at += len(chunk)

    def _cut(self, ends: Places) -> None:
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
            at = _places(text[1:-1], _QUOTE) + 1
            closing = (self._quotes + np.arange(len(at))) % 2
            beside = np.frombuffer(text, dtype=np.uint8)[at + np.where(closing, 1, -1)]
            self.is_astray = not self._ends[beside].all()
            self._quotes += len(at)
        self._tail = text[-2:]


def _places(chunk: bytes, byte: bytes) -> Places:
    return np.flatnonzero(_is(chunk, byte))


def _is(chunk: bytes, byte: bytes) -> npt.NDArray[np.bool_]:
    # Compared as numbers, all at once: `bytes.count` takes a nanosecond a byte.
    same: npt.NDArray[np.bool_] = np.frombuffer(chunk, dtype=np.uint8) == ord(byte)
    return same
