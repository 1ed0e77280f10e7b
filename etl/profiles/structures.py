"""Structure definitions of profiles and types, as data.

The facts lie in `facts/`, written by `scripts/build_profile_facts.py` from the snapshots of the
StructureDefinitions: element ids, cardinalities, types, must-support flags, patterns, bindings,
slicing, invariants, codes; no prose. Sources: C4BB 2.2.0 and 2.1.0, FHIR R4 4.0.1 (types and
resources), US Core 7.0.0 (Patient's extensions, PractitionerRole, Location).

Elements are named by their *id* (`ExplanationOfBenefit.total:adjudicationamounttype.amount`), which
says the slices on the way; the *path* is the id without them. The invariant ele-1 holds for every
element and is not listed; ext-1, of every extension, is listed for the type Extension alone.
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
        profiles: canonicals that the value must conform to one of; empty for any.
        targets: for a Reference or canonical, what it may point to; empty for anything.
    """

    code: str
    profiles: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Binding:
    """The value set that an element's codes are bound to.

    Attributes:
        strength: only `required` and `extensible` say anything about conformance.
        value_set: canonical without version, as `value_set` takes it.
        version: the version that the profile names, or None.
    """

    strength: Strength
    value_set: str
    version: str | None


@dataclass(frozen=True, slots=True)
class Slicing:
    """The slicing of an element: what distinguishes its repetitions, or the types of a choice.

    Attributes:
        by: discriminators as (type, path); the path is relative to the element, `$this` for itself.
        rules: `closed` slicings allow no entry of no slice.
        ordered: whether slices must come in the order of the profile.
    """

    by: tuple[tuple[str, str], ...]
    rules: Literal["open", "closed", "openAtEnd"]
    ordered: bool


@dataclass(frozen=True, slots=True)
class Invariant:
    """A rule of a profile as FHIRPath; only `false` breaks it, an empty answer does not."""

    key: str
    severity: Literal["error", "warning"]
    expression: str


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a profile's snapshot.

    Attributes:
        id: full id, with slices.
        min: least number of entries.
        max: greatest number of entries; None for no limit.
        array: whether JSON has an array here: FHIR R4 lets it repeat, even if the profile does not.
        types: allowed types; empty for a root and where `content` names another element.
        must_support: the profile's flag.
        fixed: value that it must equal, or None.
        pattern: value that it must contain (`coding.version` included where the guide names it).
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
        guide: that has it.
        name: `C4BB-Patient`, `us-core-race`, `Identifier`.
        url: canonical without version.
        version: of the guide (or of FHIR) that defines it.
        type: the FHIR type that it constrains.
        base: canonical of what it is derived from, or None.
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
    _below: Mapping[str, tuple[Element, ...]] = field(repr=False, compare=False)
    _slices: Mapping[str, tuple[Element, ...]] = field(repr=False, compare=False)

    @property
    def canonical(self) -> str:
        """The text of `meta.profile`: url and version."""
        return f"{self.url}|{self.version}"

    @property
    def terminology(self) -> Guide:
        """The guide with the value sets and code systems that it is bound to."""
        return self.guide if self.guide.binding else DEFAULT

    @property
    def root(self) -> Element:
        """The element that the whole resource or value is."""
        return self.elements[0]

    def element(self, element_id: str) -> Element | None:
        """Return the element of that id, or None where the snapshot has none."""
        return self.by_id.get(element_id)

    def children(self, element_id: str) -> tuple[Element, ...]:
        """Return the elements right below one, slices left out.

        A slice has only those that the snapshot lists under it; see `child` for the rest.
        """
        return self._below.get(element_id, ())

    def slices(self, element_id: str) -> tuple[Element, ...]:
        """Return the slices of one element, in order."""
        return self._slices.get(element_id, ())

    def required(self) -> Iterator[Element]:
        """Yield the elements with `min` of 1 or more.

        Each is needed only where what it is in is there: `item.detail.sequence` is required, and
        `item.detail` is not.
        """
        return (element for element in self.elements if element.min > 0)

    def must_support(self) -> Iterator[Element]:
        """Yield the elements that the profile marks as must-support."""
        return (element for element in self.elements if element.must_support)


def child(profile: Profile, element: Element, name: str) -> tuple[Profile, Element] | None:
    """Return the element called `name` below another, wherever it is defined.

    Looked for in turn: under the element's own id; under the unsliced element, for a slice that the
    snapshot does not unfold; where `content` points; in the type. A choice (`value[x]`) is found by
    its name with `[x]` and by the JSON name of each of its types (`valueString`).

    Returns:
        The profile or type that defines it, and the element there; None if there is no such child.
    """
    for element_id in (element.id, *unsliced_ids(element.id)):
        declared = _named(profile.children(element_id), name)
        if declared is not None:
            return profile, declared
    if element.content is not None:
        return child(profile, profile.by_id[element.content], name)
    for choice in element.types:
        kind = load_type(choice.code) if is_type(choice.code) else None
        if kind is not None and (declared := _named(kind.children(kind.root.id), name)):
            return kind, declared
    return None


def unsliced_ids(element_id: str) -> Iterator[str]:
    """Yield an element's id without its last slice, without its last two, and so on."""
    plain = element_id
    while ":" in plain:
        head, _, tail = plain.rpartition(":")
        plain = head + ("." + tail.partition(".")[2] if "." in tail else "")
        yield plain


def _named(children: tuple[Element, ...], name: str) -> Element | None:
    for element in children:
        own = element.name
        is_choice = own.endswith("[x]") and name.startswith(own[:-3])
        if own == name or (is_choice and name in choice_names(element)):
            return element
    return None


def choice_names(element: Element) -> Mapping[str, TypeChoice]:
    """Return the JSON names of an element and the type of each: one, or one a type of a choice."""
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
    """Return a profile of a guide, or a type of FHIR.

    Raises:
        UsageError: the guide has no such profile here.
    """
    if name not in fact_names(guide) - _NO_PROFILES:
        raise UsageError(f"no profile {name!r} in {guide.title} {guide.version}")
    return _load(guide, name)


def load_type(name: str) -> Profile:
    """Return a resource or data type of FHIR R4 4.0.1, or SimpleQuantity.

    Raises:
        UsageError: no such type here.
    """
    if not is_type(name):
        raise UsageError(f"no FHIR type {name!r} among the facts")
    return _load(R4, name)


@lru_cache(maxsize=4096)
def find_canonical(canonical: str) -> Profile | None:
    """Return what a canonical names, or None where it is not among the facts.

    A canonical without a version means the guide's default one; `|2.2` means 2.2.0.
    """
    url, _, version = canonical.partition("|")
    for guide in GUIDES:
        if guide.covers(url) and guide.answers_to(version):
            name = url.removeprefix(guide.canonical)
            return load_profile(name, guide) if name in profile_names(guide) else None
    return None


def is_type(name: str) -> bool:
    """Whether the facts have a complex type or resource of that name."""
    return name != "primitives" and name in fact_names(R4)


@cache
def primitives() -> Mapping[str, str | None]:
    """Return FHIR's primitive types: name -> regular expression; None for xhtml."""
    return MappingProxyType(read_facts(R4, "primitives"))


@cache
def _load(guide: Guide, name: str) -> Profile:
    facts = read_facts(guide, name)
    elements = tuple(_element(entry) for entry in facts["elements"])
    below: dict[str, list[Element]] = {}
    slices: dict[str, list[Element]] = {}
    for element in elements:
        head, dot, last = element.id.rpartition(".")
        stem, colon, _ = last.partition(":")
        if colon:
            slices.setdefault(f"{head}{dot}{stem}", []).append(element)
        elif dot:
            below.setdefault(head, []).append(element)
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
        _below=MappingProxyType({parent: tuple(children) for parent, children in below.items()}),
        _slices=MappingProxyType({parent: tuple(elements) for parent, elements in slices.items()}),
    )


def _element(entry: Mapping[str, Any]) -> Element:
    binding, slicing = entry.get("binding"), entry.get("slicing")
    read: dict[str, Any] = {
        "max": None if entry["max"] == "*" else int(entry["max"]),
        "types": tuple(map(_type_choice, entry.get("types", ()))),
        "invariants": tuple(entry.get("invariants", ())),
    }
    if binding:
        url, _, version = binding["value_set"].partition("|")
        read["binding"] = Binding(binding["strength"], url, version or None)
    if slicing:
        by = tuple((kind, path) for kind, path in slicing["by"])
        read["slicing"] = Slicing(by, slicing["rules"], slicing.get("ordered", False))
    return Element(**{**entry, **read})


def _type_choice(choice: str | Mapping[str, Any]) -> TypeChoice:
    if isinstance(choice, str):
        return TypeChoice(choice)
    profiles, targets = (tuple(choice.get(key, ())) for key in ("profiles", "targets"))
    return TypeChoice(choice["code"], profiles, targets)
