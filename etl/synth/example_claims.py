"""Example claims with every element that their profile can show.

In other claims, chance decides which columns are filled; here the empty ones are filled too.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from etl.model.canonical_tables import AMOUNT_COLUMNS
from etl.synth import sample_codes as codes
from etl.synth.claim_drafts import Claim
from etl.synth.directory import Row

_HEADERS: Final = MappingProxyType(
    {
        "oral": {"orthodontics": "Y", "orthodontics_months": "24"},
        "pharmacy": {
            "rx_origin_code": "3",
            "brand_generic_code": "G",
            "refill_number": "1",
            "refills_authorized": "5",
        },
    }
)
"""Claim type -> cells of the header."""
_NOTE: Final = "This claim is made up; it shows what a claim of its type can hold."


def complete(claim: Claim) -> None:
    """Fill the empty columns that the claim's profile can show."""
    header, first = claim.header, claim.rows["claim_line"][0]
    kind = header["claim_type"]
    _fill(header, **_HEADERS.get(kind, {}))
    if kind == "oral":
        _fill(
            header,
            orthodontics_date=header["statement_from_date"],
            service_facility_id=header["billing_provider_id"],
            **_numbers(header),
        )
        _fill(first, modifier_1=codes.DENTAL_MODIFIER)
    elif kind == "professional":
        _fill(header, service_facility_id=header["billing_provider_id"], **_numbers(header))
    elif kind in ("inpatient", "outpatient"):
        _fill(first, modifier_1="CG", allowed_units=first.get("units", "1"))
    notes = claim.rows.setdefault("claim_note", [])
    if not any("line_number" in note for note in notes):
        notes.append(
            {
                "record_action": "A",
                "claim_id": header["claim_id"],
                "sequence": str(len(notes) + 1),
                "text": _NOTE,
                "line_number": first["line_number"],
                "last_updated": header["last_updated"],
            }
        )


def on_header_alone(claim: Claim) -> None:
    """Remove the amounts from the lines of an institutional claim, which has one place for them."""
    if claim.header["claim_type"] in ("inpatient", "outpatient"):
        claim.rows.pop("claim_adjustment", None)
        for line in claim.rows["claim_line"]:
            for column in AMOUNT_COLUMNS:
                line.pop(column, None)


def _numbers(header: Row) -> Row:
    """Return the provider's own numbers of a patient."""
    number = header["claim_id"]
    return {"patient_account_number": f"A{number}", "medical_record_number": f"R{number}"}


def _fill(row: Row, **cells: str) -> None:
    for column, text in cells.items():
        row.setdefault(column, text)
