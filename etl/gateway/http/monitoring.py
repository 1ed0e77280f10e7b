"""Access log, metrics and health of the served process.

Each request has one record, then one log line and the metrics. Logged: request id, app, the
patient as a keyed hash, the route's template. Not logged: the URL, the query, headers, a token,
anything of an answer. So no member's data is in a log. No label of a metric holds an app, a patient
or a URL.

Lines are written without blocking, to files, pipes and terminals, slow or unread ones included: a
thread writes the lines of some milliseconds together. If nobody reads them, they are dropped and
counted, and requests go on.

With several workers each counts for itself into files of a shared folder (prometheus-client's
multiprocess mode), and any worker answers for all.
"""

from __future__ import annotations

import collections
import logging
import os
import re
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from itertools import count
from queue import Empty, SimpleQueue
from secrets import token_hex
from time import perf_counter
from types import TracebackType
from typing import Final, Literal

import orjson
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from etl.gateway.http.request import moment_of
from etl.gateway.startup import GatewayServices

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of the folder that several workers count into."""

_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LABELS: Final = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"})


_AllWorkers = Literal["livesum", "livemin", "livemax"]
"""How the values of several workers become one."""


class Metrics:
    """All metrics of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self._requests = Counter(
            "cpcds_requests", "Requests answered.", ("route", "method", "status"), registry=registry
        )
        self._seconds = Histogram(
            "cpcds_request_seconds",
            "Time to answer.",
            ("route",),
            registry=registry,
            buckets=_BUCKETS,
        )
        self.under_way = 0
        """Requests being answered by this process now; exported by `renew`."""

        def gauge(name: str, text: str, mode: _AllWorkers) -> Gauge:
            return Gauge(f"cpcds_{name}", text, registry=registry, multiprocess_mode=mode)

        self._in_flight = gauge("requests_in_flight", "Requests being answered now.", "livesum")
        self._refused = Counter(
            "cpcds_refusals", "Requests refused, by error code.", ("error",), registry=registry
        )
        self._counts = {
            name: Counter(f"cpcds_{metric}", text, registry=registry)
            for name, (metric, text) in _READS.items()
        }
        self._cached = gauge("cache_bytes", "Bytes that the cache holds.", "livesum")
        self._created = gauge(
            "release_created_seconds",
            "When the release that is served was made, as Unix time; 0 before the first.",
            "livemin",
        )
        self._seen = gauge(
            "release_seen_age_seconds",
            "Seconds since the pointer to the release was last read with success.",
            "livemax",
        )
        self._last: collections.Counter[str] = collections.Counter()

        @lru_cache(maxsize=1024)
        def children(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
            return self._requests.labels(route, method, str(status)), self._seconds.labels(route)

        self._children = children

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request."""
        requests, latency = self._children(route, method if method in _LABELS else "other", status)
        requests.inc()
        latency.observe(seconds)

    def refused(self, code: str) -> None:
        """Count one refusal."""
        self._refused.labels(code).inc()

    def renew(self, opened: GatewayServices) -> None:
        """Update the metrics of storage, cache and release."""
        counts, served = opened.counts(), opened.releases.served
        created = None if served.created is None else moment_of(served.created)
        grown = counts - self._last
        for name, counter in self._counts.items():
            counter.inc(grown[name])
        self._last = counts
        self._in_flight.set(self.under_way)
        self._cached.set(counts["cached_bytes"])
        self._created.set(created.timestamp() if created is not None else 0)
        self._seen.set(served.seen if served.seen is not None else 0)

    def text(self) -> bytes:
        """Return the metrics in Prometheus's text format, of all workers together."""
        if FOLDER not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    @staticmethod
    def leave() -> None:
        """Remove this worker's gauges from the sums over all workers."""
        if FOLDER in os.environ:
            mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


_READS: Final = {
    "reads": ("object_reads", "Requests to storage that gave bytes."),
    "bytes": ("object_read_bytes", "Bytes that storage gave."),
    "retries": ("object_retries", "Tries of a read after one that failed."),
    "failures": ("object_failures", "Reads that failed for good."),
    "hits": ("cache_hits", "Lookups that the cache answered."),
    "misses": ("cache_misses", "Lookups that the cache did not answer."),
}


SECONDS: Final = 0.05
"""Interval of writes; a process that is killed may lose the lines of one interval."""

MOST: Final = 20_000
"""Lines that wait at most: some 8 MB."""

_FLUSH_SECONDS: Final = 2.0


class LogWriter:
    """Writes whole lines to a descriptor.

    Args:
        descriptor: open for writing.
        most: lines that wait at most; further ones are dropped.
        now: the clock, for the line that reports how many were dropped.
    """

    def __init__(
        self,
        descriptor: int,
        most: int = MOST,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._descriptor = descriptor
        self._most = most
        self._now = now
        self._waiting: SimpleQueue[bytes | threading.Event] = SimpleQueue()
        self._dropped = 0
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def __call__(self, line: bytes) -> None:
        """Take one line with its line break."""
        if self._waiting.qsize() >= self._most:
            self._dropped += 1
            return
        if self._thread is None:
            self._start()
        self._waiting.put(line)

    def flush(self) -> None:
        """Wait until all accepted lines are written, for two seconds at most."""
        if self._thread is not None:
            written = threading.Event()
            self._waiting.put(written)
            written.wait(_FLUSH_SECONDS)

    def _start(self) -> None:
        # Started on demand: a process may be forked after its writer was created.
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            records = [self._waiting.get()]
            if isinstance(records[0], bytes):
                time.sleep(SECONDS)
            try:
                while True:
                    records.append(self._waiting.get_nowait())
            except Empty:
                pass
            self._write(b"".join(record for record in records if isinstance(record, bytes)))
            dropped, self._dropped = self._dropped, 0
            if dropped:
                self._write(self._dropped_line(dropped))
            for record in records:
                if isinstance(record, threading.Event):
                    record.set()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except OSError:  # there is nowhere to report it
                return

    def _dropped_line(self, dropped: int) -> bytes:
        line = {
            "time": self._now(),
            "level": "warning",
            "event": "log",
            "logger": __name__,
            "message": f"{dropped} lines were dropped, because nothing read them",
        }
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


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
        """Log the result of a request."""
        if self._write is None:
            return
        line = {
            "time": self._now(),
            "level": "error" if record.status >= 500 else "info",
            "event": "request",
            "request": record.request,
            "method": method,
            "route": record.route,
            "status": record.status,
            "ms": round(seconds * 1000, 2),
            "bytes": record.sent,
            "client": record.client,
            "patient": self._hashed(record.patient) if record.patient else "",
            "release": record.release,
            "error": record.code,
        }
        stated = {name: value for name, value in line.items() if value != ""}
        self._write(orjson.dumps(stated, option=orjson.OPT_APPEND_NEWLINE))

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
        line = {
            "time": self._now(),
            "level": "error",
            "event": "fault",
            "request": record.request,
            "route": record.route,
            "errors": chain,
            "where": _places(error.__traceback__),
        }
        self._write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def _places(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)[-12:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


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
            line["where"] = _places(record.exc_info[2])
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
        self._id_prefix, self._id_numbers = token_hex(8), count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; pass on other ASGI scopes."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        record = RequestRecord(self._request_id(scope), perf_counter())
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
            answer = PlainTextResponse("Internal Server Error\n", 500)
            await answer(scope, receive, sending)
        finally:
            seconds = perf_counter() - record.started
            self._metrics.under_way -= 1
            record.route = record.route or "other"
            self._metrics.request(record.route, scope["method"], record.status, seconds)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._log.request(record, method, seconds)

    def _request_id(self, scope: Scope) -> str:
        """Return the id of a request: the client's own if that is well formed."""
        ids = [value for name, value in scope["headers"] if name == b"x-request-id"]
        if len(ids) == 1 and _WELL_FORMED.fullmatch(ids[0]):
            return str(ids[0], "ascii")
        return f"{self._id_prefix}{next(self._id_numbers):012x}"


_METHODS: Final = frozenset(
    ("GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT")
)


def record_of(scope: Scope) -> RequestRecord:
    """Return a request's record; a new one where there is none yet."""
    found = scope.get(RECORD)
    if found is None:
        found = scope[RECORD] = RequestRecord(token_hex(14), perf_counter())
    record: RequestRecord = found
    return record


_NO_STORE = {"cache-control": "no-store"}


def health_routes(
    opened: GatewayServices, metrics: Metrics, *, with_metrics: bool
) -> list[BaseRoute]:
    """Return `/healthz`, `/readyz` and, where wanted, `/metrics`.

    Args:
        opened: the service.
        metrics: what is counted.
        with_metrics: whether `/metrics` is there.
    """

    async def healthz(request: Request) -> Response:
        record_of(request.scope).route = "/healthz"
        return JSONResponse({"status": "ok"}, headers=_NO_STORE)

    async def readyz(request: Request) -> Response:
        record_of(request.scope).route = "/readyz"
        status, body = readiness(opened)
        return JSONResponse(body, status, _NO_STORE)

    async def exposition(request: Request) -> Response:
        record_of(request.scope).route = "/metrics"
        metrics.renew(opened)
        return Response(metrics.text(), headers=_NO_STORE, media_type=CONTENT_TYPE_LATEST)

    routes: list[BaseRoute] = [Route("/healthz", healthz), Route("/readyz", readyz)]
    if with_metrics:
        routes.append(Route("/metrics", exposition))
    return routes


def readiness(opened: GatewayServices) -> tuple[int, dict[str, object]]:
    """Return status and body of `/readyz`.

    A process is ready when it has a release to answer from. Where storage fails later it stays
    ready, and reports the failure: its cache is still valid, and another process would not help.
    """
    served = opened.releases.served
    if served.release is None:
        return 503, {"status": "nothing published yet", "failures": served.failures}
    of_directory: dict[str, object] = {}
    if opened.has_claims and opened.has_directory:
        of_directory["directory"] = opened.directory_releases.served.release
    return 200, {
        "status": "ready" if served.failures == 0 else "ready, but storage does not answer",
        "release": served.release,
        "created": served.created,
        "seen_seconds_ago": None if served.seen is None else round(served.seen, 1),
        "failures": served.failures,
        **of_directory,
    }
