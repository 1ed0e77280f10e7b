"""Cells of another raw file: which of its rows fit a row, and whether they agree.

Rows fit that are the same member's and have the same key. Where several do, the first in the order
that the layout declares counts; where it declares none, or several come first, they must all say
the same. A row that could not be read fits whatever it may fit, and says nothing that is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, compound_keys
from etl.sources.layout_columns import Lookup, RowOrder
from etl.sources.row_merging import RawRows, number_rank


@dataclass(frozen=True, slots=True)
class Matches:
    """The rows of another raw file, as a lookup sees them.

    Attributes:
        keys: `string`: distinct members with their keys.
        values: what each says; null where it says nothing, or rows disagree.
        torn: numpy `bool`: where rows disagree.
        unread: `string`: members with keys of rows that could not be read.
        anything: `string`: members of whom rows could not be read whose key is unknown too.
    """

    keys: Any
    values: Any
    torn: Bools
    unread: Any
    anything: Any

    @classmethod
    def of(cls, rows: RawRows, source: Lookup) -> Matches:
        """Return how a lookup sees the rows of a file."""
        keys = compound_keys(rows.column(source.other_member), rows.column(source.key))
        there = np.flatnonzero(keys.is_valid().to_numpy(zero_copy_only=False))
        encoded = keys.take(pa.array(there)).dictionary_encode()
        group = encoded.indices.to_numpy().astype(np.int64)
        ranks = _ranks(rows, source.order)
        order = np.lexsort((*(rank[there] for rank in reversed(ranks)), group))
        ranked = [rank[there][order] for rank in ranks]
        group, at = group[order], there[order]
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        first = np.repeat(starts, np.diff(np.append(starts, len(group))))
        ties = np.ones(len(group), dtype=bool)
        for rank in ranked:
            ties &= rank == rank[first]
        said = rows.column(source.value).dictionary_encode().indices
        codes = pc.fill_null(said, -1).to_numpy().astype(np.int64)[at]
        torn = np.zeros(len(encoded.dictionary), dtype=bool)
        torn[group[ties & (codes != codes[first])]] = True
        values = rows.column(source.value).take(pa.array(at[starts]))
        number = group[starts]
        whole = pc.if_else(pa.array(torn[number]), None, values)
        lost = RawRows(rows.unread if rows.unread is not None else rows.table.slice(0, 0))
        members = lost.column(source.other_member)
        unread = compound_keys(members, lost.column(source.key))
        anything = members.filter(pc.and_(members.is_valid(), unread.is_null()))
        return cls(encoded.dictionary.take(pa.array(number)), whole, torn[number], unread, anything)

    def answer(self, members: Any, keys: Any) -> tuple[Any, Bools]:
        """Return what is found for each row, and where the rows that fit disagree."""
        wanted = compound_keys(members, keys)
        at = pc.index_in(wanted, value_set=self.keys, skip_nulls=True)
        torn = np.append(self.torn, False)[pc.fill_null(at, len(self.torn)).to_numpy()]
        for ours, lost in ((wanted, self.unread), (members, self.anything)):
            torn |= np.asarray(pc.and_(pc.is_in(ours, value_set=lost), wanted.is_valid()))
        return pc.if_else(pa.array(torn), None, self.values.take(at)), torn


def _ranks(rows: RawRows, order: tuple[RowOrder, ...]) -> list[Any]:
    """Return the keys that put rows in order, the first the most important."""
    found = []
    for key in order:
        cells = rows.column(key.column)
        absent = cells.is_null().to_numpy(zero_copy_only=False)
        sign = -1 if key.descending else 1
        found += [absent, *(np.where(absent, 0, sign * rank) for rank in number_rank(cells))]
    return found
