"""Looking into JSON that may be anything: elements, entries and codings of a FHIR value.

Checks run on resources whose structure has been found wrong already, so nothing is taken for
granted here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]


def there(value: Any, name: str) -> bool:
    """Whether an object has an element of that name, were it only an extension of a primitive."""
    if type(value) is not dict:
        return False
    return value.get(name, []) not in (None, []) or bool(value.get(f"_{name}"))


def entries(value: Any, name: str) -> Iterator[Any]:
    """Yield the values of an element, be it an array or not."""
    if type(value) is dict:
        inner = value.get(name)
        if type(inner) is list:
            yield from (entry for entry in inner if entry is not None)
        elif inner is not None:
            yield inner


def codings(value: Any, name: str) -> Iterator[Json]:
    """Yield the codings of a CodeableConcept, or of all of a list of them."""
    for concept in entries(value, name):
        yield from (c for c in entries(concept, "coding") if type(c) is dict)


def coded(value: Any, name: str, code: str, system: str | None = None) -> bool:
    """Whether a concept has a coding of that code, and system if one is given."""
    return any(
        c.get("code") == code and (system is None or c.get("system") == system)
        for c in codings(value, name)
    )


def of_system(value: Any, name: str, system: str) -> bool:
    """Whether a concept has a coding of that system."""
    return any(c.get("system") == system for c in codings(value, name))
