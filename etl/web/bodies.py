"""Read request bodies, up to a maximum size."""

from __future__ import annotations

from starlette.types import Receive


class BodyTooLarge(Exception):
    """A body is larger than allowed."""


class ClientGone(Exception):
    """The client disconnected before the end of the body."""


async def read_body(receive: Receive, max_bytes: int) -> bytes:
    """Read the body of a request.

    Args:
        receive: ASGI callable.
        max_bytes: maximum size.

    Raises:
        BodyTooLarge: the body is larger.
        ClientGone: the client disconnected.
    """
    chunks: list[bytes] = []
    size = 0
    more_body = True
    while more_body:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > max_bytes:
            raise BodyTooLarge
        chunks.append(chunk)
        more_body = message.get("more_body", False)
    return b"".join(chunks)
