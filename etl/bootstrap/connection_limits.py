"""Connection limits: size of a request's head, and time for it to arrive.

uvicorn limits neither with httptools: the parser buffers the start of a header until its end has
arrived, and a connection that sends a byte now and then has no time-out.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

_TOO_LONG: Final = (414, "The URL is too long.")
_TOO_LARGE: Final = (431, "The headers are too large or too many.")
_TOO_SLOW: Final = (408, "The request did not come in time.")


@dataclass(frozen=True, slots=True)
class ConnectionBounds:
    """Limits of one connection.

    Attributes:
        head_bytes: largest URL and headers of a request together.
        headers: most headers of a request.
        head_seconds: how long the head of a request may take, and the first byte of a connection.
        body_seconds: how long the body may take after it.
        idle_seconds: how long a connection is kept open between two requests, and how long a
            response may wait for a client that does not read it.
    """

    head_bytes: int
    headers: int
    head_seconds: float
    body_seconds: float
    idle_seconds: float

    def protocol(self) -> Any:
        """Return the factory of a connection's protocol; uvicorn calls it like a class."""
        return partial(BoundedProtocol, bounds=self)


class BoundedProtocol(HttpToolsProtocol):
    """A connection of uvicorn's that is closed when it passes a bound.

    A request that has not reached the application is answered with 408, 414 or 431; where a
    response is under way, the connection just ends.

    Args:
        bounds: the limits.
        arguments: those of uvicorn.
    """

    def __init__(self, *, bounds: ConnectionBounds, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._bounds = bounds
        self._refused: tuple[int, str] | None = None
        self._held = 0
        """Bytes received since the last parser event: an upper bound of what the parser buffers."""
        self._url_bytes = 0
        self._head_bytes = 0
        self._within = False
        """Whether a request has begun and is not complete."""
        self._in_body = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request, with a time limit."""
        super().connection_made(transport)
        self._wait(self._bounds.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timer of a closed connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, and start the timer where the rest of a request is awaited."""
        self._held += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            self._stop_waiting()
        elif self._held > self._bounds.head_bytes:
            self._refuse(_TOO_LONG if self._url_bytes > self._bounds.head_bytes else _TOO_LARGE)
        elif self._timer is None and (self._within or self._held):
            bounds = self._bounds
            self._wait(bounds.body_seconds if self._in_body else bounds.head_seconds)

    def on_message_begin(self) -> None:
        """Reset the counters."""
        super().on_message_begin()
        self._within, self._in_body = True, False
        self._url_bytes = self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Count a part of the URL."""
        self._url_bytes += len(url)
        self._add_to_head(len(url), _TOO_LONG)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header or trailer."""
        self._add_to_head(len(name) + len(value), _TOO_LARGE)
        if len(self.headers) >= self._bounds.headers:
            self._pass(_TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the application; now the body is awaited."""
        self._held = 0
        self._in_body = True
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Reset the count of buffered bytes."""
        self._held = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the timer."""
        self._held = 0
        self._within = self._in_body = False
        self._stop_waiting()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Keep the connection, or check that the client reads the rest of its last response."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._see_taken(None)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, also one with an unread response."""
        super().timeout_keep_alive_handler()
        self._see_taken(None)

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is refused before the application sees it."""
        status, text = self._refused or (400, msg)
        self._stop_waiting()
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(
                b"%scontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
                b"connection: close\r\n\r\n%s"
                % (STATUS_LINE[status], len(text), text.encode("ascii"))
            )
        self.transport.close()
        self._see_taken(None)

    def _add_to_head(self, size: int, refusal: tuple[int, str]) -> None:
        self._head_bytes += size
        if self._head_bytes > self._bounds.head_bytes:
            self._pass(refusal)

    def _pass(self, refusal: tuple[int, str]) -> None:
        """End parsing: httptools handles the error like that of an invalid request."""
        self._refused = refusal
        raise ValueError(refusal[1])

    def _refuse(self, refusal: tuple[int, str]) -> None:
        self._refused = refusal
        self.send_400_response(refusal[1])

    def _wait(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering and not self._in_body:
            self._wait(self._bounds.head_seconds)  # the server is answering, and reads nothing
        elif self._held or self._within:
            self._refuse(_TOO_SLOW)
        else:
            self.transport.close()

    def _see_taken(self, before: int | None) -> None:
        """End a closing connection once its client stops reading."""
        waiting = self.transport.get_write_buffer_size()
        if not waiting:
            return
        if before is not None and waiting >= before:
            self.transport.abort()
        else:
            self.loop.call_later(self._bounds.idle_seconds, self._see_taken, waiting)
