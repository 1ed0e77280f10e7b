"""Rows that fill every column of every canonical table, for all claim types.

They are what random thinning starts from: whatever is left of them has to conform.
"""

import random
from collections.abc import Mapping
from typing import Any

from etl.model.canonical_tables import AMOUNT_COLUMNS, CLAIM_TYPES
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES

AllRows = dict[str, list[dict[str, str]]]

_NPI = {"HOSPITAL": "1003000126", "DOCTOR": "1245319599"}
_STAMP = {"record_action": "A", "last_updated": "2024-06-01T08:00:00Z"}
_ADDRESS = {
    "address_line": "1 Shore Rd",
    "address_line_2": "Suite 2",
    "city": "Madison",
    "state": "WI",
    "postal_code": "53703",
    "country": "US",
}
_ROLES = (
    "attending",
    "operating",
    "otheroperating",
    "referring",
    "primary",
    "rendering",
    "supervisor",
    "prescribing",
    "purchasedservice",
)
_TRANSPORT = (
    ("patientweight", "160"),
    ("ambulancetransportreason", "B"),
    ("transportationdistance", "21.5"),
    ("roundtrippurpose", "Dialysis and back"),
    ("stretcherpurpose", "Could not sit"),
    ("pickuplocation", "Home"),
    ("dropofflocation", "Clinic"),
)


def everything(suffix: str = "") -> AllRows:
    """Return rows in which every column of every table is filled; ids end in `suffix`."""
    rows = _people(suffix)
    for kind in CLAIM_TYPES:
        claim_id = f"{kind}{suffix}"
        rows["claim"].append(_claim(claim_id, kind, suffix))
        for number in ("1", "2"):
            rows["claim_line"].append(_line(claim_id, number, kind, suffix))
        for table, children in _children(claim_id, kind, suffix).items():
            rows[table].extend(children)
    return rows


def _people(suffix: str) -> AllRows:
    member, payer = f"M{suffix}", f"PAYER{suffix}"
    rows: AllRows = {name: [] for name in TABLES}
    rows["member"].append(
        {
            "member_id": member,
            "unique_member_id": f"U{suffix}",
            "name_prefix": "Ms.",
            "family_name": "Núñez",
            "given_name": 'Ana "Nita"',
            "middle_name": "Q",
            "name_suffix": "Jr.",
            "full_name": "Ana Núñez",
            "birth_date": "1980-02-29",
            "gender": "F",
            "birth_sex": "F",
            "deceased": "Y",
            "death_date": "2024-05-31",
            "race": "2106-3;black",
            "ethnicity": "2186-5",
            "language": "es-US",
            "phone": "+1 608 555 0100",
            "email": "ana@example.com",
            "county": "Dane",
            **_ADDRESS,
            **_STAMP,
        }
    )
    rows["member_address"].append(
        {
            "member_id": member,
            "sequence": "1",
            "use": "mailing",
            "county": "Dane",
            "start_date": "2020-01-01",
            "end_date": "2021-01-01",
            **_ADDRESS,
            **_STAMP,
        }
    )
    rows["member_telecom"].append(
        {
            "member_id": member,
            "sequence": "1",
            "system": "fax",
            "value": "+1 608 555 0101",
            "use": "work",
            "rank": "3",
            **_STAMP,
        }
    )
    rows["coverage"].append(
        {
            "coverage_id": f"C{suffix}",
            "member_id": member,
            "card_member_id": f"CARD{suffix}",
            "subscriber_id": f"S{suffix}",
            "subscriber_family_name": "Núñez",
            "subscriber_given_name": "Luz",
            "subscriber_birth_date": "1955-05-05",
            "subscriber_gender": "F",
            "subscriber_relationship": "MTH",
            "relationship": "child",
            "dependent_number": "01",
            "coverage_type": "PPO",
            "status": "active",
            "start_date": "2023-01-01",
            "end_date": "2024-12-31",
            "group_id": "G1",
            "group_name": "Lake Tools",
            "plan_id": "P1",
            "plan_name": "Gold",
            "network_name": "Gold Network",
            "payer_id": payer,
            **_STAMP,
        }
    )
    for key, kind in ((payer, "payer"), (f"HOSPITAL{suffix}", "facility")):
        rows["organization"].append(
            {
                "organization_id": key,
                "kind": kind,
                "npi": _NPI["HOSPITAL"],
                "tax_id": "12-3456789",
                "naic": "12345",
                "clia": "11D2222222",
                "payer_code": "60054",
                "name": "Lakeside",
                "phone": "+1 608 555 0102",
                "active": "Y",
                **_ADDRESS,
                **_STAMP,
            }
        )
    rows["practitioner"].append(
        {
            "practitioner_id": f"DOCTOR{suffix}",
            "npi": _NPI["DOCTOR"],
            "tax_id": "98-7654321",
            "active": "Y",
            "name_prefix": "Dr.",
            "family_name": "Okafor",
            "given_name": "Chi",
            "middle_name": "N",
            "name_suffix": "MD",
            "full_name": "Chi Okafor",
            "taxonomy_code": "207Q00000X",
            "specialty": "Family medicine",
            "organization_id": f"HOSPITAL{suffix}",
            "phone": "+1 608 555 0103",
            **_ADDRESS,
            **_STAMP,
        }
    )
    rows["practitioner"].append({"practitioner_id": f"123456789012{suffix}"})
    return rows


def _amounts(first: int) -> dict[str, str]:
    return {name: f"{first + at}.{at:02d}" for at, name in enumerate(AMOUNT_COLUMNS)}


def _claim(claim_id: str, kind: str, suffix: str) -> dict[str, str]:
    return {
        "claim_id": claim_id,
        "claim_type": kind,
        "member_id": f"M{suffix}",
        "coverage_id": f"C{suffix}",
        "payer_id": f"PAYER{suffix}",
        "status": "active",
        "outcome": "complete",
        "adjusted_from_claim_id": f"before-{claim_id}",
        "adjusted_to_claim_id": f"after-{claim_id}",
        "statement_from_date": "2024-05-01",
        "statement_thru_date": "2024-05-05",
        "received_date": "2024-05-06",
        "adjudication_date": "2024-05-07",
        "paid_date": "2024-05-08",
        "payment_status": "paid",
        "payment_amount": "10.00",
        "payee_type": "provider",
        "payee_id": f"HOSPITAL{suffix}",
        "admission_date": "2024-05-01",
        "discharge_date": "2024-05-05",
        "admission_type": "4",
        "point_of_origin": "5",
        "discharge_status": "01",
        "type_of_bill": "111",
        "bill_facility_type": "1",
        "bill_classification": "1",
        "bill_frequency": "1",
        "drg_code": "795",
        "drg_version": "41",
        "drg_system": "MS-DRG",
        "patient_account_number": "PA-1",
        "medical_record_number": "MR-1",
        "billing_provider_id": f"HOSPITAL{suffix}",
        "billing_network_status": "innetwork",
        "rendering_network_status": "innetwork",
        "benefit_payment_status": "innetwork",
        "service_facility_id": f"HOSPITAL{suffix}",
        "denial_reason": "70" if kind == "pharmacy" else "45;N30",
        "days_supply": "30",
        "daw_code": "1",
        "refill_number": "2",
        "refills_authorized": "3",
        "rx_origin_code": "3",
        "brand_generic_code": "2",
        "compound_code": "2",
        "orthodontics": "Y",
        "orthodontics_date": "2024-01-01",
        "orthodontics_months": "24",
        "prosthesis_replacement": "N",
        "prosthesis_prior_date": "2010-01-01",
        "currency": "USD",
        **_amounts(100),
        **_STAMP,
    }


def _line(claim_id: str, number: str, kind: str, suffix: str) -> dict[str, str]:
    return {
        "claim_id": claim_id,
        "line_number": number,
        "service_from_date": "2024-05-01",
        "service_to_date": "2024-05-02",
        "revenue_code": "0170",
        "service_code": "D0120" if kind == "oral" else "99213",
        "service_code_system": "CDT" if kind == "oral" else "CPT",
        "service_text": "As the source says it",
        "modifier_1": "25",
        "modifier_2": "LT",
        "modifier_3": "1P",
        "modifier_4": "P3",
        "ndc": "00071015523",
        "ndc_quantity": "3.5",
        "ndc_unit": "ML",
        "units": "2",
        "allowed_units": "1",
        "place_of_service": "11",
        "benefit_payment_status": "outofnetwork",
        "denial_reason": "75" if kind == "pharmacy" else "45;MA01",
        "tooth_number": "14",
        "oral_cavity_area": "10",
        "tooth_surfaces": "M;O",
        "rendering_provider_id": f"DOCTOR{suffix}",
        **_amounts(50),
        **_STAMP,
    }


def _children(claim_id: str, kind: str, suffix: str) -> AllRows:
    key = {"claim_id": claim_id}
    rows: dict[str, list[dict[str, Any]]] = {
        "claim_diagnosis": [
            {"code": "Z38.00", "icd_version": "10", "type": "principal"},
            {"code": "P07.30", "icd_version": "10", "type": "admitting"},
            {"code": "V30.00", "icd_version": "9", "type": "other"},
        ],
        "claim_procedure": [
            {"code": "0VTTXZZ", "icd_version": "10", "type": "principal"},
            {"code": "64.0", "icd_version": "9", "type": "secondary"},
        ],
        "claim_care_team": [
            {"role": role, "taxonomy_code": "207Q00000X", "line_numbers": "1"} for role in _ROLES
        ],
        "claim_other_payer": [
            {"line_number": "1", "amount_priorpayerpaid": "1.25"},
            {"line_number": "2", "amount_priorpayerpaid": "2.50"},
        ],
        "claim_note": [{"text": "Of the claim"}, {"text": "Of a line", "line_number": "1"}],
    }
    if kind == "professional":
        rows["claim_transport"] = [
            {"kind": name, "value": value, "unit": "lb", "line_numbers": "1;2"}
            for name, value in _TRANSPORT
        ]
    for at, row in enumerate(rows["claim_care_team"]):
        row["provider_id"] = f"{'DOCTOR' if at % 2 else '123456789012'}{suffix}"
    for row in rows["claim_other_payer"]:
        row |= {"payer_name": "Sunrise", "payer_id": f"SUN{suffix}", "coverage_id": f"C{suffix}"}
    for row in rows["claim_diagnosis"]:
        row |= {"present_on_admission": "Y", "line_numbers": "1;2"}
    for row in rows["claim_procedure"]:
        row["procedure_date"] = "2024-05-02"
    for table, children in rows.items():
        rows[table] = [
            {**key, "sequence": str(at), **row, **_STAMP} for at, row in enumerate(children, 1)
        ]
    return rows | _children_of_lines(key, kind)


def _children_of_lines(key: Mapping[str, str], kind: str) -> AllRows:
    reason = {"group_code": "CO", "reason_code": "45", "remark_code": "N30", "amount": "5.00"}
    rows: AllRows = {"claim_adjustment": [], "claim_tooth": [], "claim_ingredient": []}
    teeth = ({"tooth_number": "15"}, {"oral_cavity_area": "10"}, {"tooth_number": "1"})
    for number in ("1", "2"):
        line = {**key, "line_number": number}
        rows["claim_adjustment"].append({**line, "sequence": "1", **reason, **_STAMP})
        for at, tooth in enumerate(teeth if kind == "oral" else (), 1):
            missing = "Y" if at == len(teeth) else "N"
            rows["claim_tooth"].append(
                {**line, "sequence": str(at), **tooth, "missing": missing, **_STAMP}
            )
        for digit in ("1", "2") if kind == "pharmacy" else ():
            part = {"ndc": f"0090420165{digit}", "quantity": "2.5", "unit": "GR"}
            rows["claim_ingredient"].append({**line, "sequence": digit, **part, **_STAMP})
    return rows


def thinned(rows: AllRows, chance: random.Random) -> AllRows:
    """Return accepted rows that are left when cells and child rows are dropped at random.

    What quality rejects a claim without (a diagnosis, a service code, …) is kept, and a stub of the
    directory loses all but its key. Now and then an end comes before its start.
    """
    share = chance.choice((0.0, 0.2, 0.5, 0.9, 1.0))
    left: AllRows = {}
    for name, table in TABLES.items():
        needed = {*table.key, *table.required}
        children = name.startswith("claim_") and name not in {"claim_line", "claim_diagnosis"}
        left[name] = [
            {
                column: cell
                for column, cell in row.items()
                if column in needed or _stays(chance, share)
            }
            for row in rows[name]
            if not (children and chance.random() < share / 2)
        ]
    for name, key in (("organization", "organization_id"), ("practitioner", "practitioner_id")):
        left[name] = [{key: row[key]} if chance.random() < 0.2 else row for row in left[name]]
    _keep_what_claims_need(left, rows, chance)
    return left


def _stays(chance: random.Random, share: float) -> bool:
    return chance.random() >= share


def _keep_what_claims_need(left: AllRows, rows: AllRows, chance: random.Random) -> None:
    kinds = {row["claim_id"]: row["claim_type"] for row in rows["claim"]}
    needed = {"inpatient": "revenue_code", "professional": "service_code", "pharmacy": "ndc"}
    bare = {claim for claim in kinds if chance.random() < 0.4}
    for row, whole in zip(left["claim_line"], rows["claim_line"], strict=True):
        column = needed.get(kinds[row["claim_id"]])
        if column is not None:
            row[column] = whole[column]
        if row["claim_id"] in bare:
            _drop_amounts(row)
        if chance.random() < 0.2:
            row["service_to_date"] = "2023-12-01"
    for row in left["claim"]:
        if row["claim_type"] == "oral":
            row["billing_network_status"] = "outofnetwork"
        if chance.random() < 0.4:
            _drop_amounts(row)
        if chance.random() < 0.2:
            row |= {"statement_thru_date": "2023-12-01", "discharge_date": "2023-12-01"}
        if chance.random() < 0.5:
            row["payee_type"] = chance.choice(("subscriber", "beneficiary", "other", "nobody"))


def _drop_amounts(row: dict[str, str]) -> None:
    for name in AMOUNT_COLUMNS:
        row.pop(name, None)


def without_line_amounts(rows: AllRows) -> AllRows:
    """Return the rows with amounts on claims only."""
    lines = [
        {column: cell for column, cell in row.items() if column not in AMOUNT_COLUMNS}
        for row in rows["claim_line"]
    ]
    return {**rows, "claim_line": lines}


def unfilled(rows: AllRows) -> list[str]:
    """Return the columns that no row fills."""
    return [
        f"{name}.{column}"
        for name, table in TABLES.items()
        for column in table.names
        if not any(column in row for row in rows[name])
    ]
