"""Rows of one partition as columns, and relations between them as positions of rows.

Columns are single Arrow arrays, made at first use and cached. Relations are arrays of row
positions, so that following one is a `take`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.claims.adjustment_chains import Chains, find_chains
from etl.columns.arrays import Indices, column_of, list_values
from etl.columns.navigation import (
    Children,
    children_by_key,
    positions,
    positions_of_keys,
    positions_of_runs,
)
from etl.model.canonical_tables import KEYS, TABLES
from etl.model.crosswalks import Crosswalk
from etl.model.relations import Many, One

_OWNER_TABLES: Final = {column: table for table, column in KEYS.items()}


@dataclass(eq=False)
class RelatedRows:
    """All tables of one partition, and the relations between their rows.

    Attributes:
        tables: canonical tables, each sorted by its key; with the provider directory's tables if
            mappings read organizations.
        known_chains: chains of the claims, found when unpublished claims were still present; None
            to find them in the tables.
        crosswalks: those that derived columns look words up in.
    """

    tables: Mapping[str, pa.Table]
    known_chains: Chains | None = None
    crosswalks: Mapping[str, Crosswalk] = field(default_factory=dict)
    _columns: dict[tuple[str, str], pa.StringArray] = field(default_factory=dict)
    _children: dict[tuple[str, Many], Children] = field(default_factory=dict)
    _referenced: dict[tuple[str, One], Indices] = field(default_factory=dict)
    _owner_positions: dict[tuple[str, str], Indices] = field(default_factory=dict)

    def size(self, table: str) -> int:
        """Return the number of rows of a table."""
        rows = self.tables.get(table)
        return 0 if rows is None else rows.num_rows

    @cached_property
    def chains(self) -> Chains:
        """The adjustment chains of the claims."""
        return find_chains(self.tables) if self.known_chains is None else self.known_chains

    def column(self, table: str, name: str) -> pa.StringArray:
        """Return a stored or derived column of a table; shape (size,)."""
        key = (table, name)
        if key not in self._columns:
            self._columns[key] = self._load_column(table, name)
        return self._columns[key]

    def columns_read(self, table: str) -> frozenset[str]:
        """Return the columns of a table that have been read so far."""
        return frozenset(name for other_table, name in self._columns if other_table == table)

    def _load_column(self, table: str, name: str) -> pa.StringArray:
        if table not in self.tables:
            return pa.nulls(0, pa.string())
        if TABLES[table].column(name) is None:
            return self._derive_column(table, name)
        return column_of(self.tables[table], name)

    def _derive_column(self, table: str, name: str) -> pa.StringArray:
        raise KeyError(name)

    def children(self, table: str, relation: Many) -> Children:
        """Return the related rows of every row of a table."""
        key = (table, relation)
        if key not in self._children:
            self._children[key] = self._find_children(table, relation)
        return self._children[key]

    def _find_children(self, table: str, relation: Many) -> Children:
        size = self.size(table)
        if relation.listed:
            numbers, rows = list_values(self.column(relation.table, relation.on[-1][1]))
        else:
            rows = np.arange(self.size(relation.table), dtype=np.int64)
            numbers = None
        (own_column, foreign_column), *number_columns = relation.on
        if foreign_column not in _OWNER_TABLES:
            return children_by_key(
                self.column(table, own_column), self.column(relation.table, foreign_column)
            )
        owners = self._owners(relation.table, foreign_column)[rows]
        if number_columns:
            (own_column, number_column) = number_columns[0]
            if numbers is None:
                numbers = self.column(relation.table, number_column)
            owners = self._rows_by_number(table, own_column, owners, numbers)
        is_owned = owners >= 0
        if not is_owned.all():
            rows, owners = rows[is_owned], owners[is_owned]
        return Children.grouped(rows, owners, size)

    def _owners(self, table: str, column: str) -> Indices:
        """Return each row's member or header as its position; -1 for none.

        Rows are sorted by their key, so the rows of a header are adjacent and only the first one is
        looked up.
        """
        key = (table, column)
        if key not in self._owner_positions:
            texts = self.column(table, column)
            owner_table = _OWNER_TABLES[column]
            self._owner_positions[key] = positions_of_runs(texts, self.column(owner_table, column))
        return self._owner_positions[key]

    def _rows_by_number(
        self, table: str, column: str, claims: Indices, numbers: pa.StringArray
    ) -> Indices:
        """Find the rows with the given numbers within their headers; -1 for none.

        Args:
            table: a table of lines.
            column: the table's column with the number.
            claims: shape (n,), position of the wanted header.
            numbers: shape (n,), text of the wanted number.
        """
        row_headers = self._owners(table, TABLES[table].key[0])
        encoded = self.column(table, column).dictionary_encode()
        codes = positions(numbers, encoded.dictionary)
        width = max(1, len(encoded.dictionary))
        keys = row_headers * width + np.asarray(pc.fill_null(encoded.indices, 0), dtype=np.int64)
        wanted_keys = np.where((claims >= 0) & (codes >= 0), claims * width + codes, -1)
        return positions_of_keys(wanted_keys, keys)

    def referenced_rows(self, table: str, relation: One) -> Indices:
        """Return the position of the row that each row refers to; -1 for none."""
        key = (table, relation)
        if key not in self._referenced:
            referenced_keys = self.column(relation.table, relation.key)
            self._referenced[key] = positions(self.column(table, relation.column), referenced_keys)
        return self._referenced[key]


DeriveColumn: TypeAlias = Callable[[RelatedRows], pa.StringArray]
"""Derives a column of a table; shape (rows of the table,), null if absent."""
