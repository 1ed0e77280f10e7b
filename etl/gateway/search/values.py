r"""Values of search parameters as they are written: lists, tokens, escapes.

FHIR R4, search 3.1.1.4.0.1: `\` escapes `,`, `|`, `$` and itself.
"""

from __future__ import annotations

import re
from typing import Final

_ESCAPED: Final = re.compile(r"\\([,|$\\])")


def split(text: str, separator: str) -> list[str]:
    """Return what stands between separators that are not escaped; escapes are left in."""
    if "\\" not in text:
        return text.split(separator)
    pieces = []
    start = 0
    escaped = False
    for at, character in enumerate(text):
        if character == separator and not escaped:
            pieces.append(text[start:at])
            start = at + 1
        escaped = character == "\\" and not escaped
    return [*pieces, text[start:]]


def plain(text: str) -> str:
    """Return a text without its escapes."""
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text
