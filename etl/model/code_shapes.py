"""Shapes of codes: checks that don't need the content of the code system."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Final

SERVICE_SYSTEMS: Final = (
    ("CDT", re.compile(r"D[0-9]{4}")),
    ("HCPCS", re.compile(r"[A-CE-V][0-9]{4}")),
    ("CPT", re.compile(r"[0-9]{4}[0-9FTUM]")),
    ("HIPPS", re.compile(r"[A-Z0-9]{5}")),
)
"""Service code systems and the shapes of their codes; the first match wins.

CDT: D and four digits. HCPCS level II: a letter and four digits. CPT: five digits, or four and F
(category II), T (III), U (PLA) or M (MAAA). HIPPS: any other five letters and digits.
"""


NPI_DIGITS: Final = r"[0-9]{10}"
"""The shape of a National Provider Identifier (us-core-16); its check digit is tested apart."""
NPI_FIRST_DIGITS: Final = ("1", "2")
"""First digits in the numbering plan; so far all NPIs begin with 1."""

NPI_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
"""The Luhn algorithm's double of each digit: the digit sum of twice the digit."""

NPI_PREFIX_SUM: Final = 24
"""The prefix 80840's contribution to the Luhn sum of an NPI."""

_NPI_SHAPE: Final = re.compile(NPI_DIGITS)


def npi_check_digit(digits: str) -> str:
    """Compute the check digit for the first nine digits of an NPI.

    It is the Luhn digit of the prefix 80840 and the nine digits.
    Source: 45 CFR 162.406, ISO/IEC 7812 and us-core-17.
    """
    doubled = sum(NPI_DOUBLED[int(digit)] for digit in digits[0::2])
    return str(-(NPI_PREFIX_SUM + doubled + sum(map(int, digits[1::2]))) % 10)


def is_npi(text: str) -> bool:
    """Return whether a text is an NPI: ten digits, of which the last is the check digit.

    Like the guide's invariants, doesn't check the first digit.
    """
    return _NPI_SHAPE.fullmatch(text) is not None and npi_check_digit(text[:9]) == text[9]


def full_match(pattern: str) -> Callable[[str], bool]:
    """Build a test of whether an entire text matches a pattern."""
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


_GEOJSON_TYPES: Final = (
    *("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon"),
    *("GeometryCollection", "Feature", "FeatureCollection"),
)


def is_geojson(text: str) -> bool:
    """Return whether a text is a JSON object of a type of GeoJSON (RFC 7946, section 1.4)."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("type") in _GEOJSON_TYPES


SHAPES: Final[Mapping[str, Callable[[str], bool]]] = {
    "npi": is_npi,
    "clia": full_match(r"[0-9]{2}D[0-9]{7}"),
    "naic": full_match(r"[0-9]{5}"),
    "ein": full_match(r"[0-9]{2}-?[0-9]{7}"),
    "contract": full_match(r"[A-Z][0-9]{4}"),
    "package": full_match(r"[0-9]{3}"),
    "language": full_match(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*"),
    "geojson": is_geojson,
    "year": full_match(r"[1-9][0-9]{3}"),
}
"""Shapes that mappings can name: NPI; CLIA (us-core-18); NAIC (us-core-19); EIN; contracts of
Medicare Advantage (H1234), and their packages and segments (001); language tags (BCP 47), of
which only the form is checked; GeoJSON; a year of four digits."""


_SHOWN: Final = frozenset(" .,-/():;$%+*#@_|'\"&")
_LENGTH: Final = 24


def outline(value: str) -> str:
    """Mask a value: `9` for each digit, `A` or `a` for each letter."""
    text = "".join(_outline_char(char) for char in value[:_LENGTH])
    return text + ("…" if len(value) > _LENGTH else "")


def _outline_char(char: str) -> str:
    if char.isdigit() or char.isnumeric():
        return "9"
    if char.isalpha():
        return "A" if char.isupper() else "a"
    return char if char in _SHOWN else "·"
