"""Elements of its profile that a resource fills, slices among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from etl.conform.json_elements import Test
from etl.conform.slices import slice_test
from etl.profiles.structures import Element, Profile, choice_names, find_canonical


@dataclass(slots=True)
class FilledElements:
    """Counts, by profile, the resources that fill each element.

    A resource counts for the first profile that `meta.profile` names.

    Attributes:
        resources: canonical of a profile -> how many resources.
        elements: canonical of a profile -> id of an element -> how many of them fill it.
    """

    resources: Counter[str] = field(default_factory=Counter)
    elements: dict[str, Counter[str]] = field(default_factory=dict)
    _known: dict[str, _Elements | None] = field(default_factory=dict)

    def add(self, resource: Mapping[str, Any]) -> None:
        """Count one resource; one without a known profile is ignored."""
        for canonical in resource.get("meta", {}).get("profile", ())[:1]:
            if canonical not in self._known:
                profile = find_canonical(canonical)
                self._known[canonical] = None if profile is None else _Elements(profile)
            filled = self._known[canonical]
            if filled is not None:
                self.resources[canonical] += 1
                self.elements.setdefault(canonical, Counter()).update(filled.ids_in(resource))


@dataclass(slots=True)
class _Elements:
    """The elements of one profile, to find those that a resource fills.

    Attributes:
        profile: the profile.
    """

    profile: Profile
    _tests: dict[str, tuple[tuple[Element, Test], ...]] = field(default_factory=dict)

    def ids_in(self, resource: Mapping[str, Any]) -> set[str]:
        return set(self._below(resource, self.profile.root))

    def _below(self, value: Mapping[str, Any], element: Element) -> Iterator[str]:
        for child in self.profile.children(element.id):
            for name in tuple(choice_names(child)) or (child.name,):
                if name in value:
                    yield child.id
                    yield from self._member(value[name], name, child)

    def _member(self, value: Any, name: str, child: Element) -> Iterator[str]:
        for entry in value if isinstance(value, list) else (value,):
            for described in (child, *self._slices(entry, name, child)):
                yield described.id
                if isinstance(entry, dict):
                    yield from self._below(entry, described)

    def _slices(self, entry: Any, name: str, whole: Element) -> Iterable[Element]:
        if whole.name.endswith("[x]"):
            return (
                slice_element
                for slice_element in self.profile.slices(whole.id)
                if slice_element.slice_name == name
            )
        if whole.id not in self._tests:
            slicing, guide = whole.slicing, self.profile.terminology
            self._tests[whole.id] = tuple(
                (slice_element, slice_test(self.profile, slicing, slice_element, guide))
                for slice_element in self.profile.slices(whole.id)
                if slicing is not None
            )
        return (slice_element for slice_element, fits in self._tests[whole.id] if fits(entry))
