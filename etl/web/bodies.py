"""Bodies of requests, read to their end and bounded."""

from __future__ import annotations

from starlette.types import Receive


class BodyTooLarge(Exception):
    """A body has more bytes than it may have."""


class ClientGone(Exception):
    """The client disconnected before the end of the body."""


async def read_body(receive: Receive, most: int) -> bytes:
    """Return the body of a request.

    Args:
        receive: of the ASGI request.
        most: bytes that it may have.

    Raises:
        BodyTooLarge: it has more.
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
        if size > most:
            raise BodyTooLarge
        chunks.append(chunk)
        more_body = message.get("more_body", False)
    return b"".join(chunks)
