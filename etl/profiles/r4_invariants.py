"""Invariants of FHIR R4 and US Core: key and signature of the expression -> what it asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from etl.model.code_shapes import NPI_DIGITS, SHAPES, is_npi
from etl.profiles.absent_reasons import DATA_ABSENT_REASON
from etl.profiles.constraints import (
    Conjunction,
    Constraint,
    ContainedTarget,
    Contains,
    Disjunction,
    Exists,
    FewerThan,
    Implication,
    NarrativeText,
    Negation,
    OneOfTwo,
    PeriodOrder,
    ValuePresent,
    ValueShape,
    present,
)

_MEMBER_NUMBER: Final = {
    "type": {"coding": [{"code": "MB", "system": "http://terminology.hl7.org/CodeSystem/v2-0203"}]}
}
_HOME: Final = Exists(("use",), Contains("home"))
_CATEGORY: Final = {"url": "ombCategory"}
_NO_CATEGORY: Final = Disjunction((Contains({"code": "ASKU"}), Contains({"code": "UNK"})))
_UNKNOWN: Final = Exists(
    ("extension",), Conjunction((Contains(_CATEGORY), Exists(("valueCoding",), _NO_CATEGORY)))
)

_DIGITS: Final = re.compile(NPI_DIGITS)


def _has_digits(text: str) -> bool:
    return _DIGITS.fullmatch(text) is not None


def _has_check_digit(text: str) -> bool:
    """Return whether the tenth digit checks those before it; other texts are us-core-16's."""
    return _DIGITS.match(text) is None or is_npi(text[:10])


def _shape(name: str, fits: Callable[[str], bool] | None = None) -> Constraint:
    return ValueShape(name, fits or SHAPES[name])


R4_INVARIANTS: Final[Mapping[tuple[str, str], Constraint]] = MappingProxyType(
    {
        ("ext-1", "168c91f9"): OneOfTwo(present("extension"), ValuePresent()),
        ("per-1", "891669ee"): PeriodOrder(),
        ("qty-3", "84af2edc"): Implication(present("code"), present("system")),
        ("att-1", "a437bf9c"): Implication(present("data"), present("contentType")),
        ("cpt-2", "915d6a8b"): Implication(present("value"), present("system")),
        ("ref-1", "191d0564"): ContainedTarget(),
        ("txt-1", "bcaf87d2"): NarrativeText(),
        ("txt-2", "bcaf87d2"): NarrativeText(),
        ("dom-2", "f0704c44"): Negation(Exists(("contained",), present("contained"))),
        ("dom-4", "3a8a768e"): Negation(
            Exists(("contained", "meta"), present("versionId", "lastUpdated"))
        ),
        ("dom-5", "00f10df0"): Negation(Exists(("contained", "meta"), present("security"))),
        ("pat-1", "3329208a"): present("name", "telecom", "address", "organization"),
        ("org-1", "6505f06e"): present("identifier", "name"),
        ("org-2", "10cb654d"): Negation(_HOME),
        ("org-3", "10cb654d"): Negation(_HOME),
        ("pd-1", "ed0b3b04"): present("telecom", "endpoint"),
        ("us-core-6", "42142982"): OneOfTwo(
            present("family", "given"),
            Exists(("extension",), Contains({"url": DATA_ABSENT_REASON})),
        ),
        ("us-core-13", "13bc78f0"): present(
            "practitioner", "organization", "healthcareService", "location"
        ),
        ("us-core-14", "ba23ebf8"): present("name", "relationship"),
        ("us-core-15", "519adc3f"): Disjunction(
            (present("subscriberId"), Exists(("identifier",), Contains(_MEMBER_NUMBER)))
        ),
        ("us-core-16", "7a12bb37"): _shape("npi", _has_digits),
        ("us-core-17", "fa5c317d"): _shape("npi", _has_check_digit),
        ("us-core-18", "ad2561b6"): _shape("clia"),
        ("us-core-19", "abd61292"): _shape("naic"),
        ("us-core-23", "c4858e6e"): Implication(_UNKNOWN, FewerThan(2, "extension", _CATEGORY)),
    }
)
