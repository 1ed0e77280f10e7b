"""What rows a mapping can speak of: their columns, and the rows that belong to them.

The relations are data, so that the compiler can check them, the interpreter can follow them one row
at a time, and the engine can follow them a whole column at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from etl.model.canonical_tables import AMOUNT_CATEGORIES, TABLES, Column, FieldType


@dataclass(frozen=True, slots=True)
class Many:
    """Rows of another table that belong to a row.

    Attributes:
        table: the table that they are rows of.
        on: pairs (column of this row, column of theirs) that are equal.
        listed: where set, the last pair's column of theirs is a list that holds this row's value.
    """

    table: str
    on: tuple[tuple[str, str], ...]
    listed: bool = False


@dataclass(frozen=True, slots=True)
class One:
    """The single row of another table that a row names.

    Attributes:
        table: the table that it is a row of.
        column: column of this row that names it.
        key: column of theirs that is named; unique in its table.
        certain: an accepted row always has it, because it is rejected otherwise.
    """

    table: str
    column: str
    key: str
    certain: bool = False


LIST_ITEM: Final = "list item"
"""Pseudo table of the values of a list column; its one column is `value`."""


def _of_claim(table: str) -> Many:
    return Many(table, (("claim_id", "claim_id"),))


def _of_line(table: str, *, listed: bool = False) -> Many:
    theirs = "line_numbers" if listed else "line_number"
    return Many(table, (("claim_id", "claim_id"), ("line_number", theirs)), listed)


_MEMBER: Final = One("member", "member_id", "member_id", certain=True)
_PAYER: Final = One("organization", "payer_id", "organization_id")

RELATIONS: Final[Mapping[str, Mapping[str, Many | One]]] = MappingProxyType(
    {
        "member": {
            "addresses": Many("member_address", (("member_id", "member_id"),)),
            "telecoms": Many("member_telecom", (("member_id", "member_id"),)),
            "coverages": Many("coverage", (("member_id", "member_id"),)),
        },
        "coverage": {"member": _MEMBER, "payer": _PAYER},
        "claim": {
            "lines": _of_claim("claim_line"),
            "diagnoses": _of_claim("claim_diagnosis"),
            "procedures": _of_claim("claim_procedure"),
            "care_team": _of_claim("claim_care_team"),
            "other_payers": _of_claim("claim_other_payer"),
            "adjustments": _of_claim("claim_adjustment"),
            "teeth": _of_claim("claim_tooth"),
            "ingredients": _of_claim("claim_ingredient"),
            "transports": _of_claim("claim_transport"),
            "notes": _of_claim("claim_note"),
            "member": _MEMBER,
            "coverage": One("coverage", "coverage_id", "coverage_id", certain=True),
            "payer": _PAYER,
            "prior": One("claim", "adjusted_from_claim_id", "claim_id"),
            "next": One("claim", "adjusted_to_claim_id", "claim_id"),
        },
        "claim_line": {
            "adjustments": _of_line("claim_adjustment"),
            "teeth": _of_line("claim_tooth"),
            "ingredients": _of_line("claim_ingredient"),
            "other_payers": _of_line("claim_other_payer"),
            "notes": _of_line("claim_note"),
            "diagnoses": _of_line("claim_diagnosis", listed=True),
            "care_team": _of_line("claim_care_team", listed=True),
            "transports": _of_line("claim_transport", listed=True),
        },
        "claim_other_payer": {
            "coverage": One("coverage", "own_coverage_id", "coverage_id"),
            "payer": _PAYER,
        },
        "claim_tooth": {"line": One("claim_line", "line_key", "line_key")},
        "practitioner": {"organization": One("organization", "organization_id", "organization_id")},
    }
)
"""Table -> name of the relation -> how to find the rows."""

EMPTIED: Final = frozenset({"code", "ndc"})
"""Compulsory columns that are empty all the same where a payer's sensitive codes were taken out."""

_POSITION: Final = Column("position", FieldType.INTEGER, required=True)

_CHILDREN: Final = frozenset(
    relation.table for relation in RELATIONS["claim"].values() if isinstance(relation, Many)
)

_LINE_KEY: Final = Column("line_key", FieldType.CODE, required=True)

_DERIVED: Final[Mapping[str, tuple[Column, ...]]] = MappingProxyType(
    {
        "claim": (
            Column("has_amounts", FieldType.FLAG, required=True),
            Column("has_line_amounts", FieldType.FLAG, required=True),
            Column("line_benefit_payment_status", FieldType.CODE, (142,)),
            Column("names_principal", FieldType.FLAG, required=True),
            Column("all_reasons", FieldType.LIST, (92,)),
            Column("chain_role", FieldType.CODE, required=True),
            Column("other_priors", FieldType.LIST, (111,)),
            Column("other_successors", FieldType.LIST, (112,)),
            Column("chain_updated", FieldType.TIMESTAMP, (163,)),
            *(Column(f"total_{name}", FieldType.MONEY, (20, 148)) for name in AMOUNT_CATEGORIES),
        ),
        "claim_diagnosis": (Column("masked", FieldType.FLAG, required=True),),
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
        ),
    }
)


PASSED_ON: Final[Mapping[tuple[str, str], tuple[str, ...]]] = MappingProxyType(
    {("claim_line", "service_system"): ("service_code_system", "service_code")}
)
"""Derived columns that say what a cell says: (table, column) -> columns, the first filled one."""

TELLS_OF_AMOUNTS: Final = frozenset({"has_amounts", "has_line_amounts"})
"""Derived columns that hold no amount but tell whether there is one."""


def columns_of(table: str) -> Mapping[str, Column]:
    """Return every column that a row of the table has in a mapping, the derived ones included."""
    return _COLUMNS[table]


def relations_of(table: str) -> Mapping[str, Many | One]:
    """Return the relations of a row of the table; list columns are relations to their values."""
    return RELATIONS.get(table, MappingProxyType({}))


def _columns(table: str) -> dict[str, Column]:
    """Return the columns of a table by name.

    Rows of the directory that are made of a mere id have no name, compulsory as it is in a file.
    """
    position = (_POSITION,) if table in _CHILDREN else ()
    columns = (*TABLES[table].columns, *position, *_DERIVED.get(table, ()))
    found = {column.name: column for column in columns}
    if table == "organization":
        found["name"] = replace(found["name"], required=False)
    return found


_COLUMNS: Final[Mapping[str, Mapping[str, Column]]] = MappingProxyType(
    {
        **{table: MappingProxyType(_columns(table)) for table in TABLES},
        LIST_ITEM: MappingProxyType({"value": Column("value", FieldType.TEXT, required=True)}),
    }
)
