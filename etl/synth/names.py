"""Made-up names of people and places (`names.toml`), and made-up identifiers.

Identifiers have the shapes and check digits of real ones, but are from ranges that aren't in use:
NPIs begin with 2 (all that were assigned begin with 1), tax, NAIC and CLIA numbers with 00.
Telephone numbers are 555-01xx, which is reserved for fiction. NDCs have labelers 00900 to 00909.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from etl.documents.packaged_toml import read_beside
from etl.model.code_shapes import npi_check_digit


@dataclass(frozen=True, slots=True)
class Heritage:
    """Names that go together.

    Attributes:
        share: how often it is drawn, relative to the others.
        families, women, men: names to draw from.
        race: OMB code or several joined by `;` (CDC Race and Ethnicity, as US Core has it).
        ethnicity: OMB code.
        languages: BCP-47 tags to draw from.
    """

    share: int
    families: tuple[str, ...]
    women: tuple[str, ...]
    men: tuple[str, ...]
    race: str
    ethnicity: str
    languages: tuple[str, ...]


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _frozen(cell) for key, cell in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def read_toml(name: str) -> dict[str, Any]:
    """Return the content of a TOML file of this package, its lists as tuples."""
    data: dict[str, Any] = _frozen(read_beside(__file__, f"{name}.toml"))
    return data


_DATA: Final = read_toml("names")

_HERITAGES: Final = tuple(Heritage(**entry) for entry in _DATA["heritage"])
HERITAGES: Final = tuple(heritage for heritage in _HERITAGES for _ in range(heritage.share))
"""Every heritage, as often as its share says."""

RACE_WORDS: Final[dict[str, str]] = _DATA["race_words"]
"""Words that some payers send instead of the code; a crosswalk has them."""
MIXED_RACES: Final[tuple[str, ...]] = _DATA["mixed_races"]
MIDDLE_NAMES: Final[tuple[str, ...]] = _DATA["middle_names"]
PREFIXES: Final[dict[str, tuple[str, ...]]] = _DATA["prefixes"]
SUFFIXES: Final[tuple[str, ...]] = _DATA["suffixes"]
STREETS: Final[tuple[str, ...]] = _DATA["streets"]
SECOND_LINES: Final[tuple[str, ...]] = _DATA["second_lines"]
EMPLOYERS: Final[tuple[str, ...]] = _DATA["employers"]
SURNAME_PARTICLES: Final[tuple[str, ...]] = _DATA["surname_particles"]


@dataclass(frozen=True, slots=True)
class State:
    """A state of the US, with made-up towns and counties.

    Attributes:
        code: USPS code.
        area: telephone area code.
        zips: first three digits of its ZIP codes.
        towns: (town, county) pairs.
    """

    code: str
    area: str
    zips: tuple[str, ...]
    towns: tuple[tuple[str, str], ...]


STATES: Final = tuple(State(**entry) for entry in _DATA["state"])

_PRIME: Final = 999_999_937
"""The largest prime of nine digits: multiplying modulo it permutes all smaller numbers."""
_FACTOR: Final = 618_033_989


def make_npi(serial: int) -> str:
    """Return the NPI of a serial number of eight digits (45 CFR 162.406)."""
    body = f"2{serial % 100_000_000:08d}"
    return body + npi_check_digit(body)


def shuffle_index(index: int, salt: int) -> int:
    """Return a number of at most nine digits that no other index below 999,999,937 has."""
    return (index * _FACTOR + salt) % _PRIME


def make_tax_id(serial: int) -> str:
    """Return an employer identification number, nine digits."""
    return f"00{serial % 10_000_000:07d}"


def make_clia(serial: int) -> str:
    """Return a CLIA number: ten characters, D in third place."""
    return f"00D{serial % 10_000_000:07d}"


def make_phone(area: str, serial: int) -> str:
    """Return a telephone number that is not in use."""
    return f"{area}-555-{100 + serial % 100:04d}"
