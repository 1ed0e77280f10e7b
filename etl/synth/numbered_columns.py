"""Diagnoses and procedures as numbered columns of `claim`: another way to say the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from etl.model.short_forms import SHORT_FORM_COUNT, SHORT_FORMS
from etl.synth.directory import Row

_SAID: Final = {
    child: frozenset(("record_action", "last_updated", "claim_id", "sequence", *fields.values()))
    for child, fields in SHORT_FORMS.items()
}


def shortened(tables: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """Return a member's rows with the short form wherever it can say everything.

    A claim keeps its child rows where one of them has what the numbered columns cannot say (an
    ICD version other than 10, lines), or where the numbers would not be those of the rows.
    """
    claims = tables["claim"]
    result = dict(tables)
    for child, fields in SHORT_FORMS.items():
        of_claim: dict[str, list[Row]] = {}
        for row in tables[child]:
            of_claim.setdefault(row["claim_id"], []).append(row)
        fitting = {claim for claim, rows in of_claim.items() if _fits(child, rows)}
        stem = child.removeprefix("claim_")
        claims = [
            claim | _numbered(stem, fields, of_claim[claim["claim_id"]])
            if claim["claim_id"] in fitting
            else claim
            for claim in claims
        ]
        result[child] = [row for row in tables[child] if row["claim_id"] not in fitting]
    result["claim"] = claims
    return result


def _fits(child: str, rows: list[Row]) -> bool:
    said = _SAID[child]
    return len(rows) <= SHORT_FORM_COUNT and all(
        row.keys() - {"icd_version"} <= said
        and row.get("icd_version", "10") == "10"
        and row["sequence"] == str(place)
        for place, row in enumerate(rows, start=1)
    )


def _numbered(stem: str, fields: Mapping[str, str], rows: list[Row]) -> Row:
    cells = {}
    for place, row in enumerate(rows, start=1):
        for field, column in fields.items():
            if column in row:
                cells[f"{stem}_{field}_{place}"] = row[column]
    return cells
