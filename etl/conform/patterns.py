"""Patterns and fixed values: whether a value contains, or equals, what a profile says.

A pattern matches as a subset: each member named must be there and match; of an array, each entry
named must match some entry (FHIR R4, ElementDefinition.pattern[x]).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
