"""ASGI in four names, and an answer as a value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Header: TypeAlias = tuple[bytes, bytes]


@dataclass(slots=True)
class Reply:
    """What is sent back.

    Attributes:
        status: HTTP status.
        body: the bytes, before any compression.
        headers: what this answer has beside those that all have; names in lower case.
        media: content type; empty where there is no body.
    """

    status: int
    body: bytes = b""
    media: bytes = b"application/fhir+json"
    headers: list[Header] = field(default_factory=list)


async def deliver(send: Send, status: int, headers: list[Header], body: bytes, head: bool) -> None:
    """Send an answer whole; of one to HEAD only the headers.

    Args:
        send: ASGI's.
        status: HTTP status.
        headers: all but the length.
        body: the body, or what it would be.
        head: whether the request was HEAD.
    """
    if status not in (204, 304):
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else body})
