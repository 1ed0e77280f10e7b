"""Rows of a raw file as a layout defines them: its cells, and the columns made of them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import trimmed
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.sources.column_making import MadeColumn, make
from etl.sources.layout import PLAIN_CELLS, RawCells
from etl.sources.layout_columns import ColumnSpec


class RawRows:
    """The rows of one raw file in a partition, in the order of files and rows.

    Args:
        table: the rows.
        unread: further rows, of which only the ids could be read.
        cells: which words are no cells, and which columns are made.
    """

    def __init__(
        self, table: pa.Table, unread: pa.Table | None = None, cells: RawCells = PLAIN_CELLS
    ) -> None:
        self.table = table
        self.unread = unread
        self.cells = cells
        self.count = table.num_rows
        self._columns: dict[str, MadeColumn] = {}

    def column(self, header: str) -> Any:
        """Return the cells under a header, shape (count,), trimmed; null where empty."""
        return self.noted(header).values

    cell = column

    def noted(self, header: str) -> MadeColumn:
        """Return the cells under a header, and the findings about them."""
        if header not in self._columns:
            spec = self.cells.made.get(header)
            self._columns[header] = (
                MadeColumn(self._text(header), []) if spec is None else make(spec, self)
            )
        return self._columns[header]

    def agreed(self, header: str, spec: ColumnSpec) -> MadeColumn:
        """Return the cells under a header, for a column that is made of the row's cells."""
        del spec
        found = self.noted(header)
        return MadeColumn(found.values, list(found.notes))

    def of_other_rows(self, spec: ColumnSpec) -> MadeColumn:
        """Refuse it: a layout that asks for it is not read."""
        raise AssertionError(f"{spec.source} is not made of one row")

    def _text(self, header: str) -> Any:
        if header not in self.table.column_names:
            return pa.nulls(self.count, pa.string())
        text = trimmed(self.table.column(header).combine_chunks())
        if not self.cells.nulls or header.startswith("_"):
            return text
        words = pa.array(sorted(self.cells.nulls), pa.string())
        return pc.if_else(pc.is_in(text, value_set=words), None, text)

    @property
    def places(self) -> tuple[Any, Any]:
        """`_file` and `_row` of every row."""
        return (
            self.table.column(FILE_COLUMN).combine_chunks(),
            self.table.column(ROW_COLUMN).combine_chunks(),
        )
