"""Columns that a mapping can refer to, including the derived ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import Final

from etl.model.canonical_tables import AMOUNT_CATEGORIES, HEADERS, TABLES, Column, FieldType
from etl.model.relations import RELATIONS, Many

LIST_ITEM: Final = "list item"
"""Pseudo table of the values of a list column; its only column is `value`."""

MASKABLE_COLUMNS: Final = frozenset({"code", "ndc"})
"""Required columns that are empty in rows whose sensitive code was masked."""

_POSITION: Final = Column("position", FieldType.INTEGER, required=True)

_CHILD_TABLES: Final = frozenset(
    relation.table
    for header in HEADERS
    for relation in RELATIONS[header].values()
    if isinstance(relation, Many)
)

_LINE_KEY: Final = Column("line_key", FieldType.CODE, required=True)


def _keys(*names: str) -> tuple[Column, ...]:
    return tuple(Column(f"{name}_key", FieldType.CODE) for name in names)


_MEMBERLESS_COLUMNS: Final[Mapping[str, tuple[Column, ...]]] = {
    "directory_organization": (
        *_keys("organization", "organization_contact"),
        Column("address_text", FieldType.TEXT),
    ),
    "directory_practitioner": (
        *_keys("practitioner"),
        Column("full_name", FieldType.TEXT, required=True),
        Column("address_text", FieldType.TEXT),
    ),
    "network": _keys("network_contact"),
    "insurance_plan": (*_keys("insurance_plan_contact"),),
    "location": (
        *_keys("location"),
        Column("address_text", FieldType.TEXT),
        Column("region_base64", FieldType.TEXT),
        Column("exceptions_text", FieldType.TEXT),
    ),
    "healthcare_service": _keys("healthcare_service"),
    "role_in_network": (*_keys("provider_role"), Column("key", FieldType.CODE, required=True)),
    "affiliation": _keys("affiliation"),
    "endpoint": _keys("endpoint_contact"),
    "qualification": _keys("owner"),
    "telecom": (*_keys("owner", "telecom"), Column("via_role_key", FieldType.CODE)),
    "availability": (
        *_keys("hours", "absence", "telecom"),
        Column("open_days", FieldType.LIST, required=True),
        Column("opening", FieldType.TEXT),
        Column("closing", FieldType.TEXT),
    ),
    "formulary_area": (Column("region_base64", FieldType.TEXT),),
    "formulary_cost": (Column("pharmacy_key", FieldType.CODE, required=True),),
    "formulary_item": (Column("limit_count", FieldType.INTEGER),),
}

_DERIVED_COLUMNS: Final[Mapping[str, tuple[Column, ...]]] = MappingProxyType(
    {
        "claim": (
            Column("has_amounts", FieldType.FLAG, required=True),
            Column("has_line_amounts", FieldType.FLAG, required=True),
            Column("line_benefit_payment_status", FieldType.CODE, (142,)),
            Column("chain_role", FieldType.CODE, required=True),
            Column("other_priors", FieldType.LIST, (111,)),
            Column("other_successors", FieldType.LIST, (112,)),
            Column("chain_updated", FieldType.TIMESTAMP, (163,)),
            *(Column(f"total_{name}", FieldType.MONEY, (20, 148)) for name in AMOUNT_CATEGORIES),
        ),
        "claim_diagnosis": (
            Column("masked", FieldType.FLAG, required=True),
            Column("role", FieldType.CODE, (189,), required=True),
        ),
        "claim_procedure": (Column("role", FieldType.CODE, (187,), required=True),),
        "claim_line": (
            _LINE_KEY,
            Column("has_amounts", FieldType.FLAG, required=True),
            Column("service_system", FieldType.CODE),
            Column("site_tooth", FieldType.CODE, (196,)),
            Column("site_area", FieldType.CODE, (196,)),
            Column("has_tooth", FieldType.FLAG, required=True),
        ),
        "claim_tooth": (_LINE_KEY, Column("role", FieldType.CODE, required=True)),
        "claim_transport": (Column("number", FieldType.DECIMAL),),
        "claim_care_team": (Column("taxonomy", FieldType.CODE, (47,)),),
        "claim_other_payer": (
            Column("own_coverage_id", FieldType.CODE),
            Column("first", FieldType.FLAG, required=True),
            Column("among_others", FieldType.FLAG, required=True),
        ),
        "prior_auth": (
            Column("has_amounts", FieldType.FLAG, required=True),
            Column("decided_outcome", FieldType.CODE, required=True),
            Column("received_day", FieldType.DATE, required=True),
            Column("service_start", FieldType.DATE),
            Column("service_end", FieldType.DATE),
        ),
        "prior_auth_diagnosis": (Column("masked", FieldType.FLAG, required=True),),
        "prior_auth_line": (
            Column("has_amounts", FieldType.FLAG, required=True),
            Column("action", FieldType.CODE),
            Column("service_system", FieldType.CODE),
            Column("approved_system", FieldType.CODE),
            Column("units_differ", FieldType.FLAG, required=True),
        ),
        **_MEMBERLESS_COLUMNS,
    }
)


COPIED_CELLS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = MappingProxyType(
    {
        ("claim_line", "service_system"): ("service_code_system", "service_code"),
        ("prior_auth", "received_day"): ("received_at",),
        ("prior_auth", "service_start"): ("service_from_date",),
        ("prior_auth", "service_end"): ("service_to_date",),
        ("prior_auth_line", "action"): ("review_action",),
        ("prior_auth_line", "service_system"): ("service_code_system", "service_code"),
        ("prior_auth_line", "approved_system"): (
            "approved_service_code_system",
            "approved_service_code",
        ),
        ("claim_diagnosis", "role"): ("type",),
        ("claim_procedure", "role"): ("type",),
        ("availability", "open_days"): ("days",),
    }
)
"""Derived column that copies a cell, as (table, column) -> columns: the first filled one."""

AMOUNT_FLAGS: Final = frozenset({"has_amounts", "has_line_amounts"})
"""Derived columns that state whether a row has amounts."""


def columns_of(table: str) -> Mapping[str, Column]:
    """Return every column that a row of the table has in a mapping, by name."""
    return _LIST_COLUMNS if table == LIST_ITEM else _columns(table, TABLES[table].own_columns)


@cache
def _columns(table: str, _own: tuple[Column, ...]) -> Mapping[str, Column]:
    """Return the columns of a table by name.

    An organization that only claims name has no name, although the column is required in files.
    """
    position = (_POSITION,) if table in _CHILD_TABLES else ()
    columns = (*TABLES[table].columns, *position, *_DERIVED_COLUMNS.get(table, ()))
    by_name = {column.name: column for column in columns}
    if table == "organization":
        by_name["name"] = replace(by_name["name"], required=False)
    return MappingProxyType(by_name)


_LIST_COLUMNS: Final = MappingProxyType({"value": Column("value", FieldType.TEXT, required=True)})
