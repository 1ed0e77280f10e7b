r"""Values of search parameters as they are written: lists, tokens, escapes.

FHIR R4, search 3.1.1.4.0.1: `\` escapes `,`, `|`, `$` and itself.
"""

from __future__ import annotations

import re
from typing import Final

from etl.gateway.fhir_errors import refused

_ESCAPED: Final = re.compile(r"\\([,|$\\])")
_DIGITS: Final = 19
"""Digits of the largest 64-bit integer, which clients send to request all matches."""


def split(text: str, separator: str) -> list[str]:
    """Return what stands between separators that are not escaped; escapes are left in."""
    if "\\" not in text:
        return text.split(separator)
    pieces = []
    start = 0
    escaped = False
    for position, character in enumerate(text):
        if character == separator and not escaped:
            pieces.append(text[start:position])
            start = position + 1
        escaped = character == "\\" and not escaped
    return [*pieces, text[start:]]


def plain(text: str) -> str:
    """Return a text without its escapes."""
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def count(text: str, least: int) -> int:
    """Return the value of `_count`.

    Args:
        text: the value as requested.
        least: the smallest accepted value.

    Raises:
        FhirError: 400.
    """
    is_number = text.isascii() and text.isdigit() and len(text) <= _DIGITS
    if not is_number or int(text) < least:
        raise refused("_count", "invalid", f"takes a whole number from {least}")
    return int(text)
