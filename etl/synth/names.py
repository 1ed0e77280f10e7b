"""Names of people and places, all made up: the values of `names.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Heritage:
    """Names that go together.

    Attributes:
        share: how often it is drawn, beside the others.
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


def read_data(name: str) -> dict[str, Any]:
    """Return the content of a TOML file of this room, its lists as tuples."""
    text = (resources.files("etl.synth") / f"{name}.toml").read_text(encoding="utf-8")
    data: dict[str, Any] = _frozen(tomllib.loads(text))
    return data


_DATA: Final = read_data("names")

_HERITAGES: Final = tuple(Heritage(**entry) for entry in _DATA["heritage"])
HERITAGES: Final = tuple(heritage for heritage in _HERITAGES for _ in range(heritage.share))
"""Every heritage as often as it is drawn."""

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
    """A state with towns and counties that are not on its map.

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
