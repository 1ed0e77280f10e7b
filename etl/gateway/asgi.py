"""A response as a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

Header: TypeAlias = tuple[bytes, bytes]


@dataclass(slots=True)
class Reply:
    """A response.

    Attributes:
        status: HTTP status.
        body: the bytes, before any compression.
        headers: those of this answer beside the common ones; names in lower case.
        media: content type; empty where there is no body.
        unpacked: bytes that the body has without its compression, where it is gzip already; else 0.
    """

    status: int
    body: bytes = b""
    media: bytes = b"application/fhir+json"
    headers: list[Header] = field(default_factory=list)
    unpacked: int = 0
