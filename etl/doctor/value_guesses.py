"""Guesses of elements by values alone, for columns that have no header.

They are few: what the values of a column can tell, and the order of columns (keys stand first).
Amounts are never guessed, nor are dates other than those of birth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from etl.doctor.shapes import ColumnProfile

_LEAST: Final = 0.62
_FIRST: Final = 0.04
"""Additional worth of a guess in the first column; half of it in the second, and so on."""
_GENDERS: Final = frozenset({"f", "m", "o", "u", "x", "female", "male", "other", "unknown"})
_CLAIM_TYPES: Final = frozenset(
    {
        "institutional",
        "inpatient",
        "outpatient",
        "inpatient-facility",
        "outpatient-facility",
        "professional",
        "professional-nonclinician",
        "pharmacy",
        "vision",
        "oral",
        "dental",
    }
)
_SERVICES: Final = frozenset({"99999", "A9999", "9999A"})
"""Outlines of CPT and HCPCS codes."""
ASKED: Final = (
    ("npi", "npi"),
    ("npi", "provider"),
    ("taxonomy", "taxonomy"),
    ("email", "email"),
    ("ndc", "ndc"),
    ("date", "date"),
    ("decimal", "money"),
    ("icd", "icd"),
    ("zip", "zip"),
    ("name", "name"),
)
"""Shape of a column, and of the elements that it may be: the rarest first. They are questions."""


def _is_key(profile: ColumnProfile, _unique: float) -> bool:
    others = ("name", "date", "decimal", "npi", "email")
    return (
        profile.filled == profile.rows
        and profile.distinct > 1
        and profile.share("key") == 1
        and all(profile.share(shape) < 0.5 for shape in others)
    )


def _is_only_key(profile: ColumnProfile, unique: float) -> bool:
    return unique == 1 and _is_key(profile, unique)


def _is_birth(profile: ColumnProfile, _unique: float) -> bool:
    return profile.share("date") > 0.95 and profile.share("last_century") > 0.3


def _is_gender(profile: ColumnProfile, _unique: float) -> bool:
    return len(profile.words) > 1 and profile.words <= _GENDERS


def _is_relationship(profile: ColumnProfile, _unique: float) -> bool:
    return "self" in profile.words


def _is_claim_type(profile: ColumnProfile, _unique: float) -> bool:
    return bool(profile.words) and profile.words <= _CLAIM_TYPES


def _is_line_number(profile: ColumnProfile, unique: float) -> bool:
    numbers = {str(number) for number in range(1, profile.distinct + 1)}
    return profile.distinct > 1 and unique < 1 and profile.words == numbers


def _is_service(profile: ColumnProfile, unique: float) -> bool:
    outlines = set(profile.sample)
    return bool(outlines) and outlines <= _SERVICES and ("99999" in outlines or unique < 1)


def _is_diagnosis(profile: ColumnProfile, _unique: float) -> bool:
    varied = len(profile.sample) > 1 or any("." in outline for outline in profile.sample)
    return profile.share("icd") == 1 and profile.share("decimal") < 1 and varied


_GUESSES: Final[Mapping[str, Callable[[ColumnProfile, float], bool]]] = MappingProxyType(
    {
        "member.member_id": _is_only_key,
        "member.birth_date": _is_birth,
        "member.gender": _is_gender,
        "coverage.coverage_id": _is_only_key,
        "coverage.member_id": _is_key,
        "coverage.relationship": _is_relationship,
        "claim.claim_id": _is_key,
        "claim.member_id": _is_key,
        "claim.claim_type": _is_claim_type,
        "claim_line.claim_id": _is_key,
        "claim_line.line_number": _is_line_number,
        "claim_line.service_code": _is_service,
        "claim_diagnosis.code": _is_diagnosis,
    }
)
"""Element -> whether a column may be it, by its profile and the share of different values."""


def guess(element: str, profile: ColumnProfile, unique: float, place: int) -> float:
    """Return how well a column without a header fits an element; 0 where values do not say it.

    Args:
        element: its key.
        profile: of the column's values.
        unique: share of values that are different.
        place: of the column in its file, from 0.
    """
    fits = _GUESSES.get(element)
    if fits is None or not profile.filled or not fits(profile, unique):
        return 0.0
    return _LEAST + _FIRST / (1 + place)
