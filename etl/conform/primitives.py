"""FHIR's primitive types: their JSON values, by the regular expressions of R4."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from etl.profiles.structures import primitives

Test = Callable[[Any], bool]

_BIG: Final = 1024 * 1024
"""Longest string that R4 allows, in characters."""

_DAYS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def _pattern(name: str) -> re.Pattern[str]:
    """Return R4's expression for a type; its blanks are those of ASCII, as in Java."""
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
    """Whether it is a string: never empty, and of blanks only the usual ones."""
    return (
        type(value) is str
        and value != ""
        and "\x0b" not in value
        and "\x0c" not in value
        and len(value) <= _BIG
    )


def _matching(name: str) -> Test:
    match = _pattern(name).fullmatch

    @lru_cache(maxsize=65_536)
    def is_of_form(value: str) -> bool:
        return match(value) is not None

    def test(value: Any) -> bool:
        return type(value) is str and value != "" and is_of_form(value)

    return test


def _dated(name: str) -> Test:
    """Return the test of a type with a date in it, which must be a day of the calendar too."""
    match = _pattern(name).fullmatch

    @lru_cache(maxsize=65_536)
    def is_of_form(value: str) -> bool:
        return match(value) is not None and _is_day(value)

    def test(value: Any) -> bool:
        return type(value) is str and is_of_form(value)

    return test


def _is_day(value: str) -> bool:
    if len(value) < 10:
        return True
    year, month, day = int(value[:4]), int(value[5:7]), int(value[8:10])
    if month == 2 and day == 29:
        return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return day <= _DAYS[month - 1]


TESTS: Final[dict[str, Test]] = {
    "boolean": is_boolean,
    "integer": is_integer,
    "positiveInt": is_positive,
    "unsignedInt": is_unsigned,
    "decimal": is_decimal,
    "string": is_string,
    "markdown": is_string,
    "xhtml": is_string,
    **{name: _matching(name) for name in ("code", "uri", "url", "canonical", "id", "oid", "uuid")},
    **{name: _dated(name) for name in ("date", "dateTime", "instant")},
    "time": _matching("time"),
    "base64Binary": _matching("base64Binary"),
}
"""Primitive type -> whether a JSON value is one."""


def json_kind(name: str) -> str:
    """Return what JSON writes a primitive type as, for messages."""
    if name == "boolean":
        return "true or false"
    if name in {"integer", "positiveInt", "unsignedInt", "decimal"}:
        return "a number"
    return "text"
