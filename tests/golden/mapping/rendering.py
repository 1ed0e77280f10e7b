"""What the mapping tests share: rows written as CSV into the resources that the mappings make.

The rows are canonical text, as they are after loading and checking, so that a case shows the
mapping and nothing else.
"""

import csv
import json
from decimal import Decimal
from functools import cache

import pyarrow as pa

from etl.bootstrap.mappings import read_crosswalks, read_folder, shipped
from etl.claims.prepare import prepare_for_mapping
from etl.engine.partition_columns import Partition
from etl.engine.render import render
from etl.mapping.library import compile_set
from etl.mapping.plan import Environment, Provider
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.model.canonical_tables import FieldType
from etl.rows import table_schema
from tests.given.tables import read_tables

PAYER = read_tables(__file__)["payer"]
ID_KEY = b"golden"


GOLDEN = tuple(PAYER.items())


@cache
def mapping_set(payer=GOLDEN, view="financial"):
    """Return the shipped mappings, compiled for a payer's settings."""
    roots = [shipped()]
    texts = read_folder(roots, "c4bb", "*.yaml").texts
    return compile_set(texts, read_crosswalks(roots), dict(payer), view=view)


def read_rows(folder):
    """Return the rows of every `<table>.csv` in a folder; empty cells are left out."""
    rows = {}
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            rows[path.stem] = [
                {column: cell for column, cell in row.items() if cell}
                for row in csv.DictReader(file)
            ]
    return rows


def tables_of(rows, model=TABLES):
    """Return every canonical table of a data model, in the order of its key, filled with rows."""
    tables = {}
    for name, table in model.items():
        found = list(rows.get(name, ()))
        unknown = {column for row in found for column in row} - set(table.names)
        if unknown:
            raise ValueError(f"{name} has no column {', '.join(sorted(unknown))}")
        numeric = {column.name for column in table.columns if column.type is FieldType.INTEGER}
        found.sort(
            key=lambda row: tuple(
                (int(row[column]) if column in numeric else 0, row.get(column, ""))
                for column in table.key
            )
        )
        schema = table_schema(name)
        tables[name] = pa.table(
            {
                field.name: pa.array([row.get(field.name) for row in found], field.type)
                for field in schema
            },
            schema=schema,
        )
    return tables


def providers_of(rows):
    """Return what the directory holds under each id and NPI."""
    found = {}
    for row in rows.get("organization", ()):
        _hold(found, Provider("Organization", row["organization_id"]), row.get("npi"))
    for row in rows.get("practitioner", ()):
        _hold(found, Provider("Practitioner", row["practitioner_id"]), row.get("npi"))
    return found


def _hold(found, provider, npi):
    for name in dict.fromkeys((provider.key, npi)):
        if name is not None:
            found[name] = (*found.get(name, ()), provider)


def rendered(rows, payer=None, view="financial"):
    """Return the JSON of each resource that the mappings make, and of its search values."""
    mappings = mapping_set(tuple({**PAYER, **(payer or {})}.items()), view)
    environment = Environment("golden", ID_KEY, mappings.crosswalks, providers_of(rows))
    partition = Partition(prepare_for_mapping(tables_of(rows), environment))
    result = []
    for plan in mappings.plans:
        for part in render(plan, partition, environment):
            stamps = part.last_updated.to_pylist()
            for at, body in enumerate(part.bodies.to_pylist()):
                stamp = f'"lastUpdated":"{stamps[at]}",' if stamps[at] else ""
                text = (
                    f'{{"resourceType":"{plan.resource}","id":"{part.ids[at].as_py()}",'
                    f'"meta":{{{stamp}{body}'
                )
                result.append((text, part.searches[at].as_py()))
    return result


def resources(rows, payer=None, view="financial"):
    """Return every resource that the mappings make of some rows; numbers are exact."""
    return [exact(text) for text, _ in rendered(rows, payer, view)]


def exact(text):
    """Return what a JSON text says, its numbers as decimals."""
    return json.loads(text, parse_float=Decimal)
