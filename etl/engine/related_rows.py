"""Rows of one partition as columns, and relations between them as positions of rows.

Columns are single Arrow arrays, made at first use and cached. Relations are arrays of row
positions, so that following one is a `take`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.claims.adjustment_chains import Chains, chains_of
from etl.columns.arrays import Indices, column_of, list_values
from etl.columns.navigation import (
    Children,
    children_by_key,
    positions,
    positions_of_keys,
    positions_of_runs,
)
from etl.model.canonical_tables import KEYS, TABLES
from etl.model.relations import Many, One

_OWNERS: Final = {column: table for table, column in KEYS.items()}


@dataclass(eq=False)
class RelatedRows:
    """All tables of one partition, and the relations between their rows.

    Attributes:
        tables: canonical tables, each in the order of its key; the directory's tables among them
            where mappings read organizations.
        known_chains: chains of the claims, where claims that are not published were among them;
            None to find them in the tables.
    """

    tables: Mapping[str, pa.Table]
    known_chains: Chains | None = None
    _columns: dict[tuple[str, str], pa.StringArray] = field(default_factory=dict)
    _children: dict[tuple[str, Many], Children] = field(default_factory=dict)
    _named: dict[tuple[str, One], Indices] = field(default_factory=dict)
    _owned: dict[tuple[str, str], Indices] = field(default_factory=dict)

    def size(self, table: str) -> int:
        """Return how many rows a table has."""
        rows = self.tables.get(table)
        return 0 if rows is None else rows.num_rows

    @cached_property
    def chains(self) -> Chains:
        """The chains of adjustments of the claims."""
        return chains_of(self.tables) if self.known_chains is None else self.known_chains

    def column(self, table: str, name: str) -> pa.StringArray:
        """Return a column of a table, derived ones included; shape (size,), null where absent."""
        key = (table, name)
        if key not in self._columns:
            self._columns[key] = self._column(table, name)
        return self._columns[key]

    def columns_read(self, table: str) -> frozenset[str]:
        """Return the columns of a table that were read so far."""
        return frozenset(name for other_table, name in self._columns if other_table == table)

    def _column(self, table: str, name: str) -> pa.StringArray:
        if table not in self.tables:
            return pa.nulls(0, pa.string())
        if TABLES[table].column(name) is None:
            return self._derived(table, name)
        return column_of(self.tables[table], name)

    def _derived(self, table: str, name: str) -> pa.StringArray:
        raise KeyError(name)

    def children(self, table: str, relation: Many) -> Children:
        """Return the related rows of every row of a table."""
        key = (table, relation)
        if key not in self._children:
            self._children[key] = self._related(table, relation)
        return self._children[key]

    def _related(self, table: str, relation: Many) -> Children:
        size = self.size(table)
        if relation.listed:
            numbers, rows = list_values(self.column(relation.table, relation.on[-1][1]))
        else:
            rows = np.arange(self.size(relation.table), dtype=np.int64)
            numbers = None
        (mine, first), *more = relation.on
        if first not in _OWNERS:
            return children_by_key(self.column(table, mine), self.column(relation.table, first))
        owners = self._owners(relation.table, first)[rows]
        if more:
            (mine, other) = more[0]
            if numbers is None:
                numbers = self.column(relation.table, other)
            owners = self._among_siblings(table, mine, owners, numbers)
        is_owned = owners >= 0
        if not is_owned.all():
            rows, owners = rows[is_owned], owners[is_owned]
        return Children.grouped(rows, owners, size)

    def _owners(self, table: str, column: str) -> Indices:
        """Return the position of the member or header that each row of a table names; -1 for none.

        Rows are in the order of their key, so those of one header are adjacent, and only the first
        of each has to be looked up.
        """
        key = (table, column)
        if key not in self._owned:
            texts = self.column(table, column)
            owner = _OWNERS[column]
            self._owned[key] = positions_of_runs(texts, self.column(owner, column))
        return self._owned[key]

    def _among_siblings(
        self, table: str, column: str, claims: Indices, numbers: pa.StringArray
    ) -> Indices:
        """Return the row of a table that has a number within its header; -1 for none.

        Args:
            table: a table of lines.
            column: its number.
            claims: shape (n,), position of the header that is meant.
            numbers: shape (n,), text of the number that is meant.
        """
        own = self._owners(table, TABLES[table].key[0])
        numbered = self.column(table, column).dictionary_encode()
        place = positions(numbers, numbered.dictionary)
        width = max(1, len(numbered.dictionary))
        keys = own * width + np.asarray(pc.fill_null(numbered.indices, 0), dtype=np.int64)
        wanted = np.where((claims >= 0) & (place >= 0), claims * width + place, -1)
        return positions_of_keys(wanted, keys)

    def named(self, table: str, relation: One) -> Indices:
        """Return the position of the row that each row of a table names; -1 for none."""
        key = (table, relation)
        if key not in self._named:
            theirs = self.column(relation.table, relation.key)
            self._named[key] = positions(self.column(table, relation.column), theirs)
        return self._named[key]
