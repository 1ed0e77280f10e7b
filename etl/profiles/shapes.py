"""Shapes: an element of a profile with the type of a value, and how to navigate between them.

Mapping plans and JSON resources are compared with a profile by the same rules: the members of a
value, the slices of an entry, the target types of a reference. This module defines them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final

from etl.profiles import structures as st

CONCEPT_TYPES: Final = frozenset({"CodeableConcept", "Coding"})
"""Types with codings that a binding applies to."""
TEXT_TYPES: Final = frozenset({"code", "string", "uri"})
"""Primitive types with a text that a binding applies to."""
ENGINE_MADE: Final = frozenset({"id", "meta", "resourceType"})
"""Members of a resource that the engine adds, not a mapping."""


@dataclass(frozen=True, slots=True)
class Shape:
    """An element of a profile, with the type that a value has there.

    Attributes:
        profile: the profile that defines the element.
        element: the element; for a choice, the slice of its type if there is one.
        choice: the type; None for the root of a resource and for a contentReference.
    """

    profile: st.Profile
    element: st.Element
    choice: st.TypeChoice | None = None

    @classmethod
    def of_type(cls, name: str) -> Shape:
        """Return the shape of a data type of FHIR."""
        type_definition = st.load_type(name)
        return cls(type_definition, type_definition.root)

    @property
    def required_value(self) -> Any:
        """The value that the element must contain, or None."""
        return self.element.pattern if self.element.fixed is None else self.element.fixed

    @property
    def required_values(self) -> str | None:
        """Canonical of the value set that the element is bound to by a required binding."""
        binding = self.element.binding
        return binding.value_set if binding and binding.strength == "required" else None

    def member(self, name: str) -> Shape | None:
        """Return the shape under a JSON name, or None if there is no such member."""
        declared = st.child(self.profile, self._narrow_choice(), name)
        return None if declared is None else _find_shape(*declared, name)

    def children(self) -> list[Shape]:
        """Return the shapes of all children, as `member` would."""
        element = self._narrow_choice()
        base = element if element.content is None else self.profile.by_id[element.content]
        names: dict[str, None] = {}
        for element_id in {base.id, *st.unsliced_ids(base.id)}:
            names |= dict.fromkeys(element.name for element in self.profile.children(element_id))
        for choice in element.types:
            if st.is_type(choice.code):
                kind = st.load_type(choice.code)
                names |= dict.fromkeys(element.name for element in kind.children(kind.root.id))
        declared = (st.child(self.profile, element, name) for name in names)
        return [_find_shape(*pair) for pair in declared if pair is not None]

    def slices(self) -> list[Shape]:
        """Return the shapes of the slices of a list."""
        if self.element.slicing is None:
            return []
        return [
            replace(self, element=slice_element)
            for slice_element in self.profile.slices(self.element.id)
        ]

    def _narrow_choice(self) -> st.Element:
        """Return the element with only this type of its choice."""
        if self.choice is None or len(self.element.types) < 2:
            return self.element
        return replace(self.element, types=(self.choice,))


def _find_shape(profile: st.Profile, element: st.Element, name: str = "") -> Shape:
    choice = st.choice_names(element).get(name) or (element.types[0] if element.types else None)
    if name and name != element.name and choice is not None:
        type_slices = (
            slice_element
            for slice_element in profile.slices(element.id)
            if slice_element.types[0].code == choice.code
        )
        element = next(type_slices, element)
    return Shape(profile, element, choice)


@dataclass(frozen=True, slots=True)
class Discriminator:
    """The value at a path that distinguishes the entries of a slice.

    Attributes:
        path: names of members, starting at the entry; empty for the entry itself.
        pattern: the value; None if a value set decides.
        value_set: canonical of the value set of the concept, or None.
    """

    path: tuple[str, ...]
    pattern: Any
    value_set: str | None = None


def discriminators(
    profile: st.Profile, slicing: st.Slicing, slice_element: st.Element
) -> tuple[Discriminator, ...]:
    """Return the discriminators of a slice; its entries have all of them.

    Raises:
        ValueError: the profile has nothing at a discriminator's path.
    """
    return tuple(_find_discriminator(profile, slice_element, path) for _, path in slicing.by)


def _find_discriminator(profile: st.Profile, slice_element: st.Element, path: str) -> Discriminator:
    target = slice_element if path == "$this" else profile.element(f"{slice_element.id}.{path}")
    names = () if path == "$this" else tuple(path.split("."))
    if target is not None:
        shape = Shape(profile, target)
        if shape.required_value is not None or shape.required_values is not None:
            value_set = shape.required_values if shape.required_value is None else None
            return Discriminator(names, shape.required_value, value_set)
    if path == "url" and slice_element.types and slice_element.types[0].profiles:
        return Discriminator(names, slice_element.types[0].profiles[0].partition("|")[0])
    raise ValueError(f"{profile.name}: nothing tells {slice_element.id} by {path}")


_TYPE: Final = re.compile(r"[A-Z][A-Za-z]+")


def target_types(choice: st.TypeChoice) -> frozenset[str]:
    """Return the resource types that a Reference may point to; empty for any."""
    types = set()
    for canonical in choice.targets:
        url = canonical.partition("|")[0]
        name = url.rpartition("/")[2]
        profile = st.find_canonical(url)
        type_name = profile.type if profile is not None else _OTHER_TARGETS.get(name, name)
        if name == "Resource" or not _TYPE.fullmatch(type_name):
            return frozenset()
        types.add(type_name)
    return frozenset(types)


_OTHER_TARGETS: Final = {
    "us-core-patient": "Patient",
    "us-core-practitioner": "Practitioner",
    "us-core-organization": "Organization",
    "us-core-practitionerrole": "PractitionerRole",
    "us-core-location": "Location",
    "us-core-relatedperson": "RelatedPerson",
    "us-core-coverage": "Coverage",
    "us-core-careteam": "CareTeam",
    "us-core-condition": "Condition",
    "us-core-encounter": "Encounter",
}
"""Target profiles without facts -> the type that each constrains."""
