"""Kinds of files, and the elements that the columns of each may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from etl.doctor.elements import NOTHING, KnownElement

_LINE_PARTS: Final = ("claim_diagnosis", "claim_procedure", "claim_care_team", "claim_other_payer")
KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "members": ("member", "member_address"),
    "coverages": ("coverage",),
    "members with their coverages": ("member", "member_address", "coverage"),
    "claims": ("claim", *_LINE_PARTS),
    "lines": ("claim_line", "claim_diagnosis", "claim_procedure"),
    "claims with their lines": ("claim", "claim_line", *_LINE_PARTS, "claim_adjustment"),
    "organizations": ("organization",),
    "practitioners": ("practitioner",),
    "further addresses": ("member_address",),
    "further phones": ("member_telecom",),
    "diagnoses": ("claim_diagnosis",),
    "procedures": ("claim_procedure",),
    "care team": ("claim_care_team",),
    "other payers": ("claim_other_payer",),
    "adjustments": ("claim_adjustment",),
    "teeth": ("claim_tooth",),
    "ingredients": ("claim_ingredient",),
    "transports": ("claim_transport",),
    "notes": ("claim_note",),
}
"""Kind of a file -> the canonical tables that it would feed."""
KEYS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "member": (("member_id",), ("birth_date", "gender", "family_name", "full_name")),
    "coverage": (("member_id", "subscriber_id"), ("start_date", "plan_id", "payer_id", "status")),
    "claim": (("claim_id",), ("member_id", "claim_type", "statement_from_date", "paid_date")),
    "claim_line": (("claim_id",), ("line_number", "service_code", "service_from_date", "ndc")),
}
"""Table -> columns of which a file of it has one at least, and columns that it likely has."""
NAMED_ONCE: Final = frozenset(
    {"member_id", "claim_id", "line_number", "sequence", "last_updated", "line_numbers"}
)
"""Columns that a file names once, whatever tables it feeds."""
_DRUG_FACTS: Final = frozenset(
    f"claim.{name}"
    for name in (
        "days_supply",
        "daw_code",
        "refill_number",
        "refills_authorized",
        "rx_origin_code",
        "brand_generic_code",
        "compound_code",
    )
)
"""Facts of a claim of drugs that files of lines may have."""


def possible_elements(every: Sequence[KnownElement], tables: Sequence[str]) -> Any:
    """Return which elements a file may have that feeds some tables; bool, shape (elements,).

    The key columns of the first table are not repeated for the others.
    """
    main, *others = tables
    return np.array(
        [
            element.table in (NOTHING, main)
            or (
                element.table in others and element.column not in NAMED_ONCE and _is_beside(element)
            )
            or (tables == KINDS["lines"] and element.key in _DRUG_FACTS)
            or (element.key == "claim_line.line_number" and "claim_line" in tables)
            for element in every
        ]
    )


def _is_beside(element: KnownElement) -> bool:
    """Return whether a file of another table may have it.

    That is no amount, no address without its use, and no provider without a role.
    """
    if element.amount and element.table not in ("claim", "claim_line"):
        return False
    if element.table == "claim_care_team" and element.column in ("provider_id", "role"):
        return bool(element.qualifier)
    return element.table != "member_address" or bool(element.qualifier)
