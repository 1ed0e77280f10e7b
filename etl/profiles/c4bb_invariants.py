"""What CARIN Blue Button asks of resources, in invariants and in words."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from etl.model.logic import AllOf, AnyOf, Not
from etl.profiles import constraints as c
from etl.profiles.guides import C4BB

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
        ("EOB-institutional-item-or-header-adjudication", "c528485c"): c.one_of_two(
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
                given=c.Exists(("supportingInfo",), c.coded("code", _NEWBORN, _ADMISSION_TYPES)),
                name="supportingInfo",
                forbidden=c.of_system("code", "https://www.nubc.org/CodeSystem/PointOfOrigin"),
                at="code",
                slice_name="pointoforigin",
            ),
        )
    }
)
