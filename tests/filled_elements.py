"""Elements of its profile that a resource fills, slices among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from etl.conform.json_elements import Test
from etl.conform.slices import slice_test
from etl.profiles.structures import Element, Profile, choice_names, find_canonical


def filled_elements(resource: Mapping[str, Any]) -> set[str]:
    """Return the ids of the elements that a resource fills, by the first profile that it names."""
    elements = _elements_of(resource["meta"]["profile"][0])
    return set(elements.ids_below(resource, elements.profile.root))


@dataclass(slots=True)
class _Elements:
    """The elements of one profile, to find those that a resource fills.

    Attributes:
        profile: the profile.
    """

    profile: Profile
    _tests: dict[str, tuple[tuple[Element, Test], ...]] = field(default_factory=dict)

    def ids_below(self, value: Mapping[str, Any], element: Element) -> Iterator[str]:
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
                    yield from self.ids_below(entry, described)

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


@cache
def _elements_of(canonical: str) -> _Elements:
    profile = find_canonical(canonical)
    assert profile is not None, canonical
    return _Elements(profile)
