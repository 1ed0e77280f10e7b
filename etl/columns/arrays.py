"""What a column kernel gives back, and the byte matrices it works on.

A kernel reads a whole column at once. It is held to a slow, obvious oracle by property tests, and
callers usually run it over the distinct values of a column only (`etl.quality.checks.frames`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True, slots=True)
class Parsed:
    """A column read as one type.

    Attributes:
        values: `string`, shape (n,): the canonical text; null where absent or bad.
        bad: `bool`, shape (n,), never null: text was there but cannot be read as the type.
    """

    values: Any
    bad: Any


def as_array(column: Any) -> Any:
    """Return a column as one contiguous `string` array, whatever it was chunked into."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # older Arrow kept one chunk a chunked array
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.string())
    return column


def true_where(mask: Any) -> Any:
    """Return a boolean Arrow array as numpy, null read as false."""
    return pc.fill_null(mask, False).to_numpy(zero_copy_only=False)


def matches(column: Any, pattern: str) -> Any:
    """Return where the text matches an RE2 pattern, as numpy; an absent cell does not."""
    return true_where(pc.match_substring_regex(column, pattern=pattern))


def byte_rows(column: Any, width: int) -> Any:
    """Return the bytes of a column whose every cell has the same width.

    Args:
        column: `string`, no nulls, every cell `width` bytes.
        width: bytes a cell.

    Returns:
        `uint8`, shape (n, width); a view of the column's own buffer.
    """
    count = len(column)
    if count == 0:
        return np.empty((0, width), dtype=np.uint8)
    _, offsets, data = column.buffers()
    first = int(np.frombuffer(offsets, dtype=np.int32, count=1, offset=4 * column.offset)[0])
    cells = np.frombuffer(data, dtype=np.uint8, count=count * width, offset=first)
    return cells.reshape(count, width)


def text_rows(rows: Any) -> Any:
    """Return the `string` array whose cells are the rows of a byte matrix, all ASCII."""
    count, width = rows.shape
    offsets = np.arange(count + 1, dtype=np.int32) * np.int32(width)
    data = np.ascontiguousarray(rows, dtype=np.uint8)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(data))


def replaced(column: Any, where: Any, values: Any) -> Any:
    """Return a column in which the cells at `where` are `values`, in order.

    Args:
        column: `string`, shape (n,).
        where: numpy `bool`, shape (n,).
        values: `string`, as many as `where` is true.
    """
    if not where.any():
        return column
    return as_array(pc.replace_with_mask(column, pa.array(where), values))


def blanked(column: Any, where: Any) -> Any:
    """Return a column in which the cells at `where` are absent."""
    if not where.any():
        return column
    return as_array(pc.if_else(pa.array(where), pa.scalar(None, pa.string()), column))
