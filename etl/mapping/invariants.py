"""The invariants of the profiles, as tests of rows.

One function an invariant, by its key: it is handed the node that the invariant is about and says
when a row breaks it. The profiles' own expressions are in `etl.model`; `etl.conform` evaluates
those on JSON, and property tests hold the two to each other. A key that is not here makes an
obligation that nobody checks, which is a mistake of the mapping (`map-unchecked`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final, TypeAlias

from etl.mapping.expressions import (
    Before,
)
from etl.mapping.formulas import (
    Codes,
    Formula,
    Misshapen,
    all_of,
    any_of,
    at_least,
    exists,
    expr_of,
    has,
    holds,
    matches,
    members_of,
    no,
    opened,
    presence,
)
from etl.mapping.plan import (
    Entry,
    ListNode,
    Loop,
)
from etl.mapping.row_tests import (
    Alone,
    Nowhere,
    Rows,
    Shared,
    Test,
)
from etl.mapping.selecting import (
    begins,
    entries_of,
    numbers,
)
from etl.profiles.absent_reasons import DATA_ABSENT_REASON
from etl.profiles.guides import C4BB, Guide
from etl.profiles.structures import Invariant
from etl.profiles.value_sets import value_set

_TERMINOLOGY: Final = "http://terminology.hl7.org/CodeSystem/"
NUBC: Final = "https://www.nubc.org/CodeSystem/"
_TOOTH: Final = f"{_TERMINOLOGY}ADAUniversalToothDesignationSystem"


@dataclass(frozen=True, slots=True)
class Subject:
    """What an invariant is about, where the plan makes it.

    Attributes:
        node: the object.
        root: the whole resource.
        loops: lead to the row that makes the object.
        given: when it is there.
        invariant: the invariant, as the profile words it.
        codes: tells which codes are meant.
        guide: whose value sets are meant.
    """

    node: Entry
    root: Entry
    loops: tuple[Loop, ...]
    given: Formula
    invariant: Invariant
    codes: Codes
    guide: Guide

    def rows(self, broken: Formula) -> Rows:
        """Return the test that finds rows in which the object is there and something is true."""
        return Rows(self.loops, all_of(broken, self.given))

    def in_set(self, concept: Entry, name: str) -> Formula:
        """Return that a concept is of one of the guide's value sets."""
        allowed = value_set(C4BB.value_set(name), self.guide)
        return self.codes.concept_in(concept, allowed, surely=False)


Tests: TypeAlias = Callable[[Subject], Iterator[Test]]
INVARIANTS: Final[dict[str, Tests]] = {}
"""Key -> tests."""

PROVED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "dom-2": "a mapping contains no resources",
        "dom-3": "a mapping contains no resources",
        "dom-4": "a mapping contains no resources",
        "dom-5": "a mapping contains no resources",
        "uncontained-requires-lastUpdated": "meta.lastUpdated is written into every resource",
        "EOB-insurance-focal": "the guide's expression is never false; see guide-focal",
    }
)
"""Key -> why no row can break it."""

LISTED: Final[Mapping[str, str]] = MappingProxyType(
    {"dom-6": "a warning, which recommends a narrative; none is written"}
)
"""Key -> why it is not checked."""


def _of(key: str) -> Callable[[Tests], Tests]:
    def register(tests: Tests) -> Tests:
        INVARIANTS[key] = tests
        return tests

    return register


def _simple(key: str, broken: Callable[[Entry], Formula]) -> None:
    INVARIANTS[key] = lambda subject: iter((subject.rows(broken(subject.node)),))


def _value_names(node: Entry) -> tuple[str, ...]:
    names = [key for key, _ in getattr(node, "members", ())]
    return tuple({name.removeprefix("_") for name in names if name.lstrip("_").startswith("value")})


def extension_or_value(node: Entry) -> Formula:
    """Return that an extension breaks ext-1: it has extensions and a value, or neither."""
    nested, valued = has(node, "extension"), has(node, *_value_names(node))
    return any_of(all_of(nested, valued), all_of(no(nested), no(valued)))


def _ends_first(node: Entry) -> Formula:
    return any_of(
        *(
            all_of(first, then, holds(Before(end, start)))
            for first, opening in members_of(node, "start")
            for then, closing in members_of(node, "end")
            if (start := expr_of(opening)) is not None and (end := expr_of(closing)) is not None
        )
    )


def _misshapen(shape: str) -> Callable[[Entry], Formula]:
    def broken(node: Entry) -> Formula:
        return any_of(
            *(
                all_of(given, Misshapen(expr, shape))
                for given, value in members_of(node, "value")
                if (expr := expr_of(value)) is not None
            )
        )

    return broken


def _points_inside(node: Entry) -> Formula:
    return any_of(
        *(
            all_of(given, begins(expr, "#"))
            for given, value in members_of(node, "reference")
            if (expr := expr_of(value)) is not None
        )
    )


_simple("ext-1", extension_or_value)
_simple("per-1", _ends_first)
_simple("qty-3", lambda node: all_of(has(node, "code"), no(has(node, "system"))))
_simple("cpt-2", lambda node: all_of(has(node, "value"), no(has(node, "system"))))
_simple("ref-1", _points_inside)
_simple("pat-1", lambda node: no(has(node, "name", "telecom", "address", "organization")))
_simple("us-core-14", lambda node: no(has(node, "name", "relationship")))
_simple("us-core-13", lambda node: no(has(node, "practitioner", "organization", "location")))
_simple("pd-1", lambda node: no(has(node, "telecom", "endpoint")))
_simple("org-1", lambda node: no(has(node, "identifier", "name")))
_simple("us-core-16", _misshapen("npi"))  # which has ten digits
_simple("us-core-17", _misshapen("npi"))
_simple("us-core-18", _misshapen("clia"))
_simple("us-core-19", _misshapen("naic"))
_simple("org-2", lambda node: exists(node, ("use",), lambda use: matches(use, "home")))
_simple("org-3", lambda node: exists(node, ("use",), lambda use: matches(use, "home")))


@_of("us-core-6")
def _name_or_reason(subject: Subject) -> Iterator[Test]:
    named = has(subject.node, "family", "given")
    reason = exists(
        subject.node, ("extension",), lambda one: matches(one, {"url": DATA_ABSENT_REASON})
    )
    yield subject.rows(any_of(all_of(named, reason), all_of(no(named), no(reason))))


@_of("us-core-15")
def _member_is_named(subject: Subject) -> Iterator[Test]:
    kind = {"type": {"coding": [{"code": "MB", "system": f"{_TERMINOLOGY}v2-0203"}]}}
    numbered = exists(subject.node, ("identifier",), lambda one: matches(one, kind))
    yield subject.rows(no(any_of(has(subject.node, "subscriberId"), numbered)))


@_of("us-core-23")
def _unknown_stands_alone(subject: Subject) -> Iterator[Test]:
    """A reason why there is no category stands alone."""

    def unknown(entry: Entry) -> Formula:
        system = {"system": f"{_TERMINOLOGY}v3-NullFlavor"}
        return exists(entry, ("valueCoding",), lambda coding: matches(coding, system))

    categories = tuple(
        (loops, all_of(given, presence(node)))
        for _, extensions in members_of(subject.node, "extension")
        if isinstance(extensions, ListNode)
        for entry in extensions.entries
        for loops, given, node in opened(entry)
        if matches(node, {"url": "ombCategory"}) is not False
    )
    said = exists(subject.node, ("extension",), unknown)
    yield subject.rows(all_of(said, at_least(2, categories)))


@_of("Practitioner-identifier")
def _practitioner_is_known(subject: Subject) -> Iterator[Test]:
    systems = ("http://hl7.org/fhir/sid/us-npi", "urn:oid:2.16.840.1.113883.4.4")
    known = any_of(
        *(
            exists(subject.node, ("identifier",), partial(matches, pattern={"system": system}))
            for system in systems
        )
    )
    yield subject.rows(no(known))


# Of explanations of benefits ----------------------------------------------------------------------


@_of("EOB-payee-other-type-requires-party")
def _other_payee_is_named(subject: Subject) -> Iterator[Test]:
    other = {"coding": [{"code": "other", "system": f"{_TERMINOLOGY}payeetype"}]}
    kind = exists(subject.node, ("type",), lambda one: matches(one, other))
    yield subject.rows(all_of(kind, no(has(subject.node, "party"))))


def _coded(node: Entry, name: str, code: str) -> Formula:
    pattern = {"coding": [{"code": code}]}
    return exists(node, (name,), lambda one: matches(one, pattern))


def of_system(node: Entry, name: str, system: str) -> Formula:
    """Return that a member is a concept with a coding of a code system."""
    pattern = {"coding": [{"system": system}]}
    return exists(node, (name,), lambda one: matches(one, pattern))


def admission(root: Entry, *, newborn: bool) -> Formula:
    """Return that an inpatient claim states a kind of admission: of a newborn, or another."""

    def test(info: Entry) -> Formula:
        fours = _coded(info, "code", "4")
        said = of_system(info, "code", f"{NUBC}PriorityTypeOfAdmitOrVisit")
        return all_of(said, fours if newborn else no(fours))

    return exists(root, ("supportingInfo",), test)


@_of("EOB-inst-pointoforigin")
def _origin_fits(subject: Subject) -> Iterator[Test]:
    origin = f"{NUBC}PointOfOriginNewborn"
    newborn = exists(
        subject.node, ("supportingInfo",), lambda info: of_system(info, "code", origin)
    )
    yield subject.rows(all_of(admission(subject.node, newborn=False), newborn))


def _has_amount(subject: Subject, node: Entry) -> Formula:
    def test(one: Entry) -> Formula:
        return exists(one, ("category",), lambda at: subject.in_set(at, "C4BBAdjudication"))

    return exists(node, ("adjudication",), test)


@_of("EOB-institutional-item-or-header-adjudication")
def _amounts_in_one_place(subject: Subject) -> Iterator[Test]:
    header = _has_amount(subject, subject.node)
    items = exists(subject.node, ("item",), lambda item: _has_amount(subject, item))
    yield subject.rows(any_of(all_of(header, items), all_of(no(header), no(items))))


@_of("adjudication-has-amount-type-slice")
def _adjudicated_item_has_amount(subject: Subject) -> Iterator[Test]:
    adjudicated = has(subject.node, "adjudication")
    yield subject.rows(all_of(adjudicated, no(_has_amount(subject, subject.node))))


@_of("EOB-vision-item-productorservice")
def _only_vision_needs_no_product(subject: Subject) -> Iterator[Test]:
    vision = {"coding": [{"code": "vision", "system": f"{_TERMINOLOGY}claim-type"}]}
    none = {"coding": [{"code": "not-applicable", "system": f"{_TERMINOLOGY}data-absent-reason"}]}
    lacking = exists(
        subject.node, ("item", "productOrService"), lambda service: matches(service, none)
    )
    is_vision = exists(subject.node, ("type",), lambda kind: matches(kind, vision))
    yield subject.rows(all_of(lacking, no(is_vision)))


@_of("EOB-careteam-qualification")
def _rendering_is_qualified(subject: Subject) -> Iterator[Test]:
    rendering = _coded(subject.node, "role", "rendering")
    yield subject.rows(all_of(rendering, no(has(subject.node, "qualification"))))


_CARE_TEAM: Final = re.compile(r"code in \(([^)]*)\).*resolve\(\) is (\w+)", re.DOTALL)
"""The invariants that say who may have a role differ in roles and type alone."""


def _provider_has_its_type(subject: Subject) -> Iterator[Test]:
    found = _CARE_TEAM.search(subject.invariant.expression)
    if found is None:
        raise AssertionError(subject.invariant.key)
    roles, wanted = re.findall(r"'([^']*)'", found[1]), found[2]
    acting = any_of(*(_coded(subject.node, "role", role) for role in roles))
    right = exists(subject.node, ("provider",), lambda provider: _refers_to(provider, wanted))
    yield subject.rows(all_of(acting, no(right)))


def _refers_to(reference: Entry, resource: str) -> Formula:
    return any_of(
        *(
            all_of(given, begins(expr, f"{resource}/"))
            for given, value in members_of(reference, "reference")
            if (expr := expr_of(value)) is not None
        )
    )


for _key in ("inst-careTeam-practitioner", "prof-careTeam-practitioner"):
    INVARIANTS[f"EOB-{_key}"] = _provider_has_its_type
for _key in ("pharm-careTeam-practitioner", "pharm-careTeam-organization"):
    INVARIANTS[f"EOB-{_key}"] = _provider_has_its_type


def _body_site(info: Entry) -> Formula:
    return _coded(info, "category", "additionalbodysite")


@_of("EOB-prof-all-transportation-supportinginfo-linked-to-line")
def _transport_is_linked(subject: Subject) -> Iterator[Test]:
    def is_transport(info: Entry) -> Formula:
        name = "C4BBTransportationServiceCategories"
        return exists(info, ("category",), lambda at: subject.in_set(at, name))

    named = numbers(subject.root, ("item", "informationSequence"))
    yield Nowhere(numbers(subject.root, ("supportingInfo", "sequence"), is_transport), named)


@_of("Oral-EOB-supportinginfo-additionalbodysite-requires-line-item")
def _site_is_linked(subject: Subject) -> Iterator[Test]:
    named = numbers(subject.root, ("item", "informationSequence"))
    yield Nowhere(numbers(subject.root, ("supportingInfo", "sequence"), _body_site), named)


@_of("Oral-line-item-with-linked-additionalbody-site-requires-bodysite")
def _linked_item_has_site(subject: Subject) -> Iterator[Test]:
    without = numbers(
        subject.root, ("item", "informationSequence"), lambda item: no(has(item, "bodySite"))
    )
    yield Shared(without, numbers(subject.root, ("supportingInfo", "sequence"), _body_site))


@_of("Oral-EOB-surface-subsite-requires-tooth-number")
def _surface_has_tooth(subject: Subject) -> Iterator[Test]:
    def tooth(info: Entry) -> Formula:
        return all_of(_body_site(info), of_system(info, "code", _TOOTH))

    known = numbers(subject.root, ("supportingInfo", "sequence"), tooth)
    for loops, given, item in entries_of(subject.root, "item"):
        own = no(of_system(item, "bodySite", _TOOTH))
        lacking = all_of(given, has(item, "subSite"), own)
        if lacking is not False:
            named = numbers(item, ("informationSequence",), loops=loops)
            yield Alone(loops, lacking, named, known)
