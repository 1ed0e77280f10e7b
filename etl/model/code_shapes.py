"""Shapes of codes: what can be checked of a code without its code system's content."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
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


NPI_DIGITS: Final = r"[0-9]{10}"
"""The shape of a National Provider Identifier (us-core-16); its check digit is tested apart."""
NPI_FIRST_DIGITS: Final = ("1", "2")
"""First digits that the numbering plan has: so far every NPI given out begins with 1."""

NPI_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
"""Twice each digit, the two digits of the product added."""

NPI_PREFIX_SUM: Final = 24
"""Share of the prefix 80840 in the sum of an NPI's digits."""

_NPI_SHAPE: Final = re.compile(NPI_DIGITS)


def npi_check_digit(digits: str) -> str:
    """Return the check digit that nine digits of an NPI have.

    It is the Luhn digit of the prefix 80840 and the nine.
    Source: 45 CFR 162.406, ISO/IEC 7812 and us-core-17.
    """
    doubled = sum(NPI_DOUBLED[int(digit)] for digit in digits[0::2])
    return str(-(NPI_PREFIX_SUM + doubled + sum(map(int, digits[1::2]))) % 10)


def is_npi(text: str) -> bool:
    """Return whether a text is an NPI: ten digits, the last the check digit of the others.

    The first digit may be any: the guide's invariants check these two conditions only.
    """
    return _NPI_SHAPE.fullmatch(text) is not None and npi_check_digit(text[:9]) == text[9]


def full_match(pattern: str) -> Callable[[str], bool]:
    """Return a test of whether a whole text matches a pattern."""
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


SHAPES: Final[Mapping[str, Callable[[str], bool]]] = {
    "npi": is_npi,
    "clia": full_match(r"[0-9]{2}D[0-9]{7}"),
    "naic": full_match(r"[0-9]{5}"),
    "ein": full_match(r"[0-9]{2}-?[0-9]{7}"),
    "year": full_match(r"[1-9][0-9]{3}"),
}
"""Shapes that a mapping can ask for by name: NPI; CLIA (us-core-18); NAIC (us-core-19); EIN; a year
of four digits."""


_SHOWN: Final = frozenset(" .,-/():;$%+*#@_|'\"&")
_LENGTH: Final = 24


def outline(value: str) -> str:
    """Return the outline of a value: `9` for a digit, `A` or `a` for a letter, no more of it."""
    text = "".join(_outlined(char) for char in value[:_LENGTH])
    return text + ("…" if len(value) > _LENGTH else "")


def _outlined(char: str) -> str:
    if char.isdigit() or char.isnumeric():
        return "9"
    if char.isalpha():
        return "A" if char.isupper() else "a"
    return char if char in _SHOWN else "·"
