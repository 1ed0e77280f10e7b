"""Constraints of invariants, by key and wording of the expression.

An expression that isn't listed here has no constraint, and a mapping that produces its subject
can't be checked (`map-unchecked`). Tests ensure that every invariant of the shipped guides has a
constraint or a reason in `NOT_CHECKED`, and compare every constraint with the results of a FHIRPath
library.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from etl.model.code_shapes import NPI_DIGITS, SHAPES, is_npi
from etl.model.logic import AllOf, AnyOf, Not
from etl.profiles import constraints as c
from etl.profiles.constraints import GuideRule
from etl.profiles.guides import C4BB, R4
from etl.profiles.structures import Profile
from etl.profiles.value_sets import DATA_ABSENT_REASON

# The code system has no such code: what the guide means is `nopt`.
_CLOSED: Final = AllOf(
    (c.Contains({"url": "acceptingPatients"}), c.coded("valueCodeableConcept", "no"))
)
_OPEN_IF_CHARACTERIZED: Final = c.implies(
    c.Exists(("extension",), _CLOSED),
    Not(c.Exists(("extension",), c.Contains({"url": "characteristics"}))),
)

PUBLIC_INVARIANTS: Final[Mapping[tuple[str, str], c.Constraint]] = MappingProxyType(
    {
        ("new-patients-characteristics", "7fa4fd93"): _OPEN_IF_CHARACTERIZED,
        ("ipn-1", "6505f06e"): c.present("identifier", "name"),
        ("network-or-plan-Network", "8dc92e8e"): AnyOf(
            (c.present("network"), c.Exists(("plan",), c.present("network")))
        ),
        ("plan-type-is-distinct", "ed43b4d5"): c.Distinct(("plan", "type", "coding", "code")),
        ("organization-or-participatingOrganization", "780cdc27"): c.present(
            "organization", "participatingOrganization"
        ),
        ("practitioner-or-organization-or-healthcareservice-or-location", "4fd0e183"): c.present(
            "practitioner", "organization", "healthcareService", "location"
        ),
        # As 1.1.0 words them: an element that there is not, and a function named without brackets,
        # which makes the second part hold of anything.
        ("practitioner-or-organization-or-healthcareservice-or-location", "e586ed09"): c.present(
            "practitioner", "organization", "location"
        ),
        ("network-or-plan-Network", "9c08de61"): AllOf(()),
        ("new-patients-characteristics", "db348785"): _OPEN_IF_CHARACTERIZED,
        ("Location-address-or-geolocation", "f3f8da92"): AnyOf(
            (
                c.present("address"),
                c.Exists(
                    ("extension",), c.Contains({"url": f"{R4.canonical}location-boundary-geojson"})
                ),
            )
        ),
    }
)
"""Invariants of the guides for public data: Plan-Net and the drug formulary."""


_TERMINOLOGY: Final = "http://terminology.hl7.org/CodeSystem/"
_TOOTH: Final = f"{_TERMINOLOGY}ADAUniversalToothDesignationSystem"
_ABSENT: Final = f"{_TERMINOLOGY}data-absent-reason"
_NUBC: Final = "https://www.nubc.org/CodeSystem/"
_ADMISSION_TYPES: Final = f"{_NUBC}PriorityTypeOfAdmitOrVisit"
_NEWBORN: Final = "4"
"""NUBC, Priority (Type) of Admission or Visit: newborn."""
_NEWBORN_ORIGINS: Final = f"{_NUBC}PointOfOriginNewborn"
_NO_SYSTEM: Final = "AHANUBCPointOfOriginForAdmissionOrVisitNonnewborn"
"""The text that the guide's expression compares a system with; no coding has it."""

_ITEM_NUMBERS: Final = c.NumberPath(("item", "informationSequence"))
_BODY_SITE: Final = c.coded("category", "additionalbodysite")
_AMOUNT: Final = c.Exists(
    ("adjudication",), c.Exists(("category",), c.InValueSet(C4BB.value_set("C4BBAdjudication")))
)
_TRANSPORT: Final = c.Exists(
    ("category",), c.InValueSet(C4BB.value_set("C4BBTransportationServiceCategories"))
)


def _information(where: c.Constraint) -> c.NumberPath:
    return c.NumberPath(("supportingInfo", "sequence"), where)


def _admission(code: c.Constraint) -> c.Constraint:
    kind = c.of_system("code", _ADMISSION_TYPES)
    return c.Exists(("supportingInfo",), AllOf((kind, code)))


def _origin(system: str) -> c.Constraint:
    return c.Exists(("supportingInfo",), c.of_system("code", system))


_SPECIALTIES: Final = "http://cts.nlm.nih.gov/fhir/ValueSet/2.16.840.1.114222.4.11.1066"
_NEWBORN_CODE: Final = c.coded("code", _NEWBORN)

C4BB_INVARIANTS: Final[Mapping[tuple[str, str], c.Constraint]] = MappingProxyType(
    {
        ("uncontained-requires-lastUpdated", "f45b62e1"): c.implies(
            c.Uncontained(), c.Exists(("meta",), c.present("lastUpdated"))
        ),
        ("Practitioner-identifier", "e4e71e5a"): AnyOf(
            tuple(
                c.Exists(("identifier",), c.Contains({"system": system}))
                for system in (
                    "http://hl7.org/fhir/sid/us-npi",
                    "urn:oid:2.16.840.1.113883.4.4",
                )
            )
        ),
        ("EOB-insurance-focal", "523caf1b"): c.Tautology(
            "the guide's expression is never false; see guide-focal"
        ),
        ("EOB-payee-other-type-requires-party", "7e0d6000"): c.implies(
            c.coded("type", "other", f"{_TERMINOLOGY}payeetype"), c.present("party")
        ),
        # Its other half compares with a system that no coding has: see guide-newborn.
        ("EOB-inst-pointoforigin", "e5f9195f"): AllOf(
            (
                Not(AllOf((_admission(Not(_NEWBORN_CODE)), _origin(_NEWBORN_ORIGINS)))),
                Not(AllOf((_admission(_NEWBORN_CODE), _origin(_NO_SYSTEM)))),
            )
        ),
        ("EOB-institutional-item-or-header-adjudication", "c528485c"): c.exactly_one(
            _AMOUNT, c.Exists(("item",), _AMOUNT)
        ),
        ("adjudication-has-amount-type-slice", "ccc1d724"): c.implies(
            c.present("adjudication"), _AMOUNT
        ),
        ("EOB-vision-item-productorservice", "b89801ff"): c.implies(
            c.Exists(("item",), c.coded("productOrService", "not-applicable", _ABSENT)),
            c.coded("type", "vision", f"{_TERMINOLOGY}claim-type"),
        ),
        # The expression asks whether membership in a value set has an answer, not which one.
        ("EOB-careteam-qualification", "adb292d2"): c.implies(
            c.coded("role", "rendering"), c.present("qualification")
        ),
        ("EOB-prof-all-transportation-supportinginfo-linked-to-line", "e28efdcb"): c.NumbersListed(
            _information(_TRANSPORT), _ITEM_NUMBERS
        ),
        ("Oral-EOB-supportinginfo-additionalbodysite-requires-line-item", "9f44c964"): (
            c.NumbersListed(_information(_BODY_SITE), _ITEM_NUMBERS)
        ),
        ("Oral-line-item-with-linked-additionalbody-site-requires-bodysite", "8980b024"): (
            c.NumbersApart(
                c.NumberPath(("item", "informationSequence"), Not(c.present("bodySite"))),
                _information(_BODY_SITE),
            )
        ),
        ("Oral-EOB-surface-subsite-requires-tooth-number", "2d57239f"): c.EntriesNamed(
            "item",
            AllOf((c.present("subSite"), Not(c.of_system("bodySite", _TOOTH)))),
            "informationSequence",
            _information(AllOf((_BODY_SITE, c.of_system("code", _TOOTH)))),
        ),
        # Version 2.1.0 words these otherwise.
        ("EOB-careteam-qualification", "e09d6ac5"): c.implies(
            c.coded("role", "rendering"), c.Exists(("qualification",), c.InValueSet(_SPECIALTIES))
        ),
        ("Practitioner-identifier", "07fb0ef4"): c.Exists(
            ("identifier",), AnyOf((c.coded("type", "NPI"), c.coded("type", "TAX")))
        ),
    }
)


# Rules in words. Sources: the introductions of the EOB profiles, and `C4BBSupportingInfoType`.

_SEQUENCE_LINK: Final = "guide-sequence-link"
_NO_ENTRY: Final = "No entry has the sequence that is named here."

C4BB_GUIDE_RULES: Final[Mapping[str, tuple[c.GuideRule, ...]]] = MappingProxyType(
    {
        "ExplanationOfBenefit": (
            # The guide's own expression looks at one insurance at a time.
            c.MarkedEntry(
                "guide-focal",
                "More than one insurance is focal; at most one may be.",
                "insurance",
                "focal",
            ),
            c.UniqueNumbers(
                "guide-sequence",
                "Another entry of this list has the same sequence.",
                ("careTeam", "supportingInfo", "diagnosis", "procedure", "item"),
                (("item", "detail"),),
                "sequence",
            ),
            # The official example EOBOral2 names sequences that are not there.
            c.ListedNumbers(
                _SEQUENCE_LINK,
                _NO_ENTRY,
                ("item",),
                (
                    ("careTeamSequence", ("careTeam", "sequence")),
                    ("diagnosisSequence", ("diagnosis", "sequence")),
                    ("procedureSequence", ("procedure", "sequence")),
                    ("informationSequence", ("supportingInfo", "sequence")),
                ),
                lenient=True,
            ),
            c.ListedNumbers(
                _SEQUENCE_LINK,
                _NO_ENTRY,
                ("addItem",),
                (("itemSequence", ("item", "sequence")),),
                lenient=True,
            ),
            c.ListedNumbers(
                "guide-note",
                "No processNote has the number that is named here.",
                ("item", "addItem"),
                (("noteNumber", ("processNote", "number")),),
                inner=("detail", "subDetail"),
            ),
            # The guide's own expression compares with a system that no coding has.
            c.ForbiddenEntry(
                "guide-newborn",
                "A newborn admission must have a point of origin for newborns.",
                when=c.Exists(("supportingInfo",), c.coded("code", _NEWBORN, _ADMISSION_TYPES)),
                name="supportingInfo",
                forbidden=c.of_system("code", "https://www.nubc.org/CodeSystem/PointOfOrigin"),
                at="code",
                slice_name="pointoforigin",
            ),
        )
    }
)


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
    """Return whether the check digit is right; other shapes are up to us-core-16."""
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


def _implies_present(name: str, implied: str) -> c.Constraint:
    return c.implies(c.present(name), c.present(implied))


R4_INVARIANTS: Final[Mapping[tuple[str, str], c.Constraint]] = MappingProxyType(
    {
        ("ext-1", "168c91f9"): c.exactly_one(c.present("extension"), c.ValuePresent()),
        ("per-1", "891669ee"): c.PeriodOrder(),
        ("qty-3", "84af2edc"): _implies_present("code", "system"),
        ("att-1", "a437bf9c"): _implies_present("data", "contentType"),
        ("cpt-2", "915d6a8b"): _implies_present("value", "system"),
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
        ("us-core-6", "42142982"): c.exactly_one(
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
        ("mqty-1", "4c533d65"): AllOf(
            (
                _implies_present("value", "code"),
                c.implies(c.present("system"), c.Contains({"system": "urn:iso:std:iso:4217"})),
            )
        ),
        ("dis-1", "5b90695b"): AllOf((_implies_present("value", "code"), _UCUM)),
        ("drq-1", "b7946473"): c.exactly_one(c.present("path"), c.present("searchParam")),
        ("drq-2", "b7946473"): c.exactly_one(c.present("path"), c.present("searchParam")),
        ("drt-1", "81e2fcde"): c.implies(c.present("code"), AllOf((_UCUM, c.present("value")))),
        ("exp-1", "32b1b8f0"): c.present("expression", "reference"),
        ("rat-1", "b5d0aa56"): AllOf(
            (
                Not(c.exactly_one(c.present("numerator"), c.present("denominator"))),
                c.present("numerator", "extension"),
            )
        ),
        ("tim-1", "d619082e"): _implies_present("duration", "durationUnit"),
        ("tim-2", "ab27980e"): _implies_present("period", "periodUnit"),
        ("tim-6", "4f06ea7e"): _implies_present("periodMax", "period"),
        ("tim-7", "5eeeb84c"): _implies_present("durationMax", "duration"),
        ("tim-8", "fac4fff9"): _implies_present("countMax", "count"),
        ("tim-10", "8690db26"): Not(AllOf((c.present("timeOfDay"), c.present("when")))),
        ("trd-1", "8631aab6"): Not(AllOf((c.present("data"), c.present(*_TIMINGS)))),
        ("trd-2", "32df8292"): _implies_present("condition", "data"),
        ("trd-3", "6de4fc46"): AllOf(
            (
                c.implies(c.Contains({"type": "named-event"}), c.present("name")),
                c.implies(c.Contains({"type": "periodic"}), c.present(*_TIMINGS)),
                c.implies(_ON_DATA, c.present("data")),
            )
        ),
    }
)


INVARIANTS: Final[Mapping[tuple[str, str], c.Constraint]] = MappingProxyType(
    {**R4_INVARIANTS, **C4BB_INVARIANTS, **PUBLIC_INVARIANTS}
)
"""(key, signature of the expression) -> constraint, for all guides."""

NOT_CHECKED: Final[Mapping[str, str]] = {
    "dom-6": "a warning, which recommends a narrative; none is written",
    "ele-1": "part of what the structure of an object is held to",
    "adjudication-has-amount-type-slice 3f50fddb": (
        "a warning of PDex's prior authorization, and the value set that it names does not exist"
    ),
    **dict.fromkeys(
        ("age-1", "cnt-3", "rng-2", "tim-4", "tim-5", "tim-9"),
        "compares numbers or words of a data type that only an extension's value can have",
    ),
}
"""Keys of unchecked invariants -> the reason; with a signature, only that wording."""

_META_PROFILE: Final = re.compile(r"meta\.profile\.exists\(\$this\.startsWith\('([^']*)'\)\)")
_CARE_TEAM: Final = re.compile(
    r"\(role\.where\(coding\.where\(codein\(([^)]*)\)\)\.exists\(\)\)\.exists\(\)"
    r"impliesprovider\.all\(resolve\(\)is(\w+)\)\)"
)
"""Matches expressions about the type of provider for some care team roles."""


def signature(expression: str) -> str:
    """Return a short hash of an expression without blanks."""
    return hashlib.sha256(_strip_blanks(expression).encode()).hexdigest()[:8]


def constraint_of(key: str, expression: str) -> c.Constraint | None:
    """Return the constraint of an invariant; None if its wording is unknown."""
    constraint = INVARIANTS.get((key, signature(expression)))
    if constraint is not None:
        return constraint
    if (match := _META_PROFILE.fullmatch(expression)) is not None:
        return c.ProfileClaim(match[1])
    if (match := _CARE_TEAM.fullmatch(_strip_blanks(expression))) is not None:
        roles = re.findall(r"'([^']*)'", match[1])
        acting = AnyOf(tuple(c.coded("role", role) for role in roles))
        return c.implies(acting, c.ReferenceTarget("provider", match[2]))
    return None


def _strip_blanks(expression: str) -> str:
    return re.sub(r"\s+", "", expression)


def guide_rules(profile: Profile) -> tuple[GuideRule, ...]:
    """Return the rules that a profile's guide states only in words, for its type."""
    is_c4bb = profile.terminology.id == C4BB.id
    return C4BB_GUIDE_RULES.get(profile.type, ()) if is_c4bb else ()
