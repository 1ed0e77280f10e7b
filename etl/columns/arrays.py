"""Columns as Arrow and numpy arrays: masks, bytes, runs, and the result of a column kernel.

A kernel reads a column at once. Property tests compare it with a slow, obvious oracle. Callers
usually run it only over the distinct values of a column (`etl.quality.checks.frames`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Bools: TypeAlias = npt.NDArray[np.bool_]
Indices: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Parsed:
    """A column read as one type.

    Attributes:
        values: `string`, shape (n,): the canonical text; null if absent or bad.
        bad: `bool`, shape (n,), never null: the cell has text that isn't valid for the type.
    """

    values: Any
    bad: Any


def as_array(column: Any) -> Any:
    """Return a column as one contiguous `string` array, chunked or not."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # older Arrow returns a chunked array
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.string())
    return column


def true_where(mask: Any) -> Bools:
    """Convert a boolean Arrow array to numpy; null becomes false."""
    values: Bools = pc.fill_null(mask, False).to_numpy(zero_copy_only=False)
    return values


def trimmed(column: Any) -> Any:
    """Strip surrounding blanks; null if nothing is left."""
    return empty_to_null(pc.utf8_trim_whitespace(column))


def empty_to_null(column: Any) -> Any:
    """Replace empty text by null."""
    return pc.if_else(pc.equal(pc.binary_length(column), 0), pa.scalar(None, pa.string()), column)


def matches(column: Any, pattern: str) -> Any:
    """Return numpy `bool`: which texts match an RE2 pattern; null doesn't."""
    return true_where(pc.match_substring_regex(column, pattern=pattern))


def replaced(column: Any, is_replaced: Any, values: Any) -> Any:
    """Replace some cells of a column.

    Args:
        column: `string`, shape (n,).
        is_replaced: numpy `bool`, shape (n,).
        values: `string`: one new value per replaced cell, in order.
    """
    if not is_replaced.any():
        return column
    return as_array(pc.replace_with_mask(column, pa.array(is_replaced), values))


def blanked(column: Any, is_blank: Any) -> Any:
    """Set some cells of a column to null."""
    if not is_blank.any():
        return column
    return as_array(pc.if_else(pa.array(is_blank), pa.scalar(None, pa.string()), column))


def column_of(table: pa.Table, name: str) -> pa.StringArray:
    """Return a column of a table as a single array."""
    column = table.column(name)
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def text_bytes(column: pa.StringArray | pa.LargeStringArray) -> npt.NDArray[np.uint8]:
    """Return the concatenated bytes of all texts of a column, without copying."""
    _, offsets, data = column.buffers()
    if data is None or len(column) == 0:
        return np.empty(0, dtype=np.uint8)
    width = np.dtype(np.int64 if pa.types.is_large_string(column.type) else np.int32)
    start = width.itemsize * column.offset
    bounds = np.frombuffer(offsets, dtype=width, count=len(column) + 1, offset=start)
    return np.frombuffer(data, dtype=np.uint8)[bounds[0] : bounds[-1]]


def join(*parts: str | pa.StringArray, absent_as_empty: bool) -> pa.StringArray:
    """Concatenate the parts of each row; a `str` is the same in every row.

    Args:
        parts: at least one of them is a column.
        absent_as_empty: a null part counts as empty; otherwise it makes its row null.
    """
    if absent_as_empty:
        return pc.binary_join_element_wise(*parts, "", null_handling="replace", null_replacement="")
    return pc.binary_join_element_wise(*parts, "")


def valid(column: pa.Array) -> Bools | bool:
    """Return which cells aren't null; a single bool if all rows agree."""
    if column.null_count == 0:
        return True
    if column.null_count == len(column):
        return False
    return np.asarray(column.is_valid())


def over_distinct(column: pa.StringArray, map_texts: object) -> pa.StringArray:
    """Map a column by a function that is called once, with all distinct texts.

    Args:
        column: shape (n,).
        map_texts: maps the distinct texts to one text or None each.
    """
    encoded = column.dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    mapped = pa.array(map_texts(texts), pa.string())  # type: ignore[operator]
    return mapped.take(encoded.indices)


def sum_groups(values: Indices, groups: Indices, size: int) -> Indices:
    """Add up the values of each group, exactly.

    Args:
        values: shape (m,).
        groups: shape (m,), ascending: the group of each value.
        size: number of groups.
    """
    sums = np.zeros(size + 1, dtype=np.int64)
    running = np.concatenate(([0], np.cumsum(values)))
    ends = np.searchsorted(groups, np.arange(size + 1))
    sums[:] = running[ends]
    return np.diff(sums)


def compound_keys(*parts: str | pa.StringArray) -> pa.StringArray:
    """Join the parts of each row to one key; null if a part is."""
    return pc.binary_join_element_wise(*parts, "\x1f")


def first_of_each(keys: pa.StringArray) -> Bools:
    """Return which rows have the first occurrence of their key; true for null."""
    first: Bools = ~np.asarray(keys.is_valid())
    encoded = np.asarray(pc.fill_null(keys.dictionary_encode().indices, -1))
    codes, positions = np.unique(encoded, return_index=True)
    first[positions[codes >= 0]] = True
    return first


def any_valid(columns: Iterable[pa.StringArray], size: int) -> Bools:
    """Return which rows are filled in any of the columns; shape (size,)."""
    is_valid = np.zeros(size, dtype=np.bool_)
    for column in columns:
        if column.null_count != len(column):
            is_valid |= np.asarray(column.is_valid())
    return is_valid


def list_values(column: pa.StringArray) -> tuple[pa.StringArray, Indices]:
    """Split lists at `;`; return all values and the row of each. A null list has none."""
    lists = pc.split_pattern(column, ";")
    return pc.list_flatten(lists), np.asarray(pc.list_parent_indices(lists), dtype=np.int64)


def number_within_owner(owners: Indices) -> pa.StringArray:
    """Return 1, 2, … within each owner; owners are ascending."""
    starts = np.searchsorted(owners, owners)
    return pa.array(np.arange(len(owners)) - starts + 1).cast(pa.string())


def lists_of(values: pa.StringArray, owners: Indices, size: int) -> pa.StringArray:
    """Join the values of each row by `;`; null for rows without values.

    Args:
        values: shape (m,), never null.
        owners: shape (m,), ascending: the row of each value.
        size: number of rows.
    """
    counts = np.bincount(owners, minlength=size)
    lists = join_lists(values, counts, ";")
    return pc.if_else(pa.array(counts > 0), lists, pa.scalar(None, pa.string()))


def join_lists(column: pa.StringArray, counts: Indices, separator: str) -> pa.StringArray:
    """Join runs of a column, `counts[i]` texts in row i.

    Args:
        column: shape (sum of counts,), never null.
        counts: shape (n,).
        separator: goes between two texts.

    Returns:
        Shape (n,), never null; "" for an empty run.
    """
    offsets = np.zeros(len(counts) + 1, dtype=np.int32)
    np.cumsum(counts, out=offsets[1:])
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), column), separator)


def join_runs(column: pa.StringArray, starts: Indices) -> pa.StringArray:
    """Join runs of a column without copying them: they share the column's bytes.

    Args:
        column: shape (m,); null counts as empty.
        starts: shape (n + 1,), ascending: index of the first text of each run, and the end.

    Returns:
        Shape (n,), never null; "" for an empty run.
    """
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, np.int32, len(column) + 1, offset=4 * column.offset)
    return pa.StringArray.from_buffers(len(starts) - 1, pa.py_buffer(bounds[starts]), data)
