"""A few rows, written as cells, as the tables that the engine works on."""

from collections.abc import Mapping

import pyarrow as pa

from etl.bootstrap.mappings import read_crosswalks, shipped
from etl.claims.prepare import prepare_for_mapping
from etl.engine.partition_columns import Partition
from etl.mapping.plan import Environment
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.rows import table_schema

Row = Mapping[str, str]


def tables(**rows):
    """Return all canonical tables, those named filled with rows in the order given."""
    found = {}
    for name in TABLES:
        mine = rows.get(name, ())
        unknown = {column for row in mine for column in row} - set(TABLES[name].names)
        assert not unknown, (name, unknown)
        schema = table_schema(name)
        found[name] = pa.table(
            {field.name: pa.array([row.get(field.name) for row in mine], field.type)
             for field in schema},
            schema=schema,
        )  # fmt: skip
    return found


def prepared(providers=None, /, **rows):
    """Return the tables as mappings get them, with what a directory holds under each name."""
    crosswalks = read_crosswalks([shipped()])
    return prepare_for_mapping(tables(**rows), Environment("p", b"k", crosswalks, providers or {}))


def column(table, name, **rows):
    """Return a column, derived or not, of a table of a partition that holds these rows."""
    return Partition(tables(**rows)).column(table, name).to_pylist()
