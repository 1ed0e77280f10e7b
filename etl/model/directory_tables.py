"""The canonical tables of a provider directory, and those that the engine makes of them.

They hold no member's data. Names of tables are unique over all data models, so that the two that
claims have as well are called otherwise here than their files (`Table.file`).
`docs/directory.md` is the page for people; `column_meanings.toml` says what columns mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from etl.model.tables import EVERY_TABLE, Column, FieldType, Table

_KINDS: Final = {
    "T": FieldType.TEXT,
    "C": FieldType.CODE,
    "D": FieldType.DATE,
    "F": FieldType.FLAG,
    "I": FieldType.INTEGER,
    "N": FieldType.DECIMAL,
    "L": FieldType.LIST,
}


def _columns(*groups: str) -> Iterable[Column]:
    """Yield columns: `T name city` are two of type text; `!` before a name: it is required."""
    for group in groups:
        kind, *names = group.split()
        for name in names:
            yield Column(name.lstrip("!"), _KINDS[kind], (), name.startswith("!"))


def _table(
    name: str, grain: str, key: str, *groups: str, file: str = "", compulsory: bool = False
) -> Table:
    columns = (*_columns(*groups), *EVERY_TABLE)
    return Table(name, grain, tuple(key.split()), compulsory, columns, file)


_ADDRESS: Final = (
    "T address_line address_line_2 city",
    "C state postal_code country",
    "N latitude longitude",
)
_TELECOM: Final = "T phone fax email url"
_CONTACT: Final = "T contact_name contact_phone contact_email"
_OWNED: Final = ("C !owner !owner_id", "I !sequence")

LISTED_TABLES: Final = (
    _table(
        "directory_organization",
        "an organization of the directory: facility, group, payer, business",
        "organization_id",
        "C !organization_id",
        "L !type",
        "T !name",
        "L alias",
        "T description",
        "C npi tax_id clia naic",
        "F active",
        "C part_of_id",
        "D start_date end_date",
        _TELECOM,
        _CONTACT,
        *_ADDRESS,
        "L endpoint_ids",
        file="organization",
        compulsory=True,
    ),
    _table(
        "directory_practitioner",
        "a practitioner of the directory",
        "practitioner_id",
        "C !practitioner_id npi tax_id",
        "F active",
        "D start_date end_date",
        "T name_prefix !family_name given_name middle_name name_suffix",
        "C gender",
        "D birth_date",
        "L languages language_proficiency",
        _TELECOM,
        *_ADDRESS,
        "T photo_url",
        file="practitioner",
    ),
    _table(
        "qualification",
        "a qualification of a practitioner, organization, role or affiliation",
        "owner owner_id sequence",
        *_OWNED,
        "C !code code_system",
        "T text",
        "C identifier issuer_id",
        "T issuer_name",
        "C status",
        "D start_date end_date",
        "L valid_in",
    ),
    _table(
        "network",
        "a network of providers of a payer",
        "network_id",
        "C !network_id",
        "T !name",
        "C !payer_id",
        "F active",
        "L area_location_ids",
        _CONTACT,
        "T url",
        "L endpoint_ids",
    ),
    _table(
        "insurance_plan",
        "a product that a payer offers",
        "plan_id",
        "C !plan_id",
        "L identifiers",
        "T name",
        "L alias",
        "C !product_type",
        "L plan_types",
        "C status !owned_by_id !administered_by_id",
        "D start_date end_date",
        "L area_location_ids plan_area_location_ids network_ids",
        _CONTACT,
        "C contract_id pbp_id segment_id plan_year",
        "L endpoint_ids",
    ),
    _table(
        "location",
        "a place where care is given, or an area",
        "location_id",
        "C !location_id",
        "T !name",
        "L alias",
        "T description",
        "C status",
        "L types",
        "C organization_id part_of_id",
        _TELECOM,
        *_ADDRESS,
        "T region_geojson",
        "C accepts_new_patients accepts_from_network_id",
        "L accepts_characteristics accessibility",
        "T availability_exceptions",
        "L endpoint_ids",
    ),
    _table(
        "healthcare_service",
        "a service that an organization offers at its places",
        "service_id",
        "C !service_id !category",
        "L types specialties",
        "C organization_id",
        "L location_ids area_location_ids",
        "T name comment",
        "L delivery_methods virtual_modalities",
        "F appointment_required",
        "C accepts_new_patients accepts_from_network_id",
        "L accepts_characteristics",
        "T availability_exceptions phone",
        "L endpoint_ids",
    ),
    _table(
        "provider_role",
        "what a practitioner does for an organization",
        "role_id",
        "C !role_id practitioner_id organization_id",
        "L location_ids network_ids service_ids codes specialties",
        "F active",
        "D start_date end_date",
        "C accepts_new_patients accepts_from_network_id",
        "L accepts_characteristics",
        _TELECOM,
        "L endpoint_ids",
    ),
    _table(
        "provider_role_network",
        "what differs of a role in one of its networks",
        "role_id network_id",
        "C !role_id !network_id accepts_new_patients",
        "L accepts_characteristics",
        "D start_date end_date",
    ),
    _table(
        "affiliation",
        "an organization that takes part in another or in its networks",
        "affiliation_id",
        "C !affiliation_id organization_id participating_organization_id",
        "L network_ids codes specialties location_ids service_ids",
        "F active",
        "D start_date end_date",
        "T phone",
        "L endpoint_ids",
    ),
    _table(
        "telecom",
        "a phone, e-mail or the like of something in the directory",
        "owner owner_id sequence",
        *_OWNED,
        "C system",
        "T value",
        "C use",
        "I rank",
        "C via_owner via_id",
    ),
    _table(
        "availability",
        "hours or an absence of something in the directory, or of a telecom of it",
        "owner owner_id sequence",
        *_OWNED,
        "I telecom_sequence",
        "L days",
        "F all_day",
        "T opens closes not_available_text",
        "D not_available_from not_available_to",
    ),
    _table(
        "endpoint",
        "an electronic address",
        "endpoint_id",
        "C !endpoint_id",
        "T name",
        "C organization_id !connection_type payload_type",
        "L payload_mime_types",
        "T !address",
        "C status",
        "T contact_phone contact_email",
        "L use_case",
        "T use_case_standard",
    ),
)
"""Tables of an extract of a directory, in the order in which they are documented and loaded."""


def _made(name: str, grain: str, of: str, key: str, *groups: str) -> Table:
    return replace(_table(name, grain, key, *groups), made_of=of)


_ROLE: Final = next(table for table in LISTED_TABLES if table.name == "provider_role")

DERIVED: Final = (
    replace(
        _ROLE,
        name="role_in_network",
        grain="a role in one network, or in none",
        key=("role_id", "network_id"),
        columns=(*_ROLE.columns, *_columns("C network_id from_network_id", "F unreached")),
        made_of="provider_role",
    ),
    _made(
        "plan_identifier",
        "an identifier of a plan",
        "insurance_plan",
        "plan_id sequence",
        "C !plan_id",
        "I !sequence",
        "C system !value assigner_id",
    ),
    _made(
        "practitioner_language",
        "a language that a practitioner speaks",
        "directory_practitioner",
        "practitioner_id sequence",
        "C !practitioner_id",
        "I !sequence",
        "C !language proficiency",
    ),
)
"""Tables that the engine makes of accepted rows; no file holds them."""

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
"""Word of the column `owner` -> the table that `owner_id` is a key of."""
