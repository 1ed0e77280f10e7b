"""Relations between canonical tables: child rows of a row, and rows that it refers to.

They are data, so that the compiler of mappings can check them, the interpreter can follow them one
row at a time, and `etl.columns.navigation` a column at a time.
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
        table: the other table.
        on: pairs (column of this row, column of the other row) with equal values.
        listed: the other column of the last pair is a list that contains this row's value.
    """

    table: str
    on: tuple[tuple[str, str], ...]
    listed: bool = False


@dataclass(frozen=True, slots=True)
class One:
    """The single row of another table that a row refers to.

    Attributes:
        table: the other table.
        column: column of this row with the key.
        key: key column of the other table, which is unique.
        certain: every accepted row has one, because rows without it are rejected.
    """

    table: str
    column: str
    key: str
    certain: bool = False


def _header_children(table: str) -> Many:
    key = OWNER_COLUMNS[table]
    return Many(table, ((key, key),))


def _line_children(table: str, *, listed: bool = False) -> Many:
    key, line_column = OWNER_COLUMNS[table], "line_numbers" if listed else "line_number"
    return Many(table, ((key, key), ("line_number", line_column)), listed)


_MEMBER: Final = One("member", "member_id", "member_id", certain=True)
_COVERAGE: Final = One("coverage", "coverage_id", "coverage_id", certain=True)
_PAYER: Final = One("organization", "payer_id", "organization_id")


def _owner_relations(owner: str) -> dict[str, Many | One]:
    """Return the relations to rows that refer to this one by `owner` and `owner_id`."""
    key = f"{owner}_key"
    return {
        "telecoms": Many("telecom", ((key, "owner_key"),)),
        "hours": Many("availability", ((key, "hours_key"),)),
        "absences": Many("availability", ((key, "absence_key"),)),
        "qualifications": Many("qualification", ((key, "owner_key"),)),
    }


def _contact_relations(owner: str) -> dict[str, Many | One]:
    return {"contact_telecoms": Many("telecom", ((f"{owner}_contact_key", "owner_key"),))}


def _organization(column: str, *, certain: bool = False) -> One:
    return One("directory_organization", column, "organization_id", certain=certain)


_DIRECTORY_RELATIONS: Final[Mapping[str, Mapping[str, Many | One]]] = {
    "directory_organization": {
        **_owner_relations("organization"),
        **_contact_relations("organization"),
        "part_of": _organization("part_of_id"),
    },
    "directory_practitioner": {
        **_owner_relations("practitioner"),
        "spoken": Many("practitioner_language", (("practitioner_id", "practitioner_id"),)),
    },
    "network": {**_contact_relations("network"), "payer": _organization("payer_id", certain=True)},
    "insurance_plan": {
        **_contact_relations("insurance_plan"),
        "further_identifiers": Many("plan_identifier", (("plan_id", "plan_id"),)),
    },
    "location": _owner_relations("location"),
    "healthcare_service": _owner_relations("healthcare_service"),
    "role_in_network": _owner_relations("provider_role"),
    "affiliation": _owner_relations("affiliation"),
    "endpoint": _contact_relations("endpoint"),
    "telecom": {"hours": Many("availability", (("telecom_key", "telecom_key"),))},
}


_FORMULARY_RELATIONS: Final[Mapping[str, Mapping[str, Many | One]]] = {
    "formulary_plan": {
        "further_identifiers": Many("formulary_plan_identifier", (("plan_id", "plan_id"),)),
        "drug_coverage_identifiers": Many(
            "formulary_drug_plan_identifier", (("plan_id", "plan_id"),)
        ),
        "pharmacies": Many("formulary_plan_pharmacy", (("plan_id", "plan_id"),)),
    },
    "formulary_plan_pharmacy": {
        "costs": Many("formulary_cost", (("pharmacy_key", "pharmacy_key"),))
    },
    "formulary_drug": {"codes": Many("formulary_drug_code", (("drug_id", "drug_id"),))},
}

RELATIONS: Final[Mapping[str, Mapping[str, Many | One]]] = {
    "member": {
        "addresses": Many("member_address", (("member_id", "member_id"),)),
        "telecoms": Many("member_telecom", (("member_id", "member_id"),)),
        "coverages": Many("coverage", (("member_id", "member_id"),)),
    },
    "coverage": {"member": _MEMBER, "payer": _PAYER},
    "claim": {
        "lines": _header_children("claim_line"),
        "diagnoses": _header_children("claim_diagnosis"),
        "procedures": _header_children("claim_procedure"),
        "care_team": _header_children("claim_care_team"),
        "other_payers": _header_children("claim_other_payer"),
        "adjustments": _header_children("claim_adjustment"),
        "teeth": _header_children("claim_tooth"),
        "ingredients": _header_children("claim_ingredient"),
        "transports": _header_children("claim_transport"),
        "notes": _header_children("claim_note"),
        "member": _MEMBER,
        "coverage": _COVERAGE,
        "payer": _PAYER,
        "prior": One("claim", "adjusted_from_claim_id", "claim_id"),
        "next": One("claim", "adjusted_to_claim_id", "claim_id"),
    },
    "claim_line": {
        "adjustments": _line_children("claim_adjustment"),
        "teeth": _line_children("claim_tooth"),
        "ingredients": _line_children("claim_ingredient"),
        "other_payers": _line_children("claim_other_payer"),
        "notes": _line_children("claim_note"),
        "diagnoses": _line_children("claim_diagnosis", listed=True),
        "care_team": _line_children("claim_care_team", listed=True),
        "transports": _line_children("claim_transport", listed=True),
    },
    "claim_other_payer": {
        "coverage": One("coverage", "own_coverage_id", "coverage_id"),
        "payer": _PAYER,
    },
    "claim_tooth": {"line": One("claim_line", "line_key", "line_key")},
    "prior_auth": {
        "lines": _header_children("prior_auth_line"),
        "diagnoses": _header_children("prior_auth_diagnosis"),
        "care_team": _header_children("prior_auth_care_team"),
        "facility": One("organization", "facility_id", "organization_id"),
        "member": _MEMBER,
        "coverage": _COVERAGE,
        "payer": _PAYER,
    },
    "prior_auth_line": {
        "diagnoses": _line_children("prior_auth_diagnosis", listed=True),
        "care_team": _line_children("prior_auth_care_team", listed=True),
    },
    "practitioner": {"organization": One("organization", "organization_id", "organization_id")},
    **_DIRECTORY_RELATIONS,
    **_FORMULARY_RELATIONS,
}
"""Table -> name of the relation -> the relation."""


def relations_of(table: str) -> Mapping[str, Many | One]:
    """Return the relations of a table by name; empty if it has none."""
    return RELATIONS.get(table, MappingProxyType({}))
