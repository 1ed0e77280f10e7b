"""Shapes of codes: what can be told of a code without its code system's content."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

SERVICE_SYSTEMS: Final = (
    ("CDT", re.compile(r"D[0-9]{4}")),
    ("HCPCS", re.compile(r"[A-CE-V][0-9]{4}")),
    ("CPT", re.compile(r"[0-9]{4}[0-9FTUM]")),
    ("HIPPS", re.compile(r"[A-Z0-9]{5}")),
)
"""Service code systems and the shape of their codes, the first that fits wins.

CDT: D and four digits. HCPCS level II: a letter and four digits. CPT: five digits, or four and F
(category II), T (III), U (PLA) or M (MAAA). HIPPS: any other five letters and digits.
"""


def is_npi(text: str) -> bool:
    """Tell whether a text is an NPI: ten digits, the last the Luhn check digit of 80840 and nine.

    Source: 45 CFR 162.406 and ISO/IEC 7812; us-core-16, us-core-17.
    """
    if not (len(text) == 10 and text.isascii() and text.isdigit()):
        return False
    total = 24  # what the prefix 80840 adds
    for at, digit in enumerate(map(int, text)):
        doubled = digit * 2 if at % 2 == 0 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


SHAPES: Final[Mapping[str, Callable[[str], bool]]] = MappingProxyType(
    {
        "npi": is_npi,
        "clia": _matches(r"[0-9]{2}D[0-9]{7}"),
        "naic": _matches(r"[0-9]{5}"),
        "ein": _matches(r"[0-9]{2}-?[0-9]{7}"),
    }
)
"""Shapes that a mapping can ask for by name: NPI; CLIA (us-core-18); NAIC (us-core-19); EIN."""

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
"""Why a value is not there: the value set data-absent-reason of FHIR R4."""
