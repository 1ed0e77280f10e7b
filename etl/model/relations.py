"""Relations between canonical tables: rows that belong to a row, and rows that a row names.

They are data, so that the compiler of mappings can check them, the interpreter can follow them one
row at a time, and `etl.columns.navigation` a whole column at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from etl.model.canonical_tables import OWNER_COLUMNS


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


def _of_header(table: str) -> Many:
    key = OWNER_COLUMNS[table]
    return Many(table, ((key, key),))


def _of_line(table: str, *, listed: bool = False) -> Many:
    key, theirs = OWNER_COLUMNS[table], "line_numbers" if listed else "line_number"
    return Many(table, ((key, key), ("line_number", theirs)), listed)


_MEMBER: Final = One("member", "member_id", "member_id", certain=True)
_COVERAGE: Final = One("coverage", "coverage_id", "coverage_id", certain=True)
_PAYER: Final = One("organization", "payer_id", "organization_id")


def _owned(owner: str) -> dict[str, Many | One]:
    """Return the relations of a row that `owner` and `owner_id` of other rows name."""
    mine = f"{owner}_key"
    return {
        "telecoms": Many("telecom", ((mine, "owner_key"),)),
        "hours": Many("availability", ((mine, "hours_key"),)),
        "absences": Many("availability", ((mine, "absence_key"),)),
        "qualifications": Many("qualification", ((mine, "owner_key"),)),
    }


def _contact(owner: str) -> dict[str, Many | One]:
    return {"contact_telecoms": Many("telecom", ((f"{owner}_contact_key", "owner_key"),))}


def _organization(column: str, *, certain: bool = False) -> One:
    return One("directory_organization", column, "organization_id", certain=certain)


_OF_DIRECTORY: Final[Mapping[str, Mapping[str, Many | One]]] = {
    "directory_organization": {
        **_owned("organization"),
        **_contact("organization"),
        "part_of": _organization("part_of_id"),
    },
    "directory_practitioner": {
        **_owned("practitioner"),
        "spoken": Many("practitioner_language", (("practitioner_id", "practitioner_id"),)),
    },
    "network": {**_contact("network"), "payer": _organization("payer_id", certain=True)},
    "insurance_plan": {
        **_contact("insurance_plan"),
        "further_identifiers": Many("plan_identifier", (("plan_id", "plan_id"),)),
    },
    "location": _owned("location"),
    "healthcare_service": _owned("healthcare_service"),
    "role_in_network": _owned("provider_role"),
    "affiliation": _owned("affiliation"),
    "endpoint": _contact("endpoint"),
    "telecom": {"hours": Many("availability", (("telecom_key", "telecom_key"),))},
}

RELATIONS: Final[Mapping[str, Mapping[str, Many | One]]] = {
    "member": {
        "addresses": Many("member_address", (("member_id", "member_id"),)),
        "telecoms": Many("member_telecom", (("member_id", "member_id"),)),
        "coverages": Many("coverage", (("member_id", "member_id"),)),
    },
    "coverage": {"member": _MEMBER, "payer": _PAYER},
    "claim": {
        "lines": _of_header("claim_line"),
        "diagnoses": _of_header("claim_diagnosis"),
        "procedures": _of_header("claim_procedure"),
        "care_team": _of_header("claim_care_team"),
        "other_payers": _of_header("claim_other_payer"),
        "adjustments": _of_header("claim_adjustment"),
        "teeth": _of_header("claim_tooth"),
        "ingredients": _of_header("claim_ingredient"),
        "transports": _of_header("claim_transport"),
        "notes": _of_header("claim_note"),
        "member": _MEMBER,
        "coverage": _COVERAGE,
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
    "prior_auth": {
        "lines": _of_header("prior_auth_line"),
        "diagnoses": _of_header("prior_auth_diagnosis"),
        "care_team": _of_header("prior_auth_care_team"),
        "facility": One("organization", "facility_id", "organization_id"),
        "member": _MEMBER,
        "coverage": _COVERAGE,
        "payer": _PAYER,
    },
    "prior_auth_line": {
        "diagnoses": _of_line("prior_auth_diagnosis", listed=True),
        "care_team": _of_line("prior_auth_care_team", listed=True),
    },
    "practitioner": {"organization": One("organization", "organization_id", "organization_id")},
    **_OF_DIRECTORY,
}
"""Table -> name of the relation -> how to find the rows."""


def relations_of(table: str) -> Mapping[str, Many | One]:
    """Return the relations of a row of the table; list columns are relations to their values."""
    return RELATIONS.get(table, MappingProxyType({}))
