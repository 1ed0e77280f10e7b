"""Rows that are in no file, derived from accepted ones before mapping (`Table.made_of`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from etl.columns.arrays import (
    column_of,
    compound_keys,
    first_of_each,
    list_values,
    number_within_owner,
)
from etl.columns.places import take_places
from etl.engine.partition_columns import Partition
from etl.mapping.row_columns import columns_of
from etl.model.canonical_tables import EVERY_TABLE, TABLES
from etl.model.crosswalks import Crosswalk
from etl.rows import table_of


def with_derived_rows(
    tables: Mapping[str, pa.Table], crosswalks: Mapping[str, Crosswalk]
) -> Partition:
    """Return accepted rows of a model without members, with those that are derived from them.

    Args:
        tables: accepted rows, each table in the order of its key.
        crosswalks: of the data model.
    """
    rows = {name: table.combine_chunks() for name, table in tables.items()}
    accepted = Partition(rows, crosswalks=crosswalks)
    for name, table in TABLES.items():
        if table.made_of not in tables:
            continue
        if table.made_of_list and table.column("system"):
            rows[name] = identifier_rows(name, rows)
        elif columns_of(table.made_of).keys() >= set(table.key):
            rows[name] = _first_rows(name, accepted)
    if "provider_role" in tables:
        from etl.engine.directory_rows import directory_rows

        rows = directory_rows(rows)
    return Partition(rows, crosswalks=crosswalks)


def identifier_rows(name: str, tables: Mapping[str, pa.Table]) -> pa.Table:
    """Return the rows of a table that is made of a list of identifiers, numbered from 1.

    An identifier consists of the table's columns after its key, divided by `|`: `system|value`, or
    `system|value|assigner_id`. One without a system is the value alone.
    """
    table = TABLES[name]
    (key, number), source = table.key, tables[table.made_of]
    parts = _columns(name)[2:]
    empty = [None] * len(parts)
    values, owners = list_values(column_of(source, table.made_of_list))
    identifiers = []
    for text in values.to_pylist():
        cells = [cell.strip() or None for cell in text.split("|", len(parts) - 1)]
        cells += empty[len(cells) :]
        identifiers.append(cells if cells[1] else [None, cells[0], *empty[2:]])
    owner_rows = pa.array(owners)
    columns = {
        part: pa.array([cells[place] for cells in identifiers], pa.string())
        for place, part in enumerate(parts)
    }
    return table_of(
        name,
        len(owners),
        {
            key: column_of(source, key).take(owner_rows),
            number: number_within_owner(owners),
            **columns,
            **take_places(source, owner_rows),
        },
    )


def _first_rows(name: str, accepted: Partition) -> pa.Table:
    """Return the first row of each key in the source table."""
    table = TABLES[name]
    columns = {column: accepted.column(table.made_of, column) for column in _columns(name)}
    keys = compound_keys(*(columns[column] for column in table.key))
    first = pa.array(np.flatnonzero(first_of_each(keys)))
    cells = {column: values.take(first) for column, values in columns.items()}
    places = take_places(accepted.tables[table.made_of], first)
    return table_of(name, len(first), {**cells, **places})


def _columns(name: str) -> list[str]:
    return [column.name for column in TABLES[name].columns if column not in EVERY_TABLE]
