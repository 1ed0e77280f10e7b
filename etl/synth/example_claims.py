"""Example claims with every element that their profile can show.

In other claims, chance decides which columns are filled; here the empty ones are filled too.
"""

from __future__ import annotations

from typing import Final

from etl.model.canonical_tables import AMOUNT_COLUMNS
from etl.synth.claim_drafts import Claim
from etl.synth.codes import COMPLETE
from etl.synth.templates import fill

_NOTE: Final = "This claim is made up; it shows what a claim of its type can hold."


def complete_claim(claim: Claim) -> None:
    """Fill the empty columns that the claim's profile can show."""
    header, line = claim.header, claim.rows["claim_line"][0]
    cells_of = COMPLETE.get(header["claim_type"], {})
    for name, row in (("header", header), ("line", line)):
        for column, text in cells_of.get(name, {}).items():
            row.setdefault(column, fill(text, {"units": "1"} | header | row))
    notes = claim.rows.setdefault("claim_note", [])
    if not any("line_number" in note for note in notes):
        note = {"record_action": "A", "claim_id": header["claim_id"], "text": _NOTE}
        note |= {"sequence": str(len(notes) + 1), "line_number": line["line_number"]}
        notes.append(note | {"last_updated": header["last_updated"]})


def state_on_header_alone(claim: Claim) -> None:
    """Remove the amounts from the lines of an institutional claim, which has one place for them."""
    if claim.header["claim_type"] in ("inpatient", "outpatient"):
        claim.rows.pop("claim_adjustment", None)
        for line in claim.rows["claim_line"]:
            for column in AMOUNT_COLUMNS:
                line.pop(column, None)
