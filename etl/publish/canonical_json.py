"""Bytes that are the same wherever they are made: canonical JSON and hashes.

Canonical JSON here is UTF-8 without blanks, the members of every object sorted by name, numbers
integers only. Amounts of money are text.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import orjson

from etl.errors import StoreError

JSON = Any
"""Value of a JSON text. Its shape is checked where it is read."""

_HASHED: Final = 32
"""Hex digits of a short hash: 128 bits, enough to distinguish versions of one resource."""


def dumps(value: JSON) -> bytes:
    """Return a value as canonical JSON."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def loads(data: bytes | memoryview, what: str) -> JSON:
    """Return the value of JSON text.

    Args:
        data: the text.
        what: what messages call the object it was read from.

    Raises:
        StoreError: it is not JSON: the object was damaged, or another program wrote it.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        raise StoreError(f"{what} is not JSON: the object is damaged; run verify") from None


def sha256(data: bytes) -> str:
    """Return the SHA-256 of some bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def short_hash(*parts: bytes | memoryview) -> str:
    """Return the first 32 hex digits of the SHA-256 of all parts, one after the other."""
    digest = hashlib.sha256(parts[0])
    for part in parts[1:]:
        digest.update(part)
    return digest.hexdigest()[:_HASHED]


@lru_cache(maxsize=65_536)
def instant(text: str) -> datetime:
    """Return the time that a FHIR instant names, with its zone.

    Raises:
        ValueError: it is no instant: date, time with seconds, and zone are all compulsory.
    """
    if len(text) < len("2026-01-01T00:00:00Z") or text[10:11] != "T":
        raise ValueError(f"{text!r} is no FHIR instant")
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError(f"{text!r} is no FHIR instant: it has no zone")
    return when


def as_instant(moment: datetime) -> str:
    """Return a moment as a FHIR instant, to the second, in UTC."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def day_instant(when: str) -> str:
    """Return a FHIR instant for a day or an instant."""
    return when if "T" in when else f"{when}T00:00:00Z"
