"""Outlines of values, shown in place of a member's data."""

from __future__ import annotations

from typing import Final

_SHOWN: Final = frozenset(" .,-/():;$%+*#@_|'\"&")
_LENGTH: Final = 24


def outline(value: str) -> str:
    """Return the outline of a value: `9` for a digit, `A` or `a` for a letter, no more of it."""
    text = "".join(_outlined(char) for char in value[:_LENGTH])
    return text + ("…" if len(value) > _LENGTH else "")


def _outlined(char: str) -> str:
    if char.isdigit() or char.isnumeric():
        return "9"
    if char.isalpha():
        return "A" if char.isupper() else "a"
    return char if char in _SHOWN else "·"
