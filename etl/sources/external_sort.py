"""Rows of 64-bit numbers, added in any order, read in ascending order and each once: on disk.

What is gathered is sorted, cut into a fixed number of ranges of the first number, and appended to a
file; reading puts together one range at a time. So memory holds what is gathered, or one range. The
first numbers are hashes, so that ranges are of about one size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.uint64]
"""Shape (n, width)."""

_GATHERED: Final = 1 << 18
"""Rows that are held before they are sorted and written."""
_RANGES: Final = 256
_BOUNDS: Final = np.arange(1, _RANGES, dtype=np.uint64) << np.uint64(56)


@dataclass(frozen=True, slots=True)
class Run:
    """Sorted rows in a file.

    Attributes:
        path: the file.
        bounds: where each range of first numbers begins in it, and where the last ends; in rows.
    """

    path: Path
    bounds: npt.NDArray[np.int64]


class SortedRows:
    """Distinct rows in ascending order.

    Args:
        path: a file of this object's own, made where it is needed.
        width: numbers of a row.
    """

    def __init__(self, path: Path, width: int) -> None:
        self._path = path
        self._width = width
        self._parts: list[Rows] = []
        self._gathered = 0
        self._runs: list[Run] = []
        self._end = 0

    def runs(self) -> tuple[Run, ...]:
        """Write what was put in, and return where it is: another process may `join` it.

        Raises:
            OSError: the file cannot be written.
        """
        self._write()
        return tuple(self._runs)

    def join(self, runs: Sequence[Run]) -> None:
        """Add the runs of another object; this one owns their files from now on."""
        self._runs += runs

    def add(self, rows: Rows) -> None:
        """Put rows in.

        Raises:
            OSError: the file cannot be written.
        """
        self._parts.append(rows)
        self._gathered += len(rows)
        if self._gathered > _GATHERED:
            self._write()

    def ranges(self) -> Iterator[Rows]:
        """Yield the rows in ascending order; all rows of one first number come together.

        Raises:
            OSError: the file cannot be written or read.
        """
        self._write()
        if not self._runs:
            return
        for number in range(_RANGES):
            yield distinct_rows(np.concatenate(list(self._pieces(number))))

    def _pieces(self, number: int) -> Iterator[Rows]:
        """Yield the rows of one range in each run; no more than one file is open at a time."""
        for path, runs in groupby(self._runs, key=lambda run: run.path):
            with path.open("rb") as file:
                for run in runs:
                    start, end = run.bounds[number : number + 2]
                    file.seek(int(start) * 8 * self._width)
                    data = file.read(int(end - start) * 8 * self._width)
                    yield np.frombuffer(data, np.uint64).reshape(-1, self._width)

    def remove(self) -> None:
        """Delete the files."""
        for path in {self._path, *(run.path for run in self._runs)}:
            path.unlink(missing_ok=True)

    def _write(self) -> None:
        if not self._gathered:
            return
        rows = distinct_rows(np.concatenate(self._parts))
        self._parts, self._gathered = [], 0
        inner = np.searchsorted(np.ascontiguousarray(rows[:, 0]), _BOUNDS)
        bounds = self._end + np.concatenate([[0], inner, [len(rows)]])
        self._runs.append(Run(self._path, bounds))
        with self._path.open("ab" if self._end else "wb") as file:
            file.write(rows.data)
        self._end += len(rows)


def distinct_rows(rows: Rows) -> Rows:
    """Return rows in ascending order, each once."""
    rows = rows[np.lexsort(rows.T[::-1])]
    keep = np.ones(len(rows), dtype=bool)
    keep[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return rows[keep]


def save_numbers(path: Path, pieces: Iterable[npt.NDArray[np.uint64]]) -> None:
    """Write numbers one after another into a file; existing maps of an older one stay valid.

    Raises:
        OSError: it cannot be written.
    """
    staged = path.with_name(path.name + ".part")
    with staged.open("wb") as file:
        for piece in pieces:
            file.write(np.ascontiguousarray(piece).data)
    staged.replace(path)


def open_numbers(path: Path) -> npt.NDArray[np.uint64]:
    """Return the numbers of a file, mapped and not copied.

    Raises:
        OSError: it cannot be read.
    """
    if not path.stat().st_size:  # an empty file cannot be mapped
        return np.empty(0, dtype=np.uint64)
    return np.memmap(path, dtype=np.uint64, mode="r").view(np.ndarray)
