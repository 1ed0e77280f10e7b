"""Invariants of CARIN Blue Button: key and signature of the expression -> what it asks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from etl.profiles.constraints import (
    Conjunction,
    Constraint,
    Contains,
    Disjunction,
    EntriesNamed,
    Exists,
    Implication,
    InValueSet,
    Negation,
    NumberPath,
    NumbersApart,
    NumbersListed,
    OneOfTwo,
    Tautology,
    Uncontained,
    coded,
    of_system,
    present,
)
from etl.profiles.guides import C4BB

_TERMINOLOGY: Final = "http://terminology.hl7.org/CodeSystem/"
_TOOTH: Final = f"{_TERMINOLOGY}ADAUniversalToothDesignationSystem"
_ABSENT: Final = f"{_TERMINOLOGY}data-absent-reason"
_NUBC: Final = "https://www.nubc.org/CodeSystem/"
ADMISSION_TYPES: Final = f"{_NUBC}PriorityTypeOfAdmitOrVisit"
NEWBORN: Final = "4"
"""NUBC, Priority (Type) of Admission or Visit: newborn."""
_NEWBORN_ORIGINS: Final = f"{_NUBC}PointOfOriginNewborn"
_NO_SYSTEM: Final = "AHANUBCPointOfOriginForAdmissionOrVisitNonnewborn"
"""The text that the guide's expression compares a system with; no coding has it."""

_ITEM_NUMBERS: Final = NumberPath(("item", "informationSequence"))
_BODY_SITE: Final = coded("category", "additionalbodysite")
_AMOUNT: Final = Exists(
    ("adjudication",), Exists(("category",), InValueSet(C4BB.value_set("C4BBAdjudication")))
)
_TRANSPORT: Final = Exists(
    ("category",), InValueSet(C4BB.value_set("C4BBTransportationServiceCategories"))
)


def _information(where: Constraint) -> NumberPath:
    return NumberPath(("supportingInfo", "sequence"), where)


def _admission(code: Constraint) -> Constraint:
    kind = of_system("code", ADMISSION_TYPES)
    return Exists(("supportingInfo",), Conjunction((kind, code)))


def _origin(system: str) -> Constraint:
    return Exists(("supportingInfo",), of_system("code", system))


_NEWBORN_CODE: Final = coded("code", NEWBORN)

C4BB_INVARIANTS: Final[Mapping[tuple[str, str], Constraint]] = MappingProxyType(
    {
        ("uncontained-requires-lastUpdated", "f45b62e1"): Implication(
            Uncontained(), Exists(("meta",), present("lastUpdated"))
        ),
        ("Practitioner-identifier", "e4e71e5a"): Disjunction(
            tuple(
                Exists(("identifier",), Contains({"system": system}))
                for system in (
                    "http://hl7.org/fhir/sid/us-npi",
                    "urn:oid:2.16.840.1.113883.4.4",
                )
            )
        ),
        ("EOB-insurance-focal", "523caf1b"): Tautology(
            "the guide's expression is never false; see guide-focal"
        ),
        ("EOB-payee-other-type-requires-party", "7e0d6000"): Implication(
            coded("type", "other", f"{_TERMINOLOGY}payeetype"), present("party")
        ),
        # Its other half compares with a system that no coding has: see guide-newborn.
        ("EOB-inst-pointoforigin", "e5f9195f"): Conjunction(
            (
                Negation(
                    Conjunction((_admission(Negation(_NEWBORN_CODE)), _origin(_NEWBORN_ORIGINS)))
                ),
                Negation(Conjunction((_admission(_NEWBORN_CODE), _origin(_NO_SYSTEM)))),
            )
        ),
        ("EOB-institutional-item-or-header-adjudication", "c528485c"): OneOfTwo(
            _AMOUNT, Exists(("item",), _AMOUNT)
        ),
        ("adjudication-has-amount-type-slice", "ccc1d724"): Implication(
            present("adjudication"), _AMOUNT
        ),
        ("EOB-vision-item-productorservice", "b89801ff"): Implication(
            Exists(("item",), coded("productOrService", "not-applicable", _ABSENT)),
            coded("type", "vision", f"{_TERMINOLOGY}claim-type"),
        ),
        # The expression asks whether membership in a value set has an answer, not which one.
        ("EOB-careteam-qualification", "adb292d2"): Implication(
            coded("role", "rendering"), present("qualification")
        ),
        ("EOB-prof-all-transportation-supportinginfo-linked-to-line", "e28efdcb"): NumbersListed(
            _information(_TRANSPORT), _ITEM_NUMBERS
        ),
        ("Oral-EOB-supportinginfo-additionalbodysite-requires-line-item", "9f44c964"): (
            NumbersListed(_information(_BODY_SITE), _ITEM_NUMBERS)
        ),
        ("Oral-line-item-with-linked-additionalbody-site-requires-bodysite", "8980b024"): (
            NumbersApart(
                NumberPath(("item", "informationSequence"), Negation(present("bodySite"))),
                _information(_BODY_SITE),
            )
        ),
        ("Oral-EOB-surface-subsite-requires-tooth-number", "2d57239f"): EntriesNamed(
            "item",
            Conjunction((present("subSite"), Negation(of_system("bodySite", _TOOTH)))),
            "informationSequence",
            _information(Conjunction((_BODY_SITE, of_system("code", _TOOTH)))),
        ),
    }
)
