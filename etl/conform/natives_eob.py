"""The guide's invariants of ExplanationOfBenefit as Python, held to FHIRPath as `natives` says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from etl.conform.codes import member_of
from etl.conform.elements import Json, coded, codings, entries, of_system, there
from etl.conform.natives import made_for, stands_for
from etl.conform.references import resolved_type
from etl.conform.visit import Holds
from etl.profiles.guides import Guide
from etl.profiles.value_sets import value_set

_C4BB: Final = "http://hl7.org/fhir/us/carin-bb/ValueSet/"
_AMOUNTS: Final = f"{_C4BB}C4BBAdjudication"
_TRANSPORT: Final = f"{_C4BB}C4BBTransportationServiceCategories"
_CLAIM_TYPE: Final = "http://terminology.hl7.org/CodeSystem/claim-type"
_ABSENT: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_PAYEE: Final = "http://terminology.hl7.org/CodeSystem/payeetype"
_TOOTH: Final = "http://terminology.hl7.org/CodeSystem/ADAUniversalToothDesignationSystem"
_ADMISSION: Final = "https://www.nubc.org/CodeSystem/PriorityTypeOfAdmitOrVisit"
_NEWBORN: Final = "https://www.nubc.org/CodeSystem/PointOfOriginNewborn"
_NO_SYSTEM: Final = "AHANUBCPointOfOriginForAdmissionOrVisitNonnewborn"
"""What the guide's expression compares a system with; no coding has it."""


@stands_for("EOB-insurance-focal", "523caf1b")
def focal_as_the_guide_writes_it(value: Any, root: Json) -> bool:
    """The guide's expression looks at one insurance at a time: it always holds.

    `guide.one_focal` checks what is meant.
    """
    del value, root
    return True


@stands_for("EOB-payee-other-type-requires-party", "7e0d6000")
def other_payee_has_party(value: Any, root: Json) -> bool:
    """A payee of type other names the party."""
    del root
    return not coded(value, "type", "other", _PAYEE) or there(value, "party")


@stands_for("EOB-inst-pointoforigin", "e5f9195f")
def origin_fits_admission(value: Any, root: Json) -> bool:
    """With another admission type than newborn there is no newborn point of origin.

    The other half of the guide's expression compares with a system that no coding has;
    `guide.newborn_origin` checks what is meant.
    """
    del root
    infos = list(entries(value, "supportingInfo"))
    admissions = [info for info in infos if of_system(info, "code", _ADMISSION)]
    newborn = any(coded(info, "code", "4") for info in admissions)
    other = any(not coded(info, "code", "4") for info in admissions)
    if newborn and any(of_system(info, "code", _NO_SYSTEM) for info in infos):
        return False
    return not (other and any(of_system(info, "code", _NEWBORN) for info in infos))


def _has_amount(value: Any, guide: Guide) -> bool:
    amounts = value_set(_AMOUNTS, guide)
    return any(
        member_of(amounts, category) is not False
        for adjudication in entries(value, "adjudication")
        for category in entries(adjudication, "category")
    )


@made_for("EOB-institutional-item-or-header-adjudication", "c528485c")
def _amounts_in_one_place(guide: Guide) -> Holds:
    """Amounts are adjudicated in the header or in items, never in both and never in neither."""

    def test(value: Any, root: Json) -> bool:
        del root
        items = any(_has_amount(item, guide) for item in entries(value, "item"))
        return _has_amount(value, guide) != items

    return test


@made_for("adjudication-has-amount-type-slice", "ccc1d724")
def _item_has_amount(guide: Guide) -> Holds:
    """An item that is adjudicated has an amount."""
    return lambda value, _root: not there(value, "adjudication") or _has_amount(value, guide)


def linked(value: Any) -> set[Any]:
    """Return the supportingInfo sequences that some item names."""
    return {
        sequence
        for item in entries(value, "item")
        for sequence in entries(item, "informationSequence")
        if type(sequence) is int
    }


def _sequences(infos: Iterator[Any]) -> list[Any]:
    return [s for info in infos for s in entries(info, "sequence") if type(s) is int]


@made_for("EOB-prof-all-transportation-supportinginfo-linked-to-line", "e28efdcb")
def _transport_is_linked(guide: Guide) -> Holds:
    """Every supportingInfo about transport is named by an item."""

    def test(value: Any, root: Json) -> bool:
        kinds = value_set(_TRANSPORT, guide)
        transports = (
            info
            for info in entries(value, "supportingInfo")
            if any(member_of(kinds, c) is not False for c in entries(info, "category"))
        )
        return linked(root).issuperset(_sequences(transports))

    return test


@stands_for("EOB-vision-item-productorservice", "b89801ff")
def only_vision_needs_no_product(value: Any, root: Json) -> bool:
    """Only vision claims may say not-applicable instead of a product or service."""
    del root
    return coded(value, "type", "vision", _CLAIM_TYPE) or not any(
        coded(item, "productOrService", "not-applicable", _ABSENT)
        for item in entries(value, "item")
    )


def _body_sites(value: Any) -> Iterator[Any]:
    return (
        info
        for info in entries(value, "supportingInfo")
        if coded(info, "category", "additionalbodysite")
    )


@stands_for("Oral-EOB-supportinginfo-additionalbodysite-requires-line-item", "9f44c964")
def body_site_is_linked(value: Any, root: Json) -> bool:
    """Every additional body site is named by an item."""
    return linked(root).issuperset(_sequences(_body_sites(value)))


@stands_for("Oral-line-item-with-linked-additionalbody-site-requires-bodysite", "8980b024")
def linked_item_has_body_site(value: Any, root: Json) -> bool:
    """An item that names an additional body site has a body site itself."""
    sites = set(_sequences(_body_sites(root)))
    return all(
        there(item, "bodySite") or sites.isdisjoint(_named(item)) for item in entries(value, "item")
    )


def _named(item: Any) -> list[Any]:
    return [s for s in entries(item, "informationSequence") if type(s) is int]


@stands_for("Oral-EOB-surface-subsite-requires-tooth-number", "2d57239f")
def surface_has_tooth(value: Any, root: Json) -> bool:
    """An item with a surface has a tooth number, its own or by an additional body site."""
    teeth = _sequences(i for i in _body_sites(root) if of_system(i, "code", _TOOTH))

    def lacks(item: Any) -> bool:
        if not there(item, "subSite") or of_system(item, "bodySite", _TOOTH):
            return False
        together = _named(item) + teeth
        return len(set(together)) == len(together)

    return not any(map(lacks, entries(value, "item")))


@stands_for("EOB-careteam-qualification", "adb292d2")
def rendering_has_qualification(value: Any, root: Json) -> bool:
    """A rendering member of the care team has a qualification.

    The guide's expression asks whether membership in the value set has an answer, not which one.
    """
    del root
    return not coded(value, "role", "rendering") or there(value, "qualification")


_CARE_TEAM: Final = re.compile(
    r"\(role\.where\(coding\.where\(codein\(([^)]*)\)\)\.exists\(\)\)\.exists\(\)"
    r"impliesprovider\.all\(resolve\(\)is(\w+)\)\)"
)


def care_team(expression: str) -> Holds | None:
    """Return the test of the invariants that say who may have a role in the care team."""
    found = _CARE_TEAM.fullmatch(re.sub(r"\s+", "", expression))
    if found is None:
        return None
    roles = tuple(re.findall(r"'([^']*)'", found[1]))
    wanted = found[2]

    def test(value: Any, root: Json) -> bool:
        if not any(c.get("code") in roles for c in codings(value, "role")):
            return True
        types = (resolved_type(provider, root) for provider in entries(value, "provider"))
        # A provider whose type cannot be told breaks the rule, as it does in FHIRPath.
        return all(kind == wanted for kind in types)

    return test
