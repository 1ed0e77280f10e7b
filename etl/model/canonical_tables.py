"""The canonical tables: names, meanings and types of their columns.

CPCDS names elements and numbers them (MapID) but defines no file format. This is the product's own
physical layout; every other layout is a dialect that turns its files into these tables. The tables
of each data model are declared in a file of their own, such as `claims_tables.toml`, which explains
the grammar; `column_meanings.toml` describes the columns.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final

from etl.model.tables import (
    EVERY_TABLE,
    FILE_COLUMN,
    ROW_COLUMN,
    Column,
    FieldType,
    Table,
)

__all__ = [
    "EVERY_TABLE",
    "FILE_COLUMN",
    "ROW_COLUMN",
    "Column",
    "FieldType",
    "Table",
]


AMOUNT_CATEGORIES: Final = (
    "submitted",
    "eligible",
    "deductible",
    "coinsurance",
    "copay",
    "noncovered",
    "benefit",
    "discount",
    "memberliability",
    "paidbypatient",
    "paidbypatientcash",
    "paidbypatientother",
    "paidbypatienthealthaccount",
    "paidtoprovider",
    "paidtopatient",
    "priorpayerpaid",
    "drugcost",
)
"""Amount categories of C4BBAdjudication and adjudication, as `amount_<category>` columns (20)."""

AMOUNT_COLUMNS: Final = tuple(f"amount_{category}" for category in AMOUNT_CATEGORIES)

CLAIM_TYPES: Final = ("inpatient", "outpatient", "professional", "vision", "oral", "pharmacy")


@cache
def column_meanings() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """Load the meanings of columns: layout → table → column; `shared` is for every table."""
    text = resources.files("etl.model").joinpath("column_meanings.toml").read_text("utf-8")
    return tomllib.loads(text)


def column_meaning(layout: str, table: Table, column: Column) -> str:
    """Return the meaning of a column; empty if its name says it."""
    meanings = column_meanings()[layout]
    columns = meanings.get(table.file_name, {})
    return column.meaning or columns.get(column.name, meanings["shared"].get(column.name, ""))


def _read_tables(model: str) -> Iterator[Table]:
    text = resources.files("etl.model").joinpath(f"{model}_tables.toml").read_text("utf-8")
    for name, spec in tomllib.loads(text).items():
        made_of, _, made_of_list = spec.get("made_of", "").partition(".")
        yield Table(
            name,
            spec["grain"],
            tuple(spec["key"].split()),
            spec.get("compulsory", False),
            (*_columns(spec["columns"]), *EVERY_TABLE),
            spec.get("file", ""),
            made_of,
            made_of_list,
            spec.get("owner", ""),
            spec.get("optional", False),
            spec.get("profile", ""),
        )


def _columns(lines: list[str]) -> Iterator[Column]:
    for line in lines:
        marked_name, type_name, *numbers = line.split()
        name, required = marked_name.removesuffix("!"), marked_name.endswith("!")
        map_ids = tuple(map(int, numbers))
        for column_name in AMOUNT_COLUMNS if name == "amount_*" else (name,):
            yield Column(column_name, FieldType(type_name), map_ids, required)


_MODELS: Final = ("claims", "directory", "formulary")
_SHIPPED: Final = {model: {table.name: table for table in _read_tables(model)} for model in _MODELS}
_ALL: Final = {name: table for tables in _SHIPPED.values() for name, table in tables.items()}
_IN_FILES: Final = {
    model: {name: table for name, table in tables.items() if not table.made_of}
    for model, tables in _SHIPPED.items()
}

EXTRACT_TABLES: Final[Mapping[str, Mapping[str, Table]]] = MappingProxyType(
    {model: MappingProxyType(tables) for model, tables in _IN_FILES.items()}
)
"""Name of a data model -> the tables of an extract by name, in the order in which they are
documented and loaded."""

CLAIMS_TABLES: Final = EXTRACT_TABLES["claims"]
"""Tables of an extract of claims."""

TABLES: Final = MappingProxyType(_ALL)
"""Every canonical table of all data models by name; those that the engine makes are the last ones
of their model."""


def declare_own_columns(own_columns: Mapping[str, tuple[Column, ...]]) -> None:
    """Add a payer's own columns to the tables, replacing those declared before.

    A process works for one payer, so the tables are global (decision 0050).

    Args:
        own_columns: table -> columns with a meaning, whose names are new.
    """
    for model, tables in _SHIPPED.items():
        for name, shipped in tables.items():
            table = replace(shipped, columns=shipped.columns + own_columns.get(name, ()))
            _ALL[name] = table
            if name in _IN_FILES[model]:
                _IN_FILES[model][name] = table


def own_columns() -> dict[str, tuple[Column, ...]]:
    """Return the own columns of each table that has any."""
    columns = {name: table.own_columns for name, table in _ALL.items()}
    return {name: table_columns for name, table_columns in columns.items() if table_columns}


DIRECTORY_TABLES: Final = ("organization", "practitioner")
"""Tables of a claims extract that list providers and payers."""

MEMBERLESS: Final = frozenset(
    name for name, table in TABLES.items() if not table.owner and name != "member"
)
"""Tables of all data models whose rows belong to no member."""

KEYS: Final[Mapping[str, str]] = MappingProxyType(
    {
        name: table.key[0]
        for name, table in CLAIMS_TABLES.items()
        if len(table.key) == 1 and name not in MEMBERLESS
    }
)
"""Tables with members' rows that others refer to by one column: table -> that column."""

HEADERS: Final = tuple(
    name
    for name in KEYS
    if CLAIMS_TABLES[name].owner and any(table.owner == name for table in CLAIMS_TABLES.values())
)
"""`claim` and `prior_auth`: members' tables whose rows have child rows."""


def _find_header(name: str) -> str:
    owner = CLAIMS_TABLES[name].owner
    return name if owner == "member" else _find_header(owner)


HEADER_OF: Final[Mapping[str, str]] = MappingProxyType(
    {
        name: header
        for name, table in CLAIMS_TABLES.items()
        if table.owner and (header := _find_header(name)) in HEADERS
    }
)
"""Header or child table -> the header."""

CHILDREN: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        header: tuple(name for name, of in HEADER_OF.items() if of == header and name != header)
        for header in HEADERS
    }
)
"""Header -> its child tables."""

LINES: Final[Mapping[str, str]] = MappingProxyType(
    {
        header: next(name for name in below if CLAIMS_TABLES[name].key[1:] == ("line_number",))
        for header, below in CHILDREN.items()
    }
)
"""Header -> the table of its lines."""

CLAIM_TABLES: Final = CHILDREN["claim"]
"""Child tables of `claim`."""

OWNER_COLUMNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        name: CLAIMS_TABLES[table.owner].key[0]
        for name, table in CLAIMS_TABLES.items()
        if table.owner and name not in KEYS
    }
)
"""Child table -> the column with the key of the header or member."""

OWNERS: Final = MappingProxyType(
    {
        "organization": "directory_organization",
        "organization_contact": "directory_organization",
        "network_contact": "network",
        "insurance_plan_contact": "insurance_plan",
        "practitioner": "directory_practitioner",
        "location": "location",
        "healthcare_service": "healthcare_service",
        "provider_role": "provider_role",
        "affiliation": "affiliation",
        "endpoint_contact": "endpoint",
    }
)
"""Value of the column `owner` -> the table of the key in `owner_id`."""


SHORT_FORM_COUNT: Final = 25
"""Number of numbered diagnosis and procedure columns that a claim row may carry."""


def short_form(stem: str, field: str) -> Iterator[str]:
    """Yield the numbered columns of `claim` for one field of a child table.

    Args:
        stem: `diagnosis` or `procedure`.
        field: `code`, `type`, `poa` or `date`.
    """
    return (f"{stem}_{field}_{number}" for number in range(1, SHORT_FORM_COUNT + 1))


SHORT_FORMS: Final[Mapping[str, Mapping[str, str]]] = {
    "claim_diagnosis": MappingProxyType(
        {"code": "code", "type": "type", "poa": "present_on_admission"}
    ),
    "claim_procedure": MappingProxyType({"code": "code", "date": "procedure_date", "type": "type"}),
}
"""Child table -> middle word of the numbered claim column -> column of the child table."""
