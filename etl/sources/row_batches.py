"""Batches of a file's rows, and spans of files: what readers of files of every kind share.

A batch has one `string` column a header, as the file has them, and `_row`: the row number that a
spreadsheet would show.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.errors import ExtractError
from etl.model.canonical_tables import ROW_COLUMN

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


def filled_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return rows without those in which every cell is empty."""
    blank: Any = None
    for column in batch.columns[:-1]:
        empty = pc.equal(pc.binary_length(column), 0)
        blank = empty if blank is None else pc.and_(blank, empty)
        if not pc.any(blank).as_py():
            return batch
    return batch.filter(pc.invert(blank))
