"""Access to elements, entries and codings of FHIR values in JSON that may be anything.

Checks also run on resources with a structure that is known to be invalid, so nothing is assumed
here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Json = dict[str, Any]


def there(value: Any, name: str) -> bool:
    """Whether an object has an element of that name, even if only an extension of a primitive."""
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


Test = Callable[[Any], bool]


def matcher(pattern: Any) -> Test:
    """Return a fast test of whether a value matches `pattern`."""
    if isinstance(pattern, dict):
        parts = tuple((name, matcher(inner)) for name, inner in pattern.items())
        if len(parts) == 1:
            ((only, inside),) = parts
            return lambda value: type(value) is dict and only in value and inside(value[only])
        return lambda value: (
            type(value) is dict and all(name in value and test(value[name]) for name, test in parts)
        )
    if isinstance(pattern, list):
        tests = tuple(map(matcher, pattern))
        if len(tests) == 1:
            (single,) = tests
            return lambda value: type(value) is list and any(map(single, value))
        return lambda value: type(value) is list and all(any(map(t, value)) for t in tests)
    kind = type(pattern)
    return lambda value: type(value) is kind and value == pattern


def described(pattern: Any) -> str:
    """Return a pattern as a message names it: codings as `system|version|code`."""
    if isinstance(pattern, dict):
        if "coding" in pattern:
            return " and ".join(map(described, pattern["coding"]))
        if "code" in pattern and "system" in pattern:
            parts = (pattern["system"], pattern.get("version"), pattern["code"])
            return "|".join(part for part in parts if part)
        return ", ".join(f"{name} {described(inner)}" for name, inner in pattern.items())
    if isinstance(pattern, list):
        return ", ".join(map(described, pattern))
    return str(pattern)
