"""Invariants of FHIR R4 and US Core: key and signature of the expression -> what it asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from etl.model.code_shapes import NPI_DIGITS, SHAPES, is_npi
from etl.model.logic import AllOf, AnyOf, Not
from etl.profiles import constraints as c
from etl.profiles.value_sets import DATA_ABSENT_REASON

_MEMBER_NUMBER: Final = {
    "type": {"coding": [{"code": "MB", "system": "http://terminology.hl7.org/CodeSystem/v2-0203"}]}
}
_HOME: Final = c.Exists(("use",), c.Contains("home"))
_CATEGORY: Final = {"url": "ombCategory"}
_NO_CATEGORY: Final = AnyOf((c.Contains({"code": "ASKU"}), c.Contains({"code": "UNK"})))
_UNKNOWN: Final = c.Exists(
    ("extension",), AllOf((c.Contains(_CATEGORY), c.Exists(("valueCoding",), _NO_CATEGORY)))
)

_DIGITS: Final = re.compile(NPI_DIGITS)


def _has_digits(text: str) -> bool:
    return _DIGITS.fullmatch(text) is not None


def _has_check_digit(text: str) -> bool:
    """Return whether the tenth digit checks those before it; other texts are us-core-16's."""
    return _DIGITS.match(text) is None or is_npi(text[:10])


def _shape(name: str, fits: Callable[[str], bool] | None = None) -> c.Constraint:
    return c.ValueShape(name, fits or SHAPES[name])


_UCUM: Final = c.implies(c.present("system"), c.Contains({"system": "http://unitsofmeasure.org"}))
_TIMINGS: Final = ("timingTiming", "timingReference", "timingDate", "timingDateTime")
_ON_DATA: Final = AnyOf(
    tuple(
        c.Contains({"type": f"data-{kind}"})
        for kind in ("changed", "added", "modified", "removed", "accessed", "access-ended")
    )
)


def _needs(name: str, other: str) -> c.Constraint:
    return c.implies(c.present(name), c.present(other))


R4_INVARIANTS: Final[Mapping[tuple[str, str], c.Constraint]] = MappingProxyType(
    {
        ("ext-1", "168c91f9"): c.one_of_two(c.present("extension"), c.ValuePresent()),
        ("per-1", "891669ee"): c.PeriodOrder(),
        ("qty-3", "84af2edc"): _needs("code", "system"),
        ("att-1", "a437bf9c"): _needs("data", "contentType"),
        ("cpt-2", "915d6a8b"): _needs("value", "system"),
        ("ref-1", "191d0564"): c.ContainedTarget(),
        ("txt-1", "bcaf87d2"): c.NarrativeText(),
        ("txt-2", "bcaf87d2"): c.NarrativeText(),
        ("dom-2", "f0704c44"): Not(c.Exists(("contained",), c.present("contained"))),
        ("dom-3", "8409be09"): c.ContainedUsed(),
        ("dom-4", "3a8a768e"): Not(
            c.Exists(("contained", "meta"), c.present("versionId", "lastUpdated"))
        ),
        ("dom-5", "00f10df0"): Not(c.Exists(("contained", "meta"), c.present("security"))),
        ("pat-1", "3329208a"): c.present("name", "telecom", "address", "organization"),
        ("org-1", "6505f06e"): c.present("identifier", "name"),
        ("org-2", "10cb654d"): Not(_HOME),
        ("org-3", "10cb654d"): Not(_HOME),
        ("pd-1", "ed0b3b04"): c.present("telecom", "endpoint"),
        ("us-core-6", "42142982"): c.one_of_two(
            c.present("family", "given"),
            c.Exists(("extension",), c.Contains({"url": DATA_ABSENT_REASON})),
        ),
        ("us-core-13", "13bc78f0"): c.present(
            "practitioner", "organization", "healthcareService", "location"
        ),
        ("us-core-14", "ba23ebf8"): c.present("name", "relationship"),
        ("us-core-15", "519adc3f"): AnyOf(
            (c.present("subscriberId"), c.Exists(("identifier",), c.Contains(_MEMBER_NUMBER)))
        ),
        ("us-core-16", "7a12bb37"): _shape("npi", _has_digits),
        ("us-core-17", "fa5c317d"): _shape("npi", _has_check_digit),
        ("us-core-18", "ad2561b6"): _shape("clia"),
        ("us-core-19", "abd61292"): _shape("naic"),
        ("us-core-23", "c4858e6e"): c.implies(_UNKNOWN, c.FewerThan(2, "extension", _CATEGORY)),
        # Of data types that these resources have in values of extensions only.
        ("dis-1", "5b90695b"): AllOf((_needs("value", "code"), _UCUM)),
        ("drq-1", "b7946473"): c.one_of_two(c.present("path"), c.present("searchParam")),
        ("drq-2", "b7946473"): c.one_of_two(c.present("path"), c.present("searchParam")),
        ("drt-1", "81e2fcde"): c.implies(c.present("code"), AllOf((_UCUM, c.present("value")))),
        ("exp-1", "32b1b8f0"): c.present("expression", "reference"),
        ("rat-1", "b5d0aa56"): AllOf(
            (
                Not(c.one_of_two(c.present("numerator"), c.present("denominator"))),
                c.present("numerator", "extension"),
            )
        ),
        ("tim-1", "d619082e"): _needs("duration", "durationUnit"),
        ("tim-2", "ab27980e"): _needs("period", "periodUnit"),
        ("tim-6", "4f06ea7e"): _needs("periodMax", "period"),
        ("tim-7", "5eeeb84c"): _needs("durationMax", "duration"),
        ("tim-8", "fac4fff9"): _needs("countMax", "count"),
        ("tim-10", "8690db26"): Not(AllOf((c.present("timeOfDay"), c.present("when")))),
        ("trd-1", "8631aab6"): Not(AllOf((c.present("data"), c.present(*_TIMINGS)))),
        ("trd-2", "32df8292"): _needs("condition", "data"),
        ("trd-3", "6de4fc46"): AllOf(
            (
                c.implies(c.Contains({"type": "named-event"}), c.present("name")),
                c.implies(c.Contains({"type": "periodic"}), c.present(*_TIMINGS)),
                c.implies(_ON_DATA, c.present("data")),
            )
        ),
    }
)
