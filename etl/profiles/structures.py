"""Structure definitions of profiles and types, as data.

`scripts/build_profile_facts.py` writes the facts in `facts/` from the snapshots of
StructureDefinitions: element ids, cardinalities, types, must-support flags, patterns, bindings,
slicing, invariants, codes; no prose. Sources: C4BB 2.2.0 and 2.1.0, FHIR R4 4.0.1 (types and
resources), US Core 7.0.0 (Patient's extensions, PractitionerRole, Location).

Elements are identified by their *id* (`ExplanationOfBenefit.total:adjudicationamounttype.amount`),
which includes slices; the *path* is the id without them. The invariant ele-1 applies to every
element and is not listed; ext-1, of every extension, is listed only for the type Extension.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache, lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from etl.errors import UsageError
from etl.profiles.guides import DEFAULT, GUIDES, R4, Guide, fact_names, read_facts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Strength = Literal["required", "extensible", "preferred", "example"]


@dataclass(frozen=True, slots=True)
class TypeChoice:
    """One type that an element may have.

    Attributes:
        code: FHIR type; the `id` attribute of elements is a `string`, that of resources an `id`.
        profiles: canonicals, one of which the value must conform to; empty for any.
        targets: for a Reference or canonical, its allowed targets; empty for any.
    """

    code: str
    profiles: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Binding:
    """The value set that an element's codes are bound to.

    Attributes:
        strength: only `required` and `extensible` matter for conformance.
        value_set: canonical without version.
        version: the version that the profile names, or None.
    """

    strength: Strength
    value_set: str
    version: str | None


@dataclass(frozen=True, slots=True)
class Slicing:
    """The slicing of an element: what distinguishes its repetitions, or the types of a choice.

    Attributes:
        by: discriminators as (type, path); the path is relative to the element, or `$this`.
        rules: `closed` slicings forbid entries outside the slices.
        ordered: whether slices must have the order of the profile.
    """

    by: tuple[tuple[str, str], ...]
    rules: Literal["open", "closed", "openAtEnd"]
    ordered: bool


@dataclass(frozen=True, slots=True)
class Invariant:
    """A FHIRPath rule of a profile; only `false` breaks it, an empty result doesn't."""

    key: str
    severity: Literal["error", "warning"]
    expression: str


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a profile's snapshot.

    Attributes:
        id: full id, with slices.
        min: minimum number of entries.
        max: maximum number of entries; None for no limit.
        array: whether JSON has an array, because FHIR R4 lets the element repeat.
        types: allowed types; empty for a root and if `content` refers to another element.
        must_support: the profile's flag.
        fixed: value that it must equal, or None.
        pattern: value that it must contain (with `coding.version` if the guide states it).
        binding: of its codes, or None.
        slicing: of its entries, or None.
        content: id of the element that defines its children (contentReference), or None.
        invariants: keys; `Profile.invariants` has their expressions.
    """

    id: str
    min: int
    max: int | None
    array: bool = False
    types: tuple[TypeChoice, ...] = ()
    must_support: bool = False
    fixed: Any = None
    pattern: Any = None
    binding: Binding | None = None
    slicing: Slicing | None = None
    content: str | None = None
    invariants: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The id without slices, as FHIR calls it: `ExplanationOfBenefit.total.amount`."""
        return re.sub(r":[^.]*", "", self.id)

    @property
    def name(self) -> str:
        """The last part of the path: `amount`, `value[x]`."""
        return self.id.rpartition(".")[2].partition(":")[0]

    @property
    def slice_name(self) -> str | None:
        """Name of the slice that this element is; None for an element that is none."""
        return self.id.rpartition(".")[2].partition(":")[2] or None


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile or type: its snapshot.

    Attributes:
        guide: the guide that defines it.
        name: `C4BB-Patient`, `us-core-race`, `Identifier`.
        url: canonical without version.
        version: version of the guide (or of FHIR).
        type: the FHIR type that it constrains.
        base: canonical of its base definition, or None.
        invariants: key -> invariant, of all elements.
        elements: in the order of the snapshot, the root first.
        by_id: element id -> element.
    """

    guide: Guide
    name: str
    url: str
    version: str
    type: str
    base: str | None
    invariants: Mapping[str, Invariant] = field(repr=False)
    elements: tuple[Element, ...] = field(repr=False)
    by_id: Mapping[str, Element] = field(repr=False, compare=False)
    _children: Mapping[str, tuple[Element, ...]] = field(repr=False, compare=False)
    _slices: Mapping[str, tuple[Element, ...]] = field(repr=False, compare=False)

    @property
    def canonical(self) -> str:
        """The text of `meta.profile`: url and version."""
        return f"{self.url}|{self.version}"

    @property
    def terminology(self) -> Guide:
        """The guide with its value sets and code systems."""
        return self.guide if self.guide.binding else DEFAULT

    @property
    def root(self) -> Element:
        """The root element: the resource or value itself."""
        return self.elements[0]

    def element(self, element_id: str) -> Element | None:
        """Return the element with an id, or None if the snapshot has none."""
        return self.by_id.get(element_id)

    def children(self, element_id: str) -> tuple[Element, ...]:
        """Return an element's direct children, without slices.

        A slice has only the children that the snapshot lists under it; see `child` for the others.
        """
        return self._children.get(element_id, ())

    def slices(self, element_id: str) -> tuple[Element, ...]:
        """Return the slices of one element, in order."""
        return self._slices.get(element_id, ())

    def required(self) -> Iterator[Element]:
        """Yield the elements with `min` of 1 or more.

        They are required only if their parent is present: `item.detail.sequence` is required, but
        `item.detail` isn't.
        """
        return (element for element in self.elements if element.min > 0)

    def must_support(self) -> Iterator[Element]:
        """Yield the elements that the profile marks as must-support."""
        return (element for element in self.elements if element.must_support)


def child(profile: Profile, element: Element, name: str) -> tuple[Profile, Element] | None:
    """Find a child of an element by name, wherever it is defined.

    Searches the element's own id; the unsliced element, for a slice that the snapshot doesn't
    unfold; the target of `content`; the type. A choice (`value[x]`) matches by its name with `[x]`
    and by the JSON name of each of its types (`valueString`).

    Returns:
        The profile or type that defines it, and the element there; None if there is no such child.
    """
    for element_id in (element.id, *unsliced_ids(element.id)):
        declared = _find_by_name(profile.children(element_id), name)
        if declared is not None:
            return profile, declared
    if element.content is not None:
        return child(profile, profile.by_id[element.content], name)
    for choice in element.types:
        kind = load_type(choice.code) if is_type(choice.code) else None
        if kind is not None and (declared := _find_by_name(kind.children(kind.root.id), name)):
            return kind, declared
    return None


def unsliced_ids(element_id: str) -> Iterator[str]:
    """Yield an element's id without its last slice, without its last two, and so on."""
    unsliced = element_id
    while ":" in unsliced:
        head, _, tail = unsliced.rpartition(":")
        unsliced = head + ("." + tail.partition(".")[2] if "." in tail else "")
        yield unsliced


def _find_by_name(children: tuple[Element, ...], name: str) -> Element | None:
    for element in children:
        element_name = element.name
        is_choice = element_name.endswith("[x]") and name.startswith(element_name[:-3])
        if element_name == name or (is_choice and name in choice_names(element)):
            return element
    return None


def choice_names(element: Element) -> Mapping[str, TypeChoice]:
    """Return the JSON names of an element and the type of each; a choice has several."""
    name = element.name
    if not name.endswith("[x]"):
        return {name: element.types[0]} if element.types else {}
    stem = name[:-3]
    return {stem + choice.code[0].upper() + choice.code[1:]: choice for choice in element.types}


def profile_names(guide: Guide = DEFAULT) -> tuple[str, ...]:
    """Return the names of all profiles of a guide, abstract ones included; of FHIR, its types."""
    return tuple(sorted(fact_names(guide) - _NO_PROFILES))


_NO_PROFILES: Final = frozenset({"primitives", "code-systems", "value-sets", "map-ids"})
"""Names of facts that are not profiles."""


def load_profile(name: str, guide: Guide = DEFAULT) -> Profile:
    """Load a profile of a guide, or a type of FHIR.

    Raises:
        UsageError: the guide's facts have no such profile.
    """
    if name not in fact_names(guide) - _NO_PROFILES:
        raise UsageError(f"no profile {name!r} in {guide.title} {guide.version}")
    return _load(guide, name)


def load_type(name: str) -> Profile:
    """Load a resource or data type of FHIR R4 4.0.1, or SimpleQuantity.

    Raises:
        UsageError: the facts have no such type.
    """
    if not is_type(name):
        raise UsageError(f"no FHIR type {name!r} among the facts")
    return _load(R4, name)


@lru_cache(maxsize=4096)
def find_canonical(canonical: str) -> Profile | None:
    """Find a profile or type by canonical; None if the facts don't have it.

    A canonical without a version means the guide's default version; `|2.2` means 2.2.0.
    """
    url, _, version = canonical.partition("|")
    for guide in GUIDES:
        if guide.covers(url) and guide.answers_to(version):
            name = url.removeprefix(guide.canonical)
            return load_profile(name, guide) if name in profile_names(guide) else None
    return None


def is_type(name: str) -> bool:
    """Return whether the facts have a complex type or resource of that name."""
    return name != "primitives" and name in fact_names(R4)


@cache
def primitives() -> Mapping[str, str | None]:
    """Return FHIR's primitive types: name -> regular expression; None for xhtml."""
    return MappingProxyType(read_facts(R4, "primitives"))


@cache
def _load(guide: Guide, name: str) -> Profile:
    facts = read_facts(guide, name)
    elements = tuple(_parse_element(entry) for entry in facts["elements"])
    children: dict[str, list[Element]] = {}
    slices: dict[str, list[Element]] = {}
    for element in elements:
        parent_id, dot, last_part = element.id.rpartition(".")
        stem, colon, _ = last_part.partition(":")
        if colon:
            slices.setdefault(f"{parent_id}{dot}{stem}", []).append(element)
        elif dot:
            children.setdefault(parent_id, []).append(element)
    return Profile(
        guide=guide,
        name=facts["name"],
        url=facts["url"],
        version=facts["version"],
        type=facts["type"],
        base=facts["base"],
        invariants=MappingProxyType(
            {key: Invariant(key=key, **entry) for key, entry in facts["invariants"].items()}
        ),
        elements=elements,
        by_id=MappingProxyType({element.id: element for element in elements}),
        _children=MappingProxyType({parent: tuple(below) for parent, below in children.items()}),
        _slices=MappingProxyType({parent: tuple(elements) for parent, elements in slices.items()}),
    )


def _parse_element(entry: Mapping[str, Any]) -> Element:
    binding, slicing = entry.get("binding"), entry.get("slicing")
    parsed: dict[str, Any] = {
        "max": None if entry["max"] == "*" else int(entry["max"]),
        "types": tuple(map(_parse_type_choice, entry.get("types", ()))),
        "invariants": tuple(entry.get("invariants", ())),
    }
    if binding:
        url, _, version = binding["value_set"].partition("|")
        parsed["binding"] = Binding(binding["strength"], url, version or None)
    if slicing:
        discriminators = tuple((kind, path) for kind, path in slicing["by"])
        parsed["slicing"] = Slicing(discriminators, slicing["rules"], slicing.get("ordered", False))
    return Element(**{**entry, **parsed})


def _parse_type_choice(choice: str | Mapping[str, Any]) -> TypeChoice:
    if isinstance(choice, str):
        return TypeChoice(choice)
    profiles, targets = (tuple(choice.get(key, ())) for key in ("profiles", "targets"))
    return TypeChoice(choice["code"], profiles, targets)
