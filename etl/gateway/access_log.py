"""Access log: one record a request, then one log line and the metrics.

Logged: request id, app, the patient as a keyed hash, the route's template. Not logged: the URL, the
query, headers, a token, anything of an answer. So no member's data is in a log.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from itertools import count
from secrets import token_hex
from time import perf_counter
from typing import Final

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from etl.gateway.metrics import Metrics

RECORD: Final = "cpcds.record"
"""Key in the ASGI scope under which every room finds the request's record."""

_WELL_FORMED: Final = re.compile(rb"[0-9A-Fa-f-]{16,64}")
"""Accepted request ids: UUIDs and hex digits, which cannot hold a name or an address."""


@dataclass(slots=True)
class RequestRecord:
    """Facts of one request.

    Attributes:
        request: its id.
        started: reading of the process's clock.
        route: template of the route, such as `/fhir/[type]/[id]`; for logs and metrics.
        client: id of the app; empty where no token was accepted.
        patient: logical id of the Patient; empty likewise. Never logged as it is.
        release: id of the release that was answered from; empty where none was.
        delivered: resource types in the answer; for the audit trail.
        code: stable code of the error; empty where there was none.
        status: HTTP status; 0 where nothing was sent.
        sent: bytes of the body as they went out.
    """

    request: str
    started: float
    route: str = ""
    client: str = ""
    patient: str = ""
    release: str = ""
    delivered: tuple[str, ...] = ()
    code: str = ""
    status: int = 0
    sent: int = 0


@dataclass(slots=True)
class RequestIds:
    """Gives every request an id: the client's own where that is well formed."""

    prefix: str = field(default_factory=lambda: token_hex(8))
    numbers: count[int] = field(default_factory=count)

    def request_id(self, scope: Scope) -> str:
        """Return the id of a request."""
        ids = [value for name, value in scope["headers"] if name == b"x-request-id"]
        if len(ids) == 1 and _WELL_FORMED.fullmatch(ids[0]):
            return str(ids[0], "ascii")
        return f"{self.prefix}{next(self.numbers):012x}"


class AccessLog:
    """Writes one JSON object a line.

    Args:
        write: takes one line with its line break.
        key: key of the hash that stands for a patient; the same key gives the same hash.
        now: the clock.
    """

    def __init__(
        self,
        write: Callable[[bytes], object] | None,
        key: bytes,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._write = write
        self._now = now
        key = blake2b(key, digest_size=32).digest()

        @lru_cache(maxsize=8192)
        def hashed(patient: str) -> str:
            return blake2b(patient.encode(), key=key, digest_size=8).hexdigest()

        self._hashed = hashed

    def request(self, record: RequestRecord, method: str, seconds: float) -> None:
        """Log the result of a request.

        The line is filled into a prepared template, because each request has one: filling and
        serializing a dictionary would take twice as long.
        """
        if self._write is None:
            return
        line = (
            f'{{"time":"{self._now().isoformat()}",'
            f'"level":"{"error" if record.status >= 500 else "info"}","event":"request",'
            f'"request":"{record.request}","method":"{method}","route":{_quoted(record.route)},'
            f'"status":{record.status},"ms":{round(seconds * 1000, 2)},"bytes":{record.sent}'
        )
        if record.client:
            line += f',"client":{_quoted(record.client)}'
        if record.patient:
            line += f',"patient":"{self._hashed(record.patient)}"'
        if record.release:
            line += f',"release":{_quoted(record.release)}'
        if record.code:
            line += f',"error":{_quoted(record.code)}'
        self._write(f"{line}}}\n".encode())

    def fault(self, record: RequestRecord, error: BaseException) -> None:
        """Log the origin of an error: its class and the places in the code, not its message.

        A message may hold the values being processed, which are a member's data.
        """
        if self._write is None:
            return
        chain: list[str] = []
        cause: BaseException | None = error
        while cause is not None and len(chain) < 5:
            chain.append(type(cause).__name__)
            cause = cause.__cause__
        frames = traceback.extract_tb(error.__traceback__)[-12:]
        line = {
            "time": self._now(),
            "level": "error",
            "event": "fault",
            "request": record.request,
            "route": record.route,
            "errors": chain,
            "where": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
        }
        self._write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


class JsonFormatter(logging.Formatter):
    """Formats the modules' log records as the same kind of lines, without tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one JSON object."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "event": "log",
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["errors"] = [record.exc_info[0].__name__]
            frames = traceback.extract_tb(record.exc_info[2])[-12:]
            line["where"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        return orjson.dumps(line).decode()


class AccessLogMiddleware:
    """ASGI middleware around everything: opens a request's record, and closes it.

    Args:
        app: what is inside.
        log: where lines go.
        metrics: what is counted.
    """

    def __init__(self, app: ASGIApp, log: AccessLog, metrics: Metrics) -> None:
        self.app = app
        self._log = log
        self._metrics = metrics
        self._ids = RequestIds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; pass on other ASGI scopes."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        record = RequestRecord(self._ids.request_id(scope), perf_counter())
        scope[RECORD] = record
        name = record.request.encode()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", name)]
            elif message["type"] == "http.response.body":
                record.sent += len(message.get("body", b""))
            await send(message)

        self._metrics.under_way += 1
        try:
            await self.app(scope, receive, sending)
        except Exception as error:  # the outermost place: what comes here is a bug of ours
            record.code = record.code or "internal-error"
            self._log.fault(record, error)
            if record.status:
                raise
            record.status = 500
            await sending(
                {
                    "type": "http.response.start",
                    "status": 500,
                    "headers": [(b"content-type", b"text/plain; charset=utf-8")],
                }
            )
            await sending({"type": "http.response.body", "body": b"Internal Server Error\n"})
        finally:
            seconds = perf_counter() - record.started
            self._metrics.under_way -= 1
            record.route = record.route or "other"
            self._metrics.request(record.route, scope["method"], record.status, seconds)
            self._log.request(record, _method(scope["method"]), seconds)


@lru_cache(maxsize=1024)
def _quoted(text: str) -> str:
    """Return a text as JSON. Routes, apps, releases and error codes are few."""
    return orjson.dumps(text).decode()


_METHODS: Final = frozenset(
    ("GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT")
)


def _method(method: str) -> str:
    return method if method in _METHODS else "other"


def record_of(scope: Scope) -> RequestRecord:
    """Return a request's record; a new one where there is none yet."""
    found = scope.get(RECORD)
    if found is None:
        found = scope[RECORD] = RequestRecord(token_hex(14), perf_counter())
    record: RequestRecord = found
    return record
