"""The rows of one unit as a value: what a process that does not reach the work folder is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from etl.rows import PLACE_FIELDS
from etl.sources.partitions import PartitionFacts, Partitions

Tables = Mapping[tuple[str, int | None], pa.Table]
"""Raw table and partition -> its rows; None for those of all partitions."""


@dataclass(frozen=True, slots=True)
class UnitRows:
    """Rows of some partitions (`RawTables`), and those that every partition is loaded with.

    Attributes:
        tables: the rows. Where there are none, there is no entry.
    """

    tables: Tables

    def read(
        self, name: str, partition: int | None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Return the rows of a raw table in one partition."""
        table = self.tables.get((name, partition))
        if table is None:
            return pa.schema(PLACE_FIELDS).empty_table()
        if columns is None:
            return table
        return table.select([column for column in table.column_names if column in columns])


def unit_tables(partitions: Partitions, unit: range) -> Tables:
    """Return the rows of some partitions of an extract."""
    names = dict.fromkeys(file.table for file in partitions.facts.files if file.table)
    read = partitions.raw.read
    return _filled({(name, index): read(name, index) for name in names for index in unit})


def shared_tables(partitions: Partitions) -> Tables:
    """Return the rows that every partition is loaded with: those of shared files."""
    facts, read = partitions.facts, partitions.raw.read
    return _filled({(name, facts.count): read(name, facts.count) for name in facts.layout.shared})


def unit_facts(facts: PartitionFacts) -> PartitionFacts:
    """Return what units need of the facts of an extract: what may be long is left out."""
    return replace(facts, findings=facts.findings.slice(0, 0), rows_read={}, unowned={})


def _filled(tables: Tables) -> Tables:
    return {place: table for place, table in tables.items() if table.num_rows}
