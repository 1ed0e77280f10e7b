"""A few rows, written as cells, as the tables that the engine works on."""

from collections.abc import Mapping

from etl.bootstrap.mappings import read_crosswalks, shipped
from etl.claims.prepare import prepare_for_mapping
from etl.engine.partition_columns import Partition
from etl.mapping.plan import Environment
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from tests.property.engine.rows import to_table

Row = Mapping[str, str]


def tables(**rows):
    """Return all canonical tables, those named filled with rows in the order given."""
    for name, mine in rows.items():
        assert set().union(*mine) <= set(TABLES[name].names), name
    return {name: to_table(name, rows.get(name, ())) for name in TABLES}


def prepared(providers=None, /, **rows):
    """Return the tables as mappings get them, with what a directory holds under each name."""
    crosswalks = read_crosswalks([shipped()])
    return prepare_for_mapping(tables(**rows), Environment("p", b"k", crosswalks, providers or {}))


def column(table, name, **rows):
    """Return a column, derived or not, of a table of a partition that holds these rows."""
    return Partition(tables(**rows)).column(table, name).to_pylist()
