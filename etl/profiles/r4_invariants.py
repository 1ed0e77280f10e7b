"""Invariants of FHIR R4 and US Core: key and signature of the expression -> what it asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from etl.model.code_shapes import NPI_DIGITS, SHAPES, is_npi
from etl.profiles import constraints as c
from etl.profiles.absent_reasons import DATA_ABSENT_REASON

_MEMBER_NUMBER: Final = {
    "type": {"coding": [{"code": "MB", "system": "http://terminology.hl7.org/CodeSystem/v2-0203"}]}
}
_HOME: Final = c.Exists(("use",), c.Contains("home"))
_CATEGORY: Final = {"url": "ombCategory"}
_NO_CATEGORY: Final = c.Disjunction((c.Contains({"code": "ASKU"}), c.Contains({"code": "UNK"})))
_UNKNOWN: Final = c.Exists(
    ("extension",), c.Conjunction((c.Contains(_CATEGORY), c.Exists(("valueCoding",), _NO_CATEGORY)))
)

_DIGITS: Final = re.compile(NPI_DIGITS)


def _has_digits(text: str) -> bool:
    return _DIGITS.fullmatch(text) is not None


def _has_check_digit(text: str) -> bool:
    """Return whether the tenth digit checks those before it; other texts are us-core-16's."""
    return _DIGITS.match(text) is None or is_npi(text[:10])


def _shape(name: str, fits: Callable[[str], bool] | None = None) -> c.Constraint:
    return c.ValueShape(name, fits or SHAPES[name])


R4_INVARIANTS: Final[Mapping[tuple[str, str], c.Constraint]] = MappingProxyType(
    {
        ("ext-1", "168c91f9"): c.OneOfTwo(c.present("extension"), c.ValuePresent()),
        ("per-1", "891669ee"): c.PeriodOrder(),
        ("qty-3", "84af2edc"): c.Implication(c.present("code"), c.present("system")),
        ("att-1", "a437bf9c"): c.Implication(c.present("data"), c.present("contentType")),
        ("cpt-2", "915d6a8b"): c.Implication(c.present("value"), c.present("system")),
        ("ref-1", "191d0564"): c.ContainedTarget(),
        ("txt-1", "bcaf87d2"): c.NarrativeText(),
        ("txt-2", "bcaf87d2"): c.NarrativeText(),
        ("dom-2", "f0704c44"): c.Negation(c.Exists(("contained",), c.present("contained"))),
        ("dom-4", "3a8a768e"): c.Negation(
            c.Exists(("contained", "meta"), c.present("versionId", "lastUpdated"))
        ),
        ("dom-5", "00f10df0"): c.Negation(c.Exists(("contained", "meta"), c.present("security"))),
        ("pat-1", "3329208a"): c.present("name", "telecom", "address", "organization"),
        ("org-1", "6505f06e"): c.present("identifier", "name"),
        ("org-2", "10cb654d"): c.Negation(_HOME),
        ("org-3", "10cb654d"): c.Negation(_HOME),
        ("pd-1", "ed0b3b04"): c.present("telecom", "endpoint"),
        ("us-core-6", "42142982"): c.OneOfTwo(
            c.present("family", "given"),
            c.Exists(("extension",), c.Contains({"url": DATA_ABSENT_REASON})),
        ),
        ("us-core-13", "13bc78f0"): c.present(
            "practitioner", "organization", "healthcareService", "location"
        ),
        ("us-core-14", "ba23ebf8"): c.present("name", "relationship"),
        ("us-core-15", "519adc3f"): c.Disjunction(
            (c.present("subscriberId"), c.Exists(("identifier",), c.Contains(_MEMBER_NUMBER)))
        ),
        ("us-core-16", "7a12bb37"): _shape("npi", _has_digits),
        ("us-core-17", "fa5c317d"): _shape("npi", _has_check_digit),
        ("us-core-18", "ad2561b6"): _shape("clia"),
        ("us-core-19", "abd61292"): _shape("naic"),
        ("us-core-23", "c4858e6e"): c.Implication(_UNKNOWN, c.FewerThan(2, "extension", _CATEGORY)),
    }
)
