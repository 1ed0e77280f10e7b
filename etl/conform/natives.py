"""Invariants as Python, where evaluating FHIRPath would cost too much.

Each stands for one FHIRPath expression, named by the invariant's key and a digest of the expression
(`signature`): where a version of the guide words it otherwise, the library evaluates it. Property
tests hold every one of them to the library's answer.

They are called on any JSON, also where its structure has been found wrong already.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any, Final

from etl.conform.elements import Json, coded, entries, there
from etl.conform.narrative import is_narrative
from etl.conform.visit import Holds
from etl.model.code_shapes import NPI_DIGITS, SHAPES, is_npi
from etl.profiles.absent_reasons import DATA_ABSENT_REASON
from etl.profiles.guides import Guide

_ID_TYPES: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
_PRACTITIONER_IDS: Final = ("http://hl7.org/fhir/sid/us-npi", "urn:oid:2.16.840.1.113883.4.4")

NATIVES: Final[dict[tuple[str, str], Callable[[Guide], Holds]]] = {}
"""(key, signature of the expression) -> maker of the test for a guide."""


def signature(expression: str) -> str:
    """Return what tells one wording of an expression from another; blanks do not count."""
    return hashlib.sha256(re.sub(r"\s+", "", expression).encode()).hexdigest()[:8]


def stands_for(key: str, digest: str) -> Callable[[Holds], Holds]:
    """Register a test for the expression of that key and signature."""

    def register(test: Holds) -> Holds:
        NATIVES[key, digest] = lambda _guide: test
        return test

    return register


def made_for(
    key: str, digest: str
) -> Callable[[Callable[[Guide], Holds]], Callable[[Guide], Holds]]:
    """Register a maker of tests, for an expression that asks for value sets of a guide."""

    def register(maker: Callable[[Guide], Holds]) -> Callable[[Guide], Holds]:
        NATIVES[key, digest] = maker
        return maker

    return register


# Of data types -----------------------------------------------------------------------------------


@stands_for("ext-1", "168c91f9")
def extension_or_value(value: Any, root: Json) -> bool:
    """Ext-1: an extension has extensions or a value, not both."""
    del root
    if type(value) is not dict:
        return True
    has_value = any(name.startswith(("value", "_value")) for name in value)
    return there(value, "extension") != has_value


@stands_for("per-1", "891669ee")
def start_before_end(value: Any, root: Json) -> bool:
    """Per-1: the start of a period is not after its end, as far as both are precise."""
    del root
    start, end = (value.get("start"), value.get("end")) if type(value) is dict else (None, None)
    if type(start) is not str or type(end) is not str:
        return True
    if len(start) == len(end) == 10:
        return start <= end
    return not _after(start, end)


_MOMENT: Final = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d):(\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d))?)?)?"
)


def _after(start: str, end: str) -> bool:
    """Whether a moment is certainly after another one; times of day are compared in UTC."""
    first, second = _MOMENT.fullmatch(start), _MOMENT.fullmatch(end)
    if first is None or second is None:
        return False
    if first[4] and second[4]:
        return _instant(first) > _instant(second)
    count = min(sum(part is not None for part in moment.groups()[:3]) for moment in (first, second))
    return first.groups()[:count] > second.groups()[:count]


def _instant(moment: re.Match[str]) -> tuple[float, float]:
    """Return seconds on one scale, and their fraction; leap years are counted as they fall."""
    year, month, day, hour, minute, second = (int(moment[at]) for at in range(1, 7))
    zone = 0
    if moment[8] != "Z":
        zone = (int(moment[8][1:3]) * 60 + int(moment[8][4:6])) * (-1 if moment[8][0] == "-" else 1)
    shifted = year - (month < 3)
    days = 365 * shifted + shifted // 4 - shifted // 100 + shifted // 400
    days += (153 * ((month - 3) % 12) + 2) // 5 + day
    return ((days * 24 + hour) * 60 + minute - zone) * 60 + second, float(moment[7] or 0)


@stands_for("qty-3", "84af2edc")
def unit_has_system(value: Any, root: Json) -> bool:
    """Qty-3: a quantity with a code of the unit has its system."""
    del root
    return not there(value, "code") or there(value, "system")


@stands_for("cpt-2", "915d6a8b")
def contact_has_system(value: Any, root: Json) -> bool:
    """Cpt-2: a contact point with a value has a system."""
    del root
    return not there(value, "value") or there(value, "system")


@stands_for("ref-1", "191d0564")
def local_is_contained(value: Any, root: Json) -> bool:
    """Ref-1: a local reference names a contained resource."""
    reference = value.get("reference") if type(value) is dict else None
    if type(reference) is not str or not reference.startswith("#") or len(reference) == 1:
        return True
    return any(
        type(inner) is dict and inner.get("id") == reference[1:]
        for inner in entries(root, "contained")
    )


@stands_for("txt-1", "bcaf87d2")
@stands_for("txt-2", "bcaf87d2")
def narrative_is_fhir_s_xhtml(value: Any, root: Json) -> bool:
    """Txt-1, txt-2: the narrative is XHTML of the kind that FHIR allows, and not empty."""
    del root
    return is_narrative(value)


# Of every resource -------------------------------------------------------------------------------


@stands_for("dom-2", "f0704c44")
def contained_holds_none(value: Any, root: Json) -> bool:
    """Dom-2: a contained resource contains none itself."""
    del root
    return not any(there(inner, "contained") for inner in entries(value, "contained"))


@stands_for("dom-4", "3a8a768e")
def contained_has_no_version(value: Any, root: Json) -> bool:
    """Dom-4: a contained resource has neither versionId nor lastUpdated."""
    del root
    metas = [m for inner in entries(value, "contained") for m in entries(inner, "meta")]
    return not any(there(m, "versionId") or there(m, "lastUpdated") for m in metas)


@stands_for("dom-5", "00f10df0")
def contained_has_no_security(value: Any, root: Json) -> bool:
    """Dom-5: a contained resource has no security label."""
    del root
    metas = [m for inner in entries(value, "contained") for m in entries(inner, "meta")]
    return not any(there(m, "security") for m in metas)


_META_PROFILE: Final = re.compile(r"meta\.profile\.exists\(\$this\.startsWith\('([^']*)'\)\)")


def meta_profile(expression: str) -> Holds | None:
    """Return the test of the invariants that ask for a version in meta.profile."""
    found = _META_PROFILE.fullmatch(expression)
    if found is None:
        return None
    wanted = found[1]
    return lambda value, _root: any(
        type(profile) is str and profile.startswith(wanted)
        for meta in entries(value, "meta")
        for profile in entries(meta, "profile")
    )


# Of Patient, Coverage, RelatedPerson, Organization, Practitioner and their like ------------------


@stands_for("us-core-6", "42142982")
def name_or_reason(value: Any, root: Json) -> bool:
    """US Core 6: a name has a family or given name, or else the reason why not."""
    del root
    absent = any(
        type(extension) is dict and extension.get("url") == DATA_ABSENT_REASON
        for extension in entries(value, "extension")
    )
    return (there(value, "family") or there(value, "given")) != absent


@stands_for("pat-1", "3329208a")
def contact_has_detail(value: Any, root: Json) -> bool:
    """Pat-1: a contact of a patient has a name, telecom, address or organization."""
    del root
    return any(there(value, name) for name in ("name", "telecom", "address", "organization"))


@stands_for("us-core-14", "ba23ebf8")
def related_person_is_told(value: Any, root: Json) -> bool:
    """US Core 14: a related person has a name or a relationship."""
    del root
    return there(value, "name") or there(value, "relationship")


@stands_for("us-core-15", "519adc3f")
def coverage_names_member(value: Any, root: Json) -> bool:
    """US Core 15: a coverage has a member identifier or a subscriberId."""
    del root
    return there(value, "subscriberId") or any(
        coded(identifier, "type", "MB", _ID_TYPES) for identifier in entries(value, "identifier")
    )


_NPI: Final = re.compile(NPI_DIGITS)


def _value_is(shape: Callable[[str], object]) -> Holds:
    def test(value: Any, root: Json) -> bool:
        del root
        text = value.get("value") if type(value) is dict else None
        return type(text) is not str or bool(shape(text))

    return test


npi_has_ten_digits = stands_for("us-core-16", "7a12bb37")(_value_is(_NPI.fullmatch))
clia_has_its_shape = stands_for("us-core-18", "ad2561b6")(_value_is(SHAPES["clia"]))
naic_has_five_digits = stands_for("us-core-19", "abd61292")(_value_is(SHAPES["naic"]))


@stands_for("us-core-17", "fa5c317d")
def npi_has_its_check_digit(value: Any, root: Json) -> bool:
    """US Core 17: the tenth digit of an NPI is the check digit of those before it."""
    del root
    text = value.get("value") if type(value) is dict else None
    if type(text) is not str or _NPI.match(text) is None:
        return True
    return is_npi(text[:10])


@stands_for("org-1", "6505f06e")
def organization_is_told(value: Any, root: Json) -> bool:
    """Org-1: an organization has an identifier or a name."""
    del root
    return there(value, "identifier") or there(value, "name")


@stands_for("org-2", "10cb654d")
@stands_for("org-3", "10cb654d")
def organization_has_no_home(value: Any, root: Json) -> bool:
    """Org-2, org-3: an organization's address or telecom is never of use home."""
    del root
    return not (type(value) is dict and value.get("use") == "home")


@stands_for("uncontained-requires-lastUpdated", "f45b62e1")
def organization_has_last_updated(value: Any, root: Json) -> bool:
    """An organization that is no contained resource has meta.lastUpdated."""
    return value != root or any(there(meta, "lastUpdated") for meta in entries(value, "meta"))


@stands_for("Practitioner-identifier", "e4e71e5a")
def practitioner_has_npi_or_tax_id(value: Any, root: Json) -> bool:
    """A practitioner has an NPI or a tax id, told by the identifier's system."""
    del root
    return any(
        type(identifier) is dict and identifier.get("system") in _PRACTITIONER_IDS
        for identifier in entries(value, "identifier")
    )


@stands_for("pd-1", "ed0b3b04")
def role_can_be_reached(value: Any, root: Json) -> bool:
    """Pd-1: a practitioner role has a telecom or an endpoint."""
    del root
    return there(value, "telecom") or there(value, "endpoint")


@stands_for("us-core-13", "13bc78f0")
def role_is_of_somebody(value: Any, root: Json) -> bool:
    """US Core 13: a role names a practitioner, organization, healthcare service or location."""
    del root
    names = ("practitioner", "organization", "healthcareService", "location")
    return any(there(value, name) for name in names)
