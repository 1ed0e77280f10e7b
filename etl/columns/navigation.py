"""Navigate from row to row: follow relations of `etl.model.relations`, a column at a time.

A relation is an array of positions in the other table, with -1 for rows without one, so that
following it is a `take`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Indices


def positions(column: pa.StringArray, ids: pa.StringArray) -> Indices:
    """Return the first position of each text of a column in another; -1 if missing or null."""
    index = pc.index_in(column, value_set=ids, skip_nulls=True)
    return np.asarray(pc.fill_null(index, -1), dtype=np.int64)


def positions_of_runs(column: pa.StringArray, ids: pa.StringArray) -> Indices:
    """Return the same as `positions`; faster if equal texts are adjacent."""
    if len(column) == 0:
        return np.empty(0, dtype=np.int64)
    is_new_run = pc.fill_null(pc.not_equal(column.slice(1), column.slice(0, len(column) - 1)), True)
    run_starts = np.concatenate(([0], np.flatnonzero(np.asarray(is_new_run)) + 1))
    counts = np.diff(np.append(run_starts, len(column)))
    return np.repeat(positions(column.take(pa.array(run_starts)), ids), counts)


def positions_of_keys(keys: Indices, ids: Indices) -> Indices:
    """Return the first position of each number among others; -1 if missing or negative."""
    if not len(ids):
        return np.full(len(keys), -1, dtype=np.int64)
    order = np.argsort(ids, kind="stable")
    index = np.minimum(np.searchsorted(ids, keys, sorter=order), len(ids) - 1)
    candidates = order[index]
    return np.where((keys >= 0) & (ids[candidates] == keys), candidates, -1)


@dataclass(frozen=True, slots=True)
class Children:
    """The related rows of all rows of a table.

    Attributes:
        rows: positions of the related rows in their table, grouped by parent.
        parents: position of each row's parent, ascending.
        starts: where the rows of each parent start in `rows`, and the end.
    """

    rows: Indices
    parents: Indices
    starts: Indices

    @classmethod
    def grouped(cls, rows: Indices, parents: Indices, size: int) -> Children:
        """Group related rows by their `size` parents."""
        if np.any(np.diff(parents) < 0):
            order = np.argsort(parents, kind="stable")
            rows, parents = rows[order], parents[order]
        return cls(rows, parents, starts_of(parents, size))


def starts_of(parents: Indices, size: int) -> Indices:
    """Return where the rows of each parent start, and the end; shape (size + 1,)."""
    starts = np.zeros(size + 1, dtype=np.int64)
    np.cumsum(np.bincount(parents, minlength=size), out=starts[1:])
    return starts


def children_by_key(parents: pa.StringArray, rows: pa.StringArray) -> Children:
    """Find the rows that refer to each parent; parents with equal keys share their rows.

    Args:
        parents: shape (n,), the key of each parent, or null.
        rows: shape (m,), the parent key in each row, or null.
    """
    keys = pc.unique(parents.drop_null())
    keyed = positions(rows, keys)
    by_key = Children.grouped(np.flatnonzero(keyed >= 0), keyed[keyed >= 0], len(keys))
    parent_keys = positions(parents, keys)
    counts = np.where(parent_keys >= 0, np.diff(by_key.starts, append=0)[parent_keys], 0)
    first_rows = np.where(parent_keys >= 0, by_key.starts[parent_keys], 0)
    starts = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    owners = np.repeat(np.arange(len(parents)), counts)
    offsets = np.arange(starts[-1]) - starts[owners]
    return Children(by_key.rows[first_rows[owners] + offsets], owners, starts)
