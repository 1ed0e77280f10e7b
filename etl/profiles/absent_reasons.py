"""Data-absent-reason: FHIR's extension for a value that is not there, and its codes."""

from __future__ import annotations

from typing import Final

DATA_ABSENT_REASON: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
"""The extension (FHIR R4)."""

ABSENT_REASONS: Final = frozenset(
    {
        "unknown",
        "asked-unknown",
        "temp-unknown",
        "not-asked",
        "asked-declined",
        "masked",
        "not-applicable",
        "unsupported",
        "as-text",
        "error",
        "not-a-number",
        "negative-infinity",
        "positive-infinity",
        "not-performed",
        "not-permitted",
    }
)
"""Its codes: the value set data-absent-reason of FHIR R4."""
