"""Cache of parsed headers, paths and queries: the same few are often repeated."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeVar

Read = TypeVar("Read")

LONGEST: Final = 256
"""Most bytes of a cached text; longer ones may be meant to fill memory."""

_MOST: Final = 512


def cached_parse(read: Callable[[bytes], Read]) -> Callable[[bytes], Read]:
    """Return a function that parses each short text once; refused texts are not cached."""
    cached = lru_cache(maxsize=_MOST)(read)

    def reading(header: bytes) -> Read:
        return cached(header) if len(header) <= LONGEST else read(header)

    return reading
