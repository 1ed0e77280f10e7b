"""Access elements, entries and references in FHIR JSON that may be invalid.

Checks also run on resources with a broken structure, so nothing is assumed here. The target of a
reference is found by its text, or among the contained resources.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

Json = dict[str, Any]


def has_element(value: Any, name: str) -> bool:
    """Return whether an object has an element, if only as a primitive's extension."""
    if type(value) is not dict:
        return False
    return value.get(name, []) not in (None, []) or bool(value.get(f"_{name}"))


def entries(value: Any, name: str) -> Iterator[Any]:
    """Yield the values of an element, whether it is an array or not."""
    if type(value) is dict:
        element = value.get(name)
        if type(element) is list:
            yield from (entry for entry in element if entry is not None)
        elif element is not None:
            yield element


Test = Callable[[Any], bool]


def build_matcher(pattern: Any) -> Test:
    """Build a fast test of whether a value matches a FHIR pattern."""
    if isinstance(pattern, dict):
        items = tuple((name, build_matcher(inner)) for name, inner in pattern.items())
        if len(items) == 1:
            ((name, test),) = items
            return lambda value: type(value) is dict and name in value and test(value[name])
        return lambda value: (
            type(value) is dict and all(name in value and test(value[name]) for name, test in items)
        )
    if isinstance(pattern, list):
        tests = tuple(map(build_matcher, pattern))
        if len(tests) == 1:
            (single,) = tests
            return lambda value: type(value) is list and any(map(single, value))
        return lambda value: type(value) is list and all(any(map(t, value)) for t in tests)
    kind = type(pattern)
    return lambda value: type(value) is kind and value == pattern


def describe(pattern: Any) -> str:
    """Describe a pattern for messages; codings as `system|version|code`."""
    if isinstance(pattern, dict):
        if "coding" in pattern:
            return " and ".join(map(describe, pattern["coding"]))
        if "code" in pattern and "system" in pattern:
            parts = (pattern["system"], pattern.get("version"), pattern["code"])
            return "|".join(part for part in parts if part)
        return ", ".join(f"{name} {describe(inner)}" for name, inner in pattern.items())
    if isinstance(pattern, list):
        return ", ".join(map(describe, pattern))
    return str(pattern)


_LITERAL: Final = re.compile(
    r"(?:(?P<base>https?://\S+)/)?(?P<type>[A-Z][A-Za-z]+)/(?P<id>[A-Za-z0-9\-.]{1,64})"
    r"(?:/_history/[A-Za-z0-9\-.]{1,64})?"
)
"""A relative or absolute RESTful reference (FHIR R4, References): [base/]Type/id[/_history/v]."""

_CONDITIONAL: Final = re.compile(r"(?:https?://\S+/)?(?P<type>[A-Z][A-Za-z]+)\?\S+")
"""A search instead of an id (FHIR R4, transactions): [base/]Type?parameters."""


@lru_cache(maxsize=262_144)
def target_of(reference: str) -> tuple[str, str] | None:
    """Parse type and id of a literal reference; None for others, such as `#…` or `urn:…`."""
    match = _LITERAL.fullmatch(reference)
    return (match["type"], match["id"]) if match else None


def is_local(reference: str) -> bool:
    """Return whether a reference points to a contained resource or the resource itself."""
    return reference.startswith("#")


def resolved_type(reference: Any, root: dict[str, Any]) -> str | None:
    """Return the resource type that a Reference points to, or None if unknown.

    The type comes from the reference's text, the contained resource, or `Reference.type`, which a
    logical reference has besides its identifier.
    """
    if type(reference) is not dict:
        return None
    text = reference.get("reference")
    if type(text) is str:
        if is_local(text):
            return _contained_type(text[1:], root)
        target = target_of(text)
        if target is not None:
            return target[0]
        search = _CONDITIONAL.fullmatch(text)
        if search is not None:
            return search["type"]
    return stated_type(reference)


def stated_type(reference: dict[str, Any]) -> str | None:
    """Return the resource type in `Reference.type`, which may be a name or a canonical."""
    stated = reference.get("type")
    return stated.rpartition("/")[2] if type(stated) is str else None


def _contained_type(local_id: str, root: dict[str, Any]) -> str | None:
    if local_id == "":
        kind = root.get("resourceType")
        return kind if type(kind) is str else None
    contained = root.get("contained")
    for resource in contained if type(contained) is list else ():
        if type(resource) is dict and resource.get("id") == local_id:
            kind = resource.get("resourceType")
            return kind if type(kind) is str else None
    return None
