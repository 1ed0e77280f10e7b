"""Columns of a partition's accepted rows, including derived ones, and findings about them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from etl.columns.arrays import Indices
from etl.engine import derived_columns
from etl.engine.related_rows import RelatedRows
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN, TABLES
from etl.rows import OF_LINE, findings_at


class Partition(RelatedRows):
    """All tables of one partition, with the columns that the engine derives."""

    def _derive_column(self, table: str, name: str) -> pa.StringArray:
        return derived_columns.derived_column(self, table, name)

    def findings(
        self, table: str, positions: Indices, rule: str, column: str | None = None
    ) -> pa.Table:
        """Return findings of a rule about rows of a table; schema `etl.rows.FINDINGS_SCHEMA`.

        If only a line names a care team member, the finding is about the line's cell.
        """
        source = self.tables[table]
        if (made_of := TABLES[table].made_of) != "":
            return self._row_findings(table, made_of, positions, rule, column)
        if OF_LINE not in source.column_names:
            return self._row_findings(table, table, positions, rule, column)
        is_from_line = np.asarray(source.column(OF_LINE))[positions]
        line_table, line_column = "claim_line", "rendering_provider_id"
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
    ) -> pa.Table:
        files, rows = (
            self.tables[source_table].column(name).take(pa.array(positions))
            for name in (FILE_COLUMN, ROW_COLUMN)
        )
        return findings_at(rule, finding_table, files, rows, column)
