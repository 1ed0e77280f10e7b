"""A small directory of a payer, each row of which shows something once."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

Rows = Sequence[Mapping[str, str]]

PLACE = {
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
