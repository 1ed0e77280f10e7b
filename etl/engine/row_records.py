"""A partition's rows one by one, as the row-by-row interpreter takes them."""

from __future__ import annotations

import pyarrow as pa

from etl.engine.partition_columns import Partition
from etl.mapping.row_interpreter import Record, Records
from etl.mapping.rows import columns_of
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN, TABLES


def records_of(partition: Partition) -> Records:
    """Return the rows of every table: derived columns included, places as text."""
    records: dict[str, list[Record]] = {}
    for name in TABLES:
        columns = {
            column: partition.column(name, column).to_pylist() for column in columns_of(name)
        }
        if partition.size(name):
            for place in (FILE_COLUMN, ROW_COLUMN):
                columns[place] = partition.tables[name].column(place).cast(pa.string()).to_pylist()
        records[name] = [
            {column: texts[index] for column, texts in columns.items()}
            for index in range(partition.size(name))
        ]
    return Records(records)
