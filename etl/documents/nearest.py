"""The nearest valid word, for messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, words: Iterable[str]) -> str:
    """Return the question whether the nearest of some words was meant; "" where none is near."""
    matches = get_close_matches(word, list(words), n=1)
    return f"did you mean {matches[0]!r}?" if matches else ""
