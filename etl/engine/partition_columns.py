"""Columns of a partition's accepted rows, including derived ones, and findings about them."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from etl.columns.arrays import Indices
from etl.engine import derived_columns
from etl.engine.related_rows import RelatedRows
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN, TABLES
from etl.rows import LINE_PROVIDERS, OF_LINE, OF_NETWORK, findings_at

_PLACES: Final = (FILE_COLUMN, ROW_COLUMN)
_PARALLEL_LISTS: Final = {("practitioner_language", "proficiency"): "language_proficiency"}
"""Column of a derived table -> a second list of its source table that it is from."""


class Partition(RelatedRows):
    """All tables of one partition, with the columns that the engine derives."""

    def _derive_column(self, table: str, name: str) -> pa.StringArray:
        return derived_columns.derived_column(self, table, name)

    def findings(
        self, table: str, positions: Indices, rule: str, column: str | None = None
    ) -> pa.Table:
        """Return findings of a rule about rows of a table; schema `etl.rows.FINDINGS_SCHEMA`.

        A finding is about the row and cell of the files that the value is from. If only a line
        names a care team member, that is the line's cell.
        """
        source = self.tables[table]
        if (table, column) == ("role_in_network", "accepts_new_patients"):
            is_of_network = np.asarray(source.column(OF_NETWORK[0]).is_valid())[positions]
            return pa.concat_tables(
                [
                    self._row_findings(table, name, positions[is_selected], rule, column, places)
                    for name, is_selected, places in (
                        ("provider_role", ~is_of_network, _PLACES),
                        ("provider_role_network", is_of_network, OF_NETWORK),
                    )
                ]
            )
        derived = TABLES[table]
        if derived.made_of:
            if derived.made_of_list and column is not None and column not in derived.key:
                column = _PARALLEL_LISTS.get((table, column), derived.made_of_list)
            return self._row_findings(table, derived.made_of, positions, rule, column)
        if OF_LINE not in source.column_names:
            return self._row_findings(table, table, positions, rule, column)
        is_from_line = np.asarray(source.column(OF_LINE))[positions]
        line_table, line_column = LINE_PROVIDERS[table]
        return pa.concat_tables(
            [
                self._row_findings(table, table, positions[~is_from_line], rule, column),
                self._row_findings(table, line_table, positions[is_from_line], rule, line_column),
            ]
        )

    def _row_findings(
        self,
        source_table: str,
        finding_table: str,
        positions: Indices,
        rule: str,
        column: str | None,
        columns: tuple[str, str] = _PLACES,
    ) -> pa.Table:
        files, rows = (
            self.tables[source_table].column(name).take(pa.array(positions)) for name in columns
        )
        return findings_at(rule, finding_table, files, rows, column)
