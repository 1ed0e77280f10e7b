"""Short forms: diagnoses and procedures as numbered columns of `claim`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

SHORT_FORM_COUNT: Final = 25
"""Number of numbered diagnosis and procedure columns that a claim row may carry."""


def short_form(stem: str, field: str) -> Iterator[str]:
    """Yield the numbered columns of `claim` that stand for one field of a child table.

    Args:
        stem: `diagnosis` or `procedure`.
        field: `code`, `type`, `poa` or `date`.
    """
    return (f"{stem}_{field}_{number}" for number in range(1, SHORT_FORM_COUNT + 1))


SHORT_FORMS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "claim_diagnosis": MappingProxyType(
            {"code": "code", "type": "type", "poa": "present_on_admission"}
        ),
        "claim_procedure": MappingProxyType(
            {"code": "code", "date": "procedure_date", "type": "type"}
        ),
    }
)
"""Child table -> middle word of the numbered claim column -> column of the child table."""
