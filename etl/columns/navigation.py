"""The way from row to row: relations of `etl.model.relations`, followed a whole column at a time.

A relation is an array of positions in the other table, -1 for rows without one, so that following
it is a `take`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Indices


def positions(column: pa.StringArray, ids: pa.StringArray) -> Indices:
    """Return where each text of a column first stands in another; -1 if it does not or is null."""
    position = pc.index_in(column, value_set=ids, skip_nulls=True)
    return np.asarray(pc.fill_null(position, -1), dtype=np.int64)


def positions_of_runs(column: pa.StringArray, ids: pa.StringArray) -> Indices:
    """Return the same as `positions`; quicker where equal texts stand together."""
    if len(column) == 0:
        return np.empty(0, dtype=np.int64)
    changes = pc.fill_null(pc.not_equal(column.slice(1), column.slice(0, len(column) - 1)), True)
    firsts = np.concatenate(([0], np.flatnonzero(np.asarray(changes)) + 1))
    counts = np.diff(np.append(firsts, len(column)))
    return np.repeat(positions(column.take(pa.array(firsts)), ids), counts)


def positions_of_keys(keys: Indices, ids: Indices) -> Indices:
    """Return where each number first stands among others; -1 if it does not or is below 0."""
    if not len(ids):
        return np.full(len(keys), -1, dtype=np.int64)
    order = np.argsort(ids, kind="stable")
    position = np.minimum(np.searchsorted(ids, keys, sorter=order), len(ids) - 1)
    positions_found = order[position]
    return np.where((keys >= 0) & (ids[positions_found] == keys), positions_found, -1)


@dataclass(frozen=True, slots=True)
class Children:
    """The related rows of all rows of a table.

    Attributes:
        rows: positions of the related rows in their own table, grouped by parent.
        parents: position of the parent of each, ascending.
        starts: where the rows of each parent start in `rows`, and one more for the end.
    """

    rows: Indices
    parents: Indices
    starts: Indices

    @classmethod
    def grouped(cls, rows: Indices, parents: Indices, size: int) -> Children:
        """Return related rows by their parents, of which there are `size`."""
        if np.any(np.diff(parents) < 0):
            order = np.argsort(parents, kind="stable")
            rows, parents = rows[order], parents[order]
        return cls(rows, parents, starts_of(parents, size))


def starts_of(parents: Indices, size: int) -> Indices:
    """Return where the rows of each parent start, and one more for the end; shape (size + 1,)."""
    starts = np.zeros(size + 1, dtype=np.int64)
    np.cumsum(np.bincount(parents, minlength=size), out=starts[1:])
    return starts


def children_by_key(parents: pa.StringArray, rows: pa.StringArray) -> Children:
    """Return the rows that name each parent by its key; parents with one key have the same rows.

    Args:
        parents: shape (n,), the key of each parent; null for none.
        rows: shape (m,), the key that each row names; null for none.
    """
    keys = pc.unique(parents.drop_null())
    named = positions(rows, keys)
    by_key = Children.grouped(np.flatnonzero(named >= 0), named[named >= 0], len(keys))
    own = positions(parents, keys)
    counts = np.where(own >= 0, np.diff(by_key.starts, append=0)[own], 0)
    first = np.where(own >= 0, by_key.starts[own], 0)
    starts = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    owners = np.repeat(np.arange(len(parents)), counts)
    within = np.arange(starts[-1]) - starts[owners]
    return Children(by_key.rows[first[owners] + within], owners, starts)
