"""A small directory of a payer, each row of which shows something once."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

Rows = Sequence[Mapping[str, str]]

PLACE: Final = {
    "address_line": "1 Main Street",
    "city": "Hartford",
    "state": "CT",
    "postal_code": "06101",
    "country": "US",
    "latitude": "41.76",
    "longitude": "-72.67",
}


def directory_rows() -> dict[str, list[dict[str, str]]]:
    """Return the rows of a directory by the name of their file."""
    return {
        "organization": [
            {"organization_id": "P1", "type": "payer", "name": "Acme", "naic": "12345", **PLACE},
            {"organization_id": "H1", "type": "fac;bus", "name": "Hospital", **PLACE},
            {"organization_id": "H2", "type": "zoo", "name": "Of no type", **PLACE},
            {"organization_id": "H3", "type": "fac", "name": "Gone", "end_date": "2020-01-01"},
        ],
        "practitioner": [
            {"practitioner_id": "D1", "npi": "1245319599", "family_name": "Doe", **PLACE},
            {"practitioner_id": "D2", "family_name": "Roe", "active": "N"},
        ],
        "network": [
            {"network_id": "N1", "name": "Premium", "payer_id": "P1", "contact_phone": "1"},
            {"network_id": "N2", "name": "Standard", "payer_id": "P1"},
            {"network_id": "N3", "name": "Of nobody", "payer_id": "NOPE"},
        ],
        "insurance_plan": [
            {
                "plan_id": "PL1",
                "name": "Gold",
                "identifiers": "urn:x|abc|P1;def",
                "product_type": "qhp",
                "plan_types": "gold;silver",
                "owned_by_id": "P1",
                "administered_by_id": "P1",
                "network_ids": "N1;N3",
                "contract_id": "H1234",
                "pbp_id": "001",
            }
        ],
        "location": [
            {"location_id": "L1", "name": "Main", "organization_id": "H1", "part_of_id": "L2"},
            {"location_id": "L2", "name": "Campus", "part_of_id": "L1", "phone": "2", **PLACE},
        ],
        "provider_role": [
            {
                "role_id": "R1",
                "practitioner_id": "D1",
                "organization_id": "H1",
                "network_ids": "N1;N2",
                "specialties": "207R00000X;nonsense",
                "accepts_new_patients": "newpt",
            },
            {"role_id": "R2", "practitioner_id": "D2", "organization_id": "H1"},
            {"role_id": "R3", "practitioner_id": "D1", "location_ids": "L2;L9", "network_ids": ""},
            {"role_id": "R4", "practitioner_id": "D1", "location_ids": "L2"},
        ],
        "provider_role_network": [
            {"role_id": "R1", "network_id": "N2", "accepts_new_patients": "nopt"}
        ],
        "telecom": [
            {"owner": "provider_role", "owner_id": "R1", "sequence": "1", "system": "phone"}
            | {"value": "3", "rank": "1"},
            {"owner": "practitioner", "owner_id": "D2", "sequence": "1", "system": "phone"}
            | {"value": "4"},
        ],
    }


def write_directory(folder: Path, rows: Mapping[str, Rows]) -> Path:
    """Write a file a table, and the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, of_table in rows.items():
        headers = list(dict.fromkeys(header for row in of_table for header in row))
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, headers)
            writer.writeheader()
            writer.writerows(of_table)
    (folder / "manifest.json").write_text('{"as_of": "2026-11-01"}', encoding="utf-8")
    return folder


def full_directory_rows() -> dict[str, list[dict[str, str]]]:
    """Return a directory in which every element that a profile marks is fed once."""
    rows = directory_rows()
    contact = {
        "contact_name": "Jo Poe",
        "contact_phone": "860-555-0101",
        "contact_email": "jo@x.example",
    }
    dated = {"start_date": "2020-01-01", "end_date": "2030-01-01"}
    endpoint, area = {"endpoint_ids": "E1"}, {"area_location_ids": "AREA"}
    hospital = {"npi": "1234567893", "description": "A hospital", "alias": "H", "part_of_id": "P1"}
    rows["organization"][0] |= contact | endpoint
    rows["organization"][1] |= hospital | dated
    rows["practitioner"][0] |= {"given_name": "Jane", "phone": "5"}
    rows["practitioner"][0] |= {"languages": "en;es", "language_proficiency": "50;20"}
    rows["network"][0] |= contact | endpoint | area
    rows["insurance_plan"][0] |= contact | endpoint | area | dated
    rows["insurance_plan"][0] |= {"alias": "G", "plan_area_location_ids": "AREA"}
    rows["location"].append({"location_id": "AREA", "name": "Connecticut", "state": "CT"})
    rows["location"][-1]["region_geojson"] = '{"type": "Polygon"}'
    accepting = {"accepts_new_patients": "newpt", "availability_exceptions": "holidays"}
    rows["location"][1] |= accepting | endpoint | {"organization_id": "H1", "alias": "C"}
    rows["location"][1] |= {"description": "Campus", "types": "HOSP", "accessibility": "adacomp"}
    service = {"service_id": "S1", "category": "outpat", "types": "8", "organization_id": "H1"}
    service |= accepting | endpoint | area | {"specialties": "207R00000X", "location_ids": "L1"}
    service |= {"name": "Clinic", "comment": "By day", "appointment_required": "Y", "phone": "6"}
    service |= {"accepts_from_network_id": "N1", "accepts_characteristics": "adults"}
    service |= {"delivery_methods": "virtual;physical", "virtual_modalities": "video"}
    rows["healthcare_service"] = [service]
    places = {"location_ids": "L1", "service_ids": "S1"}
    rows["provider_role"][0] |= places | endpoint | {"codes": "ph", "start_date": "2024-01-01"}
    affiliation = {"affiliation_id": "A1", "organization_id": "P1", "network_ids": "N1"}
    affiliation |= {"participating_organization_id": "H1", "specialties": "282N00000X"}
    rows["affiliation"] = [affiliation | places | endpoint | dated | {"codes": "hospital"}]
    rows["endpoint"] = [_endpoint()]
    rows["telecom"] += [
        _telecom("organization", "H1", "location", "L2"),
        _telecom("location", "L2", "organization", "H1"),
        _telecom("healthcare_service", "S1", "affiliation", "A1"),
        _telecom("provider_role", "R1", "provider_role", "R3"),
        _telecom("affiliation", "A1"),
    ]
    rows["availability"] = [
        {"owner": owner, "owner_id": key, "sequence": str(number), **what}
        for owner, key in _OPEN.items()
        for number, what in enumerate(_TIMES if owner != "organization" else _TIMES[:1], start=1)
    ]
    rows["qualification"] = [
        {"owner": owner, "owner_id": key, "sequence": "1", "code": code, "identifier": "X1"}
        | {"issuer_id": "P1", "valid_in": "CT", "status": "active"}
        | dated
        for owner, key, code in (
            ("practitioner", "D1", "MD"),
            ("organization", "H1", "282N00000X"),
            ("provider_role", "R1", "207R00000X"),
            ("affiliation", "A1", "282N00000X"),
        )
    ]
    return rows


_OPEN: Final = {
    "organization": "H1",
    "location": "L2",
    "healthcare_service": "S1",
    "provider_role": "R1",
}
_HOURS: Final = {"days": "mon;tue", "all_day": "N", "opens": "08:00", "closes": "17:00"}
_TIMES: Final = (
    {"telecom_sequence": "7", **_HOURS},
    _HOURS,
    {
        "not_available_text": "Closed",
        "not_available_from": "2026-12-24",
        "not_available_to": "2026-12-26",
    },
)


def _telecom(owner: str, key: str, via_owner: str = "", via_id: str = "") -> dict[str, str]:
    named = {"owner": owner, "owner_id": key, "via_owner": via_owner, "via_id": via_id}
    return named | {"sequence": "7", "system": "phone", "value": "860-555-0177", "rank": "1"}


def _endpoint() -> dict[str, str]:
    return {
        "endpoint_id": "E1",
        "name": "FHIR",
        "organization_id": "P1",
        "connection_type": "hl7-fhir-rest",
        "payload_mime_types": "application/fhir+json",
        "address": "https://x.example/fhir",
        "contact_phone": "9",
        "use_case": "TREAT",
        "use_case_standard": "https://x.example/standard",
    }
