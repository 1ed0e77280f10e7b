"""The accepted rows of one partition, as columns, with the ways from row to row.

Columns are single Arrow arrays, made when first asked for and kept. Relations are arrays of row
positions, so that following one is a `take`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.engine import derive
from etl.engine.kernels import Indices
from etl.mapping.rows import Many, One
from etl.model.tables import TABLES


@dataclass(frozen=True, slots=True)
class Children:
    """The related rows of all rows of a table.

    Attributes:
        rows: positions of the related rows in their own table, grouped by parent.
        parents: position of the parent of each, ascending.
    """

    rows: Indices
    parents: Indices


@dataclass(eq=False)
class Partition:
    """All tables of one partition.

    Attributes:
        tables: canonical tables, each in the order of its key; the directory's tables among them
            where mappings look at organizations.
    """

    tables: Mapping[str, pa.Table]
    _columns: dict[tuple[str, str], pa.StringArray] = field(default_factory=dict)
    _children: dict[tuple[str, Many], Children] = field(default_factory=dict)
    _named: dict[tuple[str, One], Indices] = field(default_factory=dict)

    def size(self, table: str) -> int:
        """Return how many rows a table has."""
        found = self.tables.get(table)
        return 0 if found is None else found.num_rows

    def column(self, table: str, name: str) -> pa.StringArray:
        """Return a column of a table, derived ones included; shape (size,), null where absent."""
        key = (table, name)
        if key not in self._columns:
            self._columns[key] = self._column(table, name)
        return self._columns[key]

    def _column(self, table: str, name: str) -> pa.StringArray:
        if table not in self.tables:
            return pa.nulls(0, pa.string())
        if TABLES[table].column(name) is None:
            return derive.column(self, table, name)
        rows = self.tables[table]
        column = rows.column(name)
        return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)

    def children(self, table: str, relation: Many) -> Children:
        """Return the related rows of every row of a table."""
        key = (table, relation)
        if key not in self._children:
            self._children[key] = self._related(table, relation)
        return self._children[key]

    def _related(self, table: str, relation: Many) -> Children:
        ours = self._key(table, tuple(mine for mine, _ in relation.on))
        theirs = tuple(other for _, other in relation.on)
        if relation.listed:
            lists = pc.split_pattern(self.column(relation.table, theirs[-1]), ";")
            rows = pc.list_parent_indices(lists)
            values = pc.list_flatten(lists)
            keys = [self.column(relation.table, name).take(rows) for name in theirs[:-1]]
            named = _joined([*keys, values])
            positions = np.asarray(rows, dtype=np.int64)
        else:
            named = self._key(relation.table, theirs)
            positions = np.arange(len(named), dtype=np.int64)
        parents = _positions(named, ours)
        known = parents >= 0
        positions, parents = positions[known], parents[known]
        if np.any(np.diff(parents) < 0):
            order = np.argsort(parents, kind="stable")
            positions, parents = positions[order], parents[order]
        return Children(positions, parents)

    def named(self, table: str, relation: One) -> Indices:
        """Return the position of the row that each row of a table names; -1 for none."""
        key = (table, relation)
        if key not in self._named:
            theirs = self.column(relation.table, relation.key)
            self._named[key] = _positions(self.column(table, relation.column), theirs)
        return self._named[key]

    def _key(self, table: str, columns: tuple[str, ...]) -> pa.StringArray:
        return _joined([self.column(table, name) for name in columns])


def _joined(columns: list[pa.StringArray]) -> pa.StringArray:
    return columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, "\x1f")


def _positions(column: pa.StringArray, of: pa.StringArray) -> Indices:
    """Return where each text of a column stands in another; -1 where it does not, or is absent."""
    found = pc.index_in(column, value_set=of, skip_nulls=True)
    return np.asarray(pc.fill_null(found, -1), dtype=np.int64)
