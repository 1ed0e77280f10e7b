"""The product's own layout, built from the canonical tables, and its short forms."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.model.canonical_tables import (
    CLAIM_TABLES,
    FILE_COLUMN,
    ROW_COLUMN,
    SHORT_FORM_COUNT,
    SHORT_FORMS,
    TABLES,
    Table,
)
from etl.model.data_models import CLAIMS, DIRECTORY, DataModel
from etl.rows import table_schema
from etl.sources.layout.column_specs import ColumnSpec, FromColumn
from etl.sources.layout.model import Layout, RawTable, TableSpec

SHORT_FORM_COLUMNS: Final = tuple(
    f"{table.removeprefix('claim_')}_{word}_{number}"
    for table, words in SHORT_FORMS.items()
    for word in words
    for number in range(1, SHORT_FORM_COUNT + 1)
)
"""Every numbered column that a claim may carry instead of child rows."""


def _raw(table: Table) -> RawTable:
    headers = table.names + (SHORT_FORM_COLUMNS if table.name == "claim" else ())
    return RawTable(
        name=table.file_name,
        columns=headers,
        required=table.required,
        compulsory=table.compulsory,
        member="member_id" if table.column("member_id") else None,
        claim="claim_id" if table.name == "claim" or table.name in CLAIM_TABLES else None,
        coverage="coverage_id" if table.name == "coverage" else None,
        main=table.name,
    )


def _spec(table: Table) -> TableSpec:
    columns = {name: ColumnSpec(FromColumn(name)) for name in table.names}
    return TableSpec(table=table.name, source=table.file_name, columns=MappingProxyType(columns))


def _layout(model: DataModel) -> Layout:
    return Layout(
        name=model.layout,
        title=model.title,
        description=(
            "The product's own layout: one file a table, named after it. "
            f"`cpcds layouts show {model.layout}` prints every table and column."
        ),
        raw=MappingProxyType({table.file_name: _raw(table) for table in model.tables.values()}),
        tables=tuple(_spec(table) for table in model.tables.values()),
        canonical=True,
    )


CANONICAL: Final = _layout(CLAIMS)
"""The layout of docs/canonical-layout.md."""
CANONICAL_LAYOUTS: Final = MappingProxyType(
    {CANONICAL.name: CANONICAL, DIRECTORY.layout: _layout(DIRECTORY)}
)
"""The canonical layouts of all data models by name, that of claims first."""


def required_columns(table: str, *, delta: bool) -> tuple[tuple[str, ...], ...]:
    """Return what a file of a canonical table must have: one column of each group.

    A delta may hold deletions alone, so only the key is compulsory there.
    """
    if delta:
        return tuple((name,) for name in TABLES[table].key)
    groups = tuple((name,) for name in TABLES[table].required)
    # MapID 130 is filled by the parts of the name or by the whole of it.
    return (*groups, ("family_name", "full_name")) if table == "member" else groups


def add_short_forms(child: pa.Table, claims: pa.Table, raw: pa.Table, name: str) -> pa.Table:
    """Return a child table with the rows that the numbered columns of `claim` stand for.

    A row has the place of its claim row, and that row's `record_action` and `last_updated`. Its
    sequence is the number of the column. Where the claim has child rows of its own as well, their
    highest sequence is added, so that sequences are unique.

    Args:
        child: rows of the child table's own file.
        claims: the canonical claim rows.
        raw: the numbered columns, row by row as in `claims`, trimmed; absent is null.
        name: the child table.
    """
    stem = name.removeprefix("claim_")
    base = _highest_sequence(child, claims.column("claim_id"))
    parts = [child]
    for number in range(1, SHORT_FORM_COUNT + 1):
        cells = {
            column: raw.column(f"{stem}_{word}_{number}")
            for word, column in SHORT_FORMS[name].items()
            if f"{stem}_{word}_{number}" in raw.column_names
        }
        if not cells:
            continue
        filled = np.zeros(claims.num_rows, dtype=bool)
        for cell in cells.values():
            filled |= cell.is_valid().to_numpy(zero_copy_only=False)
        rows_filled = np.flatnonzero(filled)
        if len(rows_filled):
            parts.append(
                _short_rows(
                    claims.take(rows_filled), cells, rows_filled, base[rows_filled] + number, name
                )
            )
    return pa.concat_tables(parts)


def _short_rows(
    claims: pa.Table,
    cells: dict[str, pa.ChunkedArray],
    positions: np.ndarray,
    sequence: np.ndarray,
    name: str,
) -> pa.Table:
    made = {column: cell.take(pa.array(positions)) for column, cell in cells.items()}
    made["sequence"] = pa.array(sequence).cast(pa.string())
    for column in ("claim_id", "record_action", "last_updated", FILE_COLUMN, ROW_COLUMN):
        made[column] = claims.column(column)
    schema = table_schema(name)
    arrays = [made.get(field.name, pa.nulls(claims.num_rows, field.type)) for field in schema]
    return pa.table(arrays, schema=schema)


def _highest_sequence(child: pa.Table, claim_ids: pa.ChunkedArray) -> np.ndarray:
    """Highest sequence among each claim's child rows; 0 where it has none."""
    base = np.zeros(len(claim_ids), dtype=np.int64)
    if child.num_rows == 0:
        return base
    sequence = child.column("sequence")
    digits = pc.fill_null(pc.match_substring_regex(sequence, r"^[0-9]{1,9}$"), False)
    numbers = pc.if_else(digits, sequence, "0").cast(pa.int64())
    highest = (
        pa.table([child.column("claim_id"), numbers], names=["claim_id", "n"])
        .group_by("claim_id")
        .aggregate([("n", "max")])
    )
    position = pc.index_in(claim_ids, value_set=highest.column("claim_id").combine_chunks())
    has_claim = position.is_valid().to_numpy(zero_copy_only=False)
    base[has_claim] = highest.column("n_max").take(position.drop_null()).to_numpy()
    return base
