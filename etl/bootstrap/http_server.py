"""HTTP server around the application: socket, worker processes, signals, connection limits.

With httptools, uvicorn limits neither the size of a request's head nor the time it takes to arrive:
the parser buffers a header until its end has arrived, and a connection that sends a byte now and
then never times out.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from etl.bootstrap.gc_policy import gc_disabled
from etl.bootstrap.served_app import (
    REQUEST_SECONDS,
    application,
    opened,
    prepared,
    served_by_worker,
    served_targets,
)
from etl.bootstrap.settings import Settings
from etl.errors import StoreError, UsageError
from etl.gateway.http.monitoring import FOLDER
from etl.gateway.release.served_releases import OtherModel, ServedRelease
from etl.publish.manifest import changed_ids, id_facts

_URL_TOO_LONG: Final = (414, "The URL is too long.")
_HEAD_TOO_LARGE: Final = (431, "The headers are too large or too many.")
_TOO_SLOW: Final = (408, "The request did not come in time.")


@dataclass(frozen=True, slots=True)
class ConnectionBounds:
    """Limits of one connection.

    Attributes:
        head_bytes: maximum size of URL and headers together.
        headers: maximum number of headers.
        head_seconds: time limit for the first byte of a connection, and for URL and headers.
        body_seconds: time limit for the body after them.
        idle_seconds: how long a connection stays open between two requests, and how long a
            response waits for a client that does not read it.
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
    """A uvicorn connection that is closed when it exceeds a limit.

    A request that has not reached the application is answered with 408, 414 or 431. If a response
    is under way, the connection just ends.
    """

    def __init__(self, *, bounds: ConnectionBounds, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._bounds = bounds
        self._refusal: tuple[int, str] | None = None
        self._unparsed_bytes = 0
        """Bytes since a head or body part was complete: the parser buffers at most as many."""
        self._url_bytes = 0
        self._head_bytes = 0
        self._in_request = False
        """Whether a request has begun and is not complete."""
        self._in_body = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit of the first request."""
        super().connection_made(transport)
        self._start_timer(self._bounds.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timer of a closed connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; start a timer if the request is not complete."""
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            self._stop_timer()
        elif self._unparsed_bytes > self._bounds.head_bytes:
            is_long_url = self._url_bytes > self._bounds.head_bytes
            self._refuse(_URL_TOO_LONG if is_long_url else _HEAD_TOO_LARGE)
        elif self._timer is None and (self._in_request or self._unparsed_bytes):
            bounds = self._bounds
            self._start_timer(bounds.body_seconds if self._in_body else bounds.head_seconds)

    def on_message_begin(self) -> None:
        """Reset the counters."""
        super().on_message_begin()
        self._in_request, self._in_body = True, False
        self._url_bytes = self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Count a part of the URL."""
        self._url_bytes += len(url)
        self._add_to_head(len(url), _URL_TOO_LONG)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header or trailer."""
        self._add_to_head(len(name) + len(value), _HEAD_TOO_LARGE)
        if len(self.headers) >= self._bounds.headers:
            self._abort_parsing(_HEAD_TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the application; the body comes next."""
        self._unparsed_bytes = 0
        self._in_body = True
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Reset the count of unparsed bytes."""
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the timer."""
        self._unparsed_bytes = 0
        self._in_request = self._in_body = False
        self._stop_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Keep the connection, or close it once the client has read its last response."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._abort_if_unread(None)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, also one with an unread response."""
        super().timeout_keep_alive_handler()
        self._abort_if_unread(None)

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is refused before the application sees it."""
        status, text = self._refusal or (400, msg)
        self._stop_timer()
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(
                b"%scontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
                b"connection: close\r\n\r\n%s"
                % (STATUS_LINE[status], len(text), text.encode("ascii"))
            )
        self.transport.close()
        self._abort_if_unread(None)

    def _add_to_head(self, size: int, refusal: tuple[int, str]) -> None:
        self._head_bytes += size
        if self._head_bytes > self._bounds.head_bytes:
            self._abort_parsing(refusal)

    def _abort_parsing(self, refusal: tuple[int, str]) -> None:
        """End parsing: httptools handles the error like that of an invalid request."""
        self._refusal = refusal
        raise ValueError(refusal[1])

    def _refuse(self, refusal: tuple[int, str]) -> None:
        self._refusal = refusal
        self.send_400_response(refusal[1])

    def _start_timer(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._time_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if is_answering and not self._in_body:
            # The head was read; uvicorn reads nothing more until the answer is complete.
            self._start_timer(self._bounds.head_seconds)
        elif self._unparsed_bytes or self._in_request:
            self._refuse(_TOO_SLOW)
        else:
            self.transport.close()

    def _abort_if_unread(self, previous_size: int | None) -> None:
        """Abort a closing connection whose client has read nothing since the last check."""
        unread_size = self.transport.get_write_buffer_size()
        if not unread_size:
            return
        if previous_size is not None and unread_size >= previous_size:
            self.transport.abort()
        else:
            self.loop.call_later(self._bounds.idle_seconds, self._abort_if_unread, unread_size)


HEADER_SECONDS: Final = 10.0
"""Time limit for URL and headers of a request."""

IDLE_SECONDS: Final = 75
"""How long an idle connection is kept: longer than by load balancers, which would otherwise send a
request just when it is closed."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A server that listens on its address but does not serve yet.

    Attributes:
        settings: the settings of all workers.
        socket: listens on the address.
        served: the release served at the start; None if none could be read.
        trouble: why it could not be read; empty if it could.
        other_ids: settings that differ from those that the published member ids were made with.
    """

    settings: Settings
    socket: socket.socket
    served: ServedRelease | None
    trouble: str
    other_ids: tuple[str, ...] = ()


def bind(settings: Settings) -> Bound:
    """Bind the address, and read the published release once.

    Raises:
        UsageError: the target is invalid, or the address cannot be bound.
        MappingError: a setting is invalid; see `etl.bootstrap.served_app.prepared`.
    """
    for _, target in served_targets(settings):
        if "://" not in target and not Path(target).is_dir():
            raise UsageError(
                f"{target}: the folder does not exist; publish to it with cpcds run --to"
            )
    with gc_disabled():
        settings = prepared(settings)  # before binding: errors in settings are reported first
    settings = _public_settings(settings)
    listener = _listen(settings.serve.host, settings.serve.port)
    if not settings.serve.port:  # the system chose a free one
        port = listener.getsockname()[1]
        base = settings.serve.base_url
        if base.endswith(":0"):
            base = f"{base[:-1]}{port}"
        serve = settings.serve.model_copy(update={"port": port, "base_url": base})
        settings = settings.model_copy(update={"serve": serve})
    try:
        served = asyncio.run(_find_release(settings))
    except StoreError as error:
        return Bound(settings, listener, None, str(error))
    except BaseException:
        listener.close()
        raise
    return Bound(settings, listener, served, "", _changed_id_settings(settings, served))


def run(bound: Bound, announce: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; requests under way are finished first.

    Args:
        announce: called once, after all settings were checked and before the first request.

    Raises:
        MappingError: a setting of the authorization server, portal or brand is invalid.
    """
    serve = bound.settings.serve
    bounds = ConnectionBounds(
        head_bytes=32 * 1024,
        headers=100,
        head_seconds=HEADER_SECONDS,
        body_seconds=REQUEST_SECONDS + HEADER_SECONDS,  # the application times out first
        idle_seconds=IDLE_SECONDS,
    )
    config = Config(
        partial(served_by_worker, bound.settings),
        factory=True,
        workers=serve.workers,
        loop="uvloop",
        http=bounds.protocol(),
        ws="none",
        lifespan="on",
        interface="asgi3",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(serve.trusted_proxies),
        forwarded_allow_ips=list(serve.trusted_proxies),
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=20,
    )
    with closing(bound.socket), _exit_cleanly():
        application(bound.settings)  # reports invalid settings; each worker opens its own
        announce()
        if serve.workers == 1:
            Server(config).run(sockets=[bound.socket])
        else:
            with tempfile.TemporaryDirectory(prefix="cpcds-metrics-") as folder:
                os.environ[FOLDER] = folder  # inherited by the workers, which count into it
                os.environ["PYTHONSAFEPATH"] = "1"  # workers take no modules from this folder
                Multiprocess(config, sockets=[bound.socket]).run()


def _public_settings(settings: Settings) -> Settings:
    """Return settings that serve only a public API, if the target contains no claims.

    Raises:
        OtherModel: it contains none, and members could sign in.
    """
    if any(not model.has_members for model, _ in served_targets(settings)):
        return settings
    try:
        asyncio.run(_find_release(settings))
    except OtherModel as error:
        if settings.auth.mode != "off":
            raise
        serve = settings.serve.model_copy(update={error.model.path.strip("/"): settings.target})
        return settings.model_copy(update={"target": "", "serve": serve})
    except StoreError:
        return settings  # `bind` reads it again and reports the error
    return settings


async def _find_release(settings: Settings) -> ServedRelease:
    service = opened(settings)
    for target in service.targets:
        await target.releases.refresh()
    return service.releases.served


def _changed_id_settings(settings: Settings, served: ServedRelease) -> tuple[str, ...]:
    """Return the settings that differ from those of the published ids, if members sign in."""
    if settings.auth.mode == "off" or not served.ids:
        return ()
    names = {"payer": "payer.id", "key": "CPCDS_ID_KEY"}
    configured = id_facts(settings.payer.id, settings.id_key_bytes())
    return tuple(names[field] for field in changed_ids(served.ids, configured))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        reason = os.strerror(error.errno).lower() if error.errno else "it is not an address"
        raise UsageError(f"cannot listen on {host}, port {port}: {reason}") from None
    listener.setblocking(False)
    listener.set_inheritable(True)
    return listener


@contextmanager
def _exit_cleanly() -> Iterator[None]:
    """Exit with 0 after a signal that stopped the server, not as killed by it."""
    handlers = {
        number: signal.signal(number, _ignore_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _ignore_signal(number: int, frame: object) -> None:
    """Do nothing: after its shutdown uvicorn raises the signal again."""
