"""Canonical JSON and hashes: the same bytes on every machine.

Canonical JSON is UTF-8 without blanks, with the fields of every object sorted by name and integers
as the only numbers. Amounts of money are text.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import orjson

from etl.errors import StoreError

JSON = Any
"""A JSON value. Its structure is checked by the code that reads it."""

_SHORT_HASH_DIGITS: Final = 32
"""Hex digits of a short hash: 128 bits, enough to distinguish versions of one resource."""


def dumps(value: JSON) -> bytes:
    """Encode a value as canonical JSON."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def loads(data: bytes | memoryview, label: str) -> JSON:
    """Parse JSON text.

    Args:
        data: the text.
        label: name of its object in messages.

    Raises:
        StoreError: the text is not JSON: the object was damaged, or another program wrote it.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        raise StoreError(f"{label} is not JSON: the object is damaged; run verify") from None


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def short_hash(*parts: bytes | memoryview) -> str:
    """Return the first 32 hex digits of the SHA-256 of the concatenated parts."""
    digest = hashlib.sha256(parts[0])
    for part in parts[1:]:
        digest.update(part)
    return digest.hexdigest()[:_SHORT_HASH_DIGITS]


@lru_cache(maxsize=65_536)
def instant(text: str) -> datetime:
    """Parse a FHIR instant to a time with its zone.

    Raises:
        ValueError: the text is no instant: date, time with seconds, and zone are all required.
    """
    if len(text) < len("2026-01-01T00:00:00Z") or text[10:11] != "T":
        raise ValueError(f"{text!r} is no FHIR instant")
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError(f"{text!r} is no FHIR instant: it has no zone")
    return when


def as_instant(moment: datetime) -> str:
    """Format a time as a FHIR instant in UTC, to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def day_instant(when: str) -> str:
    """Return an instant unchanged, and a day as its first instant in UTC."""
    return when if "T" in when else f"{when}T00:00:00Z"
