"""FHIR's primitive types: their JSON values, by the regular expressions of R4."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from etl.profiles.structures import primitives

Test = Callable[[Any], bool]

_MAX_STRING: Final = 1024 * 1024
"""Longest string that R4 allows, in characters."""


def _pattern(name: str) -> re.Pattern[str]:
    """Return R4's expression for a type; only ASCII blanks count, as in Java."""
    return re.compile(primitives()[name] or "", re.ASCII)


def is_boolean(value: Any) -> bool:
    """Whether a JSON value is a FHIR boolean."""
    return value is True or value is False


def is_integer(value: Any) -> bool:
    """Whether it is an integer of 32 bits."""
    return type(value) is int and -(2**31) <= value < 2**31


def is_positive(value: Any) -> bool:
    """Whether it is a positiveInt."""
    return type(value) is int and 0 < value < 2**31


def is_unsigned(value: Any) -> bool:
    """Whether it is an unsignedInt."""
    return type(value) is int and 0 <= value < 2**31


def is_decimal(value: Any) -> bool:
    """Whether it is a decimal: a JSON number, never text."""
    return type(value) is int or type(value) is float


def is_string(value: Any) -> bool:
    """Whether it is a string: not empty, without vertical tabs and form feeds."""
    return (
        type(value) is str
        and value != ""
        and "\x0b" not in value
        and "\x0c" not in value
        and len(value) <= _MAX_STRING
    )


def _format_test(name: str, *, has_date: bool = False) -> Test:
    """Build the test of a primitive's format; dates must exist in the calendar."""
    full_match = _pattern(name).fullmatch

    @lru_cache(maxsize=65_536)
    def matches_format(value: str) -> bool:
        return full_match(value) is not None and (not has_date or _is_calendar_date(value))

    def test(value: Any) -> bool:
        return type(value) is str and value != "" and matches_format(value)

    return test


def _is_calendar_date(value: str) -> bool:
    return len(value) < 10 or int(value[8:10]) <= monthrange(int(value[:4]), int(value[5:7]))[1]


TESTS: Final[dict[str, Test]] = {
    "boolean": is_boolean,
    "integer": is_integer,
    "positiveInt": is_positive,
    "unsignedInt": is_unsigned,
    "decimal": is_decimal,
    "string": is_string,
    "markdown": is_string,
    "xhtml": is_string,
    **{
        name: _format_test(name)
        for name in ("code", "uri", "url", "canonical", "id", "oid", "uuid")
    },
    **{name: _format_test(name, has_date=True) for name in ("date", "dateTime", "instant")},
    "time": _format_test("time"),
    "base64Binary": _format_test("base64Binary"),
}
"""Primitive type -> whether a JSON value is one."""


def json_kind(name: str) -> str:
    """Return the JSON type of a primitive type, for messages."""
    if name == "boolean":
        return "true or false"
    if name in {"integer", "positiveInt", "unsignedInt", "decimal"}:
        return "a number"
    return "text"
