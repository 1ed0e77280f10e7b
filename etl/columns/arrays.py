"""Columns as Arrow and numpy arrays: masks, bytes, runs, and what a column kernel gives back.

A kernel reads a whole column at once. Property tests compare it with a slow, obvious oracle.
Callers usually run it over the distinct values of a column only (`etl.quality.checks.frames`).
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
        values: `string`, shape (n,): the canonical text; null where absent or bad.
        bad: `bool`, shape (n,), never null: text was there but cannot be read as the type.
    """

    values: Any
    bad: Any


def as_array(column: Any) -> Any:
    """Return a column as one contiguous `string` array, chunked or not."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # older Arrow kept one chunk a chunked array
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.string())
    return column


def true_where(mask: Any) -> Bools:
    """Return a boolean Arrow array as numpy, null read as false."""
    where: Bools = pc.fill_null(mask, False).to_numpy(zero_copy_only=False)
    return where


def trimmed(column: Any) -> Any:
    """Return text without the blanks around it; null where nothing is left."""
    return without_empty(pc.utf8_trim_whitespace(column))


def without_empty(column: Any) -> Any:
    """Return text, null where it is empty."""
    return pc.if_else(pc.equal(pc.binary_length(column), 0), pa.scalar(None, pa.string()), column)


def matches(column: Any, pattern: str) -> Any:
    """Return where the text matches an RE2 pattern, as numpy; an absent cell does not."""
    return true_where(pc.match_substring_regex(column, pattern=pattern))


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


def column_of(table: pa.Table, name: str) -> pa.StringArray:
    """Return a column of a table as a single array."""
    column = table.column(name)
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def text_bytes(column: pa.StringArray | pa.LargeStringArray) -> npt.NDArray[np.uint8]:
    """Return the bytes of all texts of a column, one after the other, without copying them."""
    _, offsets, data = column.buffers()
    if data is None or len(column) == 0:
        return np.empty(0, dtype=np.uint8)
    width = np.dtype(np.int64 if pa.types.is_large_string(column.type) else np.int32)
    start = width.itemsize * column.offset
    bounds = np.frombuffer(offsets, dtype=width, count=len(column) + 1, offset=start)
    return np.frombuffer(data, dtype=np.uint8)[bounds[0] : bounds[-1]]


def join(*pieces: str | pa.StringArray, absent_as_empty: bool) -> pa.StringArray:
    """Return the pieces of each row, joined; a `str` is the same in every row.

    Args:
        pieces: at least one of them a column.
        absent_as_empty: an absent piece is nothing; else it makes its whole row absent.
    """
    if absent_as_empty:
        return pc.binary_join_element_wise(
            *pieces, "", null_handling="replace", null_replacement=""
        )
    return pc.binary_join_element_wise(*pieces, "")


def valid(column: pa.Array) -> Bools | bool:
    """Return where a column is there; True or False where that is the same in every row."""
    if column.null_count == 0:
        return True
    if column.null_count == len(column):
        return False
    return np.asarray(column.is_valid())


def over_distinct(column: pa.StringArray, answers: object) -> pa.StringArray:
    """Return a column mapped by a function, which is called once with all distinct texts.

    Args:
        column: shape (n,).
        answers: takes the distinct texts, returns one text or None for each.
    """
    encoded = column.dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    given = pa.array(answers(texts), pa.string())  # type: ignore[operator]
    return given.take(encoded.indices)


def total_of_groups(values: Indices, groups: Indices, size: int) -> Indices:
    """Return the sum of the values of each group, exactly.

    Args:
        values: shape (m,).
        groups: shape (m,), ascending: the group of each value.
        size: how many groups there are.
    """
    sums = np.zeros(size + 1, dtype=np.int64)
    running = np.concatenate(([0], np.cumsum(values)))
    bounds = np.searchsorted(groups, np.arange(size + 1))
    sums[:] = running[bounds]
    return np.diff(sums)


def compound_keys(*parts: str | pa.StringArray) -> pa.StringArray:
    """Return one text for the parts of each row; null where one of them is."""
    return pc.binary_join_element_wise(*parts, "\x1f")


def first_of_each(keys: pa.StringArray) -> Bools:
    """Return where a key occurs for the first time; true where there is none."""
    first: Bools = ~np.asarray(keys.is_valid())
    encoded = np.asarray(pc.fill_null(keys.dictionary_encode().indices, -1))
    numbers, positions = np.unique(encoded, return_index=True)
    first[positions[numbers >= 0]] = True
    return first


def any_valid(columns: Iterable[pa.StringArray], size: int) -> Bools:
    """Return which rows are filled in any of some columns; shape (size,)."""
    is_valid = np.zeros(size, dtype=np.bool_)
    for column in columns:
        if column.null_count != len(column):
            is_valid |= np.asarray(column.is_valid())
    return is_valid


def list_values(column: pa.StringArray) -> tuple[pa.StringArray, Indices]:
    """Return the values of lists joined by `;`, and the row of each; a null list has none."""
    lists = pc.split_pattern(column, ";")
    return pc.list_flatten(lists), np.asarray(pc.list_parent_indices(lists), dtype=np.int64)


def lists_of(values: pa.StringArray, owners: Indices, size: int) -> pa.StringArray:
    """Return the values of each of `size` rows joined by `;`; null for none.

    Args:
        values: shape (m,), never null.
        owners: shape (m,), ascending: the row of each value.
        size: how many rows there are.
    """
    counts = np.bincount(owners, minlength=size)
    lists = joined_lists(values, counts, ";")
    return pc.if_else(pa.array(counts > 0), lists, pa.scalar(None, pa.string()))


def joined_lists(column: pa.StringArray, counts: Indices, separator: str) -> pa.StringArray:
    """Return runs of a column joined, `counts[i]` texts in row i.

    Args:
        column: shape (sum of counts,), never null.
        counts: shape (n,).
        separator: between two texts.

    Returns:
        Shape (n,), never null; "" for an empty run.
    """
    offsets = np.zeros(len(counts) + 1, dtype=np.int32)
    np.cumsum(counts, out=offsets[1:])
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), column), separator)


def joined_runs(column: pa.StringArray, starts: Indices) -> pa.StringArray:
    """Return runs of a column joined, without copying them: they share the column's bytes.

    Args:
        column: shape (m,); an absent text is nothing.
        starts: shape (n + 1,), ascending: position of the first text of each run, and the end.

    Returns:
        Shape (n,), never null; "" for an empty run.
    """
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, np.int32, len(column) + 1, offset=4 * column.offset)
    return pa.StringArray.from_buffers(len(starts) - 1, pa.py_buffer(bounds[starts]), data)
