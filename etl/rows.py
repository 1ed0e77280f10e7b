"""The Arrow shapes that rows have on their way through the rooms.

Everything is text: canonical columns are `string`, absent is null and never `""`. Two columns say
where a row came from, so that every finding can name file and row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

import pyarrow as pa

from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN, TABLES, Column

PLACE_FIELDS: Final = (pa.field(FILE_COLUMN, pa.int32()), pa.field(ROW_COLUMN, pa.int64()))

FINDINGS_SCHEMA: Final = pa.schema(
    [
        pa.field("rule", pa.string()),
        pa.field("table", pa.string()),
        pa.field("file", pa.int32()),
        pa.field("row", pa.int64()),
        pa.field("column", pa.string()),
    ]
)
"""One finding a row. `row` is null for a whole file, `column` for a whole row. Never a value."""


_COMPRESSED: Final = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
"""Form of streams that are kept or sent: a sixth of the rows, and the same bytes each time."""

OF_LINE: Final = "_of_line"
"""Column of the care team that mappings run over: whether the row was made of a claim line."""

LINE_PROVIDERS: Final = {
    "claim_care_team": ("claim_line", "rendering_provider_id"),
    "prior_auth_care_team": ("prior_auth_line", "provider_id"),
}
"""Table of a care team -> table and column of lines that name a rendering provider."""

OF_NETWORK: Final = ("_network_file", "_network_row")
"""Columns of roles in networks: the place of the row of `provider_role_network` whose
`accepts_new_patients` the role has there; null if the role has its own."""


def arrow_stream(*tables: pa.Table, compressed: bool) -> pa.Buffer:
    """Return the rows of tables as one Arrow IPC stream.

    Args:
        tables: at least one; all have the schema of the first.
        compressed: whether the stream is kept or sent, and not read again at once.
    """
    sink, options = pa.BufferOutputStream(), _COMPRESSED if compressed else None
    with pa.ipc.new_stream(sink, tables[0].schema, options=options) as writer:
        for table in tables:
            writer.write_table(table)
    return sink.getvalue()


def table_schema(name: str) -> pa.Schema:
    """Return the schema of one canonical table: its columns as text, then file and row."""
    columns = [pa.field(column, pa.string()) for column in TABLES[name].names]
    return pa.schema([*columns, *PLACE_FIELDS])


def empty_table(name: str) -> pa.Table:
    """Return a canonical table without rows."""
    return _empty_table(name, TABLES[name].own_columns)


@cache
def _empty_table(name: str, _own: tuple[Column, ...]) -> pa.Table:
    return table_schema(name).empty_table()


def table_of(name: str, count: int, columns: Mapping[str, Any]) -> pa.Table:
    """Return so many rows of a canonical table; what none of the columns has is null."""
    schema = table_schema(name)
    arrays = [columns.get(field.name, pa.nulls(count, field.type)) for field in schema]
    return pa.table(arrays, schema=schema)


def no_findings() -> pa.Table:
    """Return a findings table without rows."""
    return FINDINGS_SCHEMA.empty_table()


def once_each(tables: Iterable[pa.Table]) -> pa.Table:
    """Return findings combined, each once."""
    findings = pa.concat_tables([no_findings(), *tables])
    return findings.group_by(FINDINGS_SCHEMA.names).aggregate([])


def findings_at(rule: str, table: str, files: Any, rows: Any, column: str | None) -> pa.Table:
    """Return one finding for each place; `FINDINGS_SCHEMA`.

    Args:
        rule: its id.
        table: canonical table.
        files: their numbers; Arrow, shape (n,).
        rows: likewise.
        column: the column; None for whole rows.
    """
    count = len(rows)
    rules, tables, columns = (
        pa.repeat(pa.scalar(word, pa.string()), count) for word in (rule, table, column)
    )
    return pa.table([rules, tables, files, rows, columns], schema=FINDINGS_SCHEMA)
