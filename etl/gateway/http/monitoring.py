"""Access log, metrics and health of the served process.

Each request has one record, which becomes a log line and metrics. Logged: request id, app, a keyed
hash of the patient, the route's template. Not logged: URL, query, headers, tokens, anything of an
answer; so no member's data is in a log. Metric labels never contain an app, a patient or a URL.

Logging never blocks a request, even if a pipe or terminal is slow or unread: a thread writes the
lines of some milliseconds together. If nobody reads them, lines are dropped and counted.

Each of several workers counts into its files of a shared folder (prometheus-client's multiprocess
mode), and any worker reports the metrics of all.
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

from etl.gateway.http.request import parse_instant
from etl.gateway.startup import GatewayServices
from etl.web.rate_limits import Usage

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable with the folder of the workers' counts."""

_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LABELS: Final = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"})


_MultiprocessMode = Literal["livesum", "livemin", "livemax"]
"""How the values of several workers are combined."""


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
        """Requests that this process is answering; exported by `renew`."""

        def gauge(name: str, text: str, mode: _MultiprocessMode) -> Gauge:
            return Gauge(f"cpcds_{name}", text, registry=registry, multiprocess_mode=mode)

        self._in_flight = gauge("requests_in_flight", "Requests being answered now.", "livesum")
        self._refused = Counter(
            "cpcds_refusals", "Requests refused, by error code.", ("error",), registry=registry
        )
        self._counts = {
            name: Counter(f"cpcds_{metric}", text, registry=registry)
            for name, (metric, text) in _STORAGE_METRICS.items()
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
        created = None if served.created is None else parse_instant(served.created)
        grown = counts - self._last
        for name, counter in self._counts.items():
            counter.inc(grown[name])
        self._last = counts
        self._in_flight.set(self.under_way)
        self._cached.set(counts["cached_bytes"])
        self._created.set(created.timestamp() if created is not None else 0)
        self._seen.set(served.seen if served.seen is not None else 0)

    def text(self) -> bytes:
        """Return the metrics of all workers in Prometheus's text format."""
        if FOLDER not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    @staticmethod
    def leave() -> None:
        """Remove this worker's gauges from those of all workers."""
        if FOLDER in os.environ:
            mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


_STORAGE_METRICS: Final = {
    "reads": ("object_reads", "Requests to storage that gave bytes."),
    "bytes": ("object_read_bytes", "Bytes that storage gave."),
    "retries": ("object_retries", "Tries of a read after one that failed."),
    "failures": ("object_failures", "Reads that failed for good."),
    "hits": ("cache_hits", "Lookups that the cache answered."),
    "misses": ("cache_misses", "Lookups that the cache did not answer."),
}


SECONDS: Final = 0.05
"""Interval of writes; a killed process may lose the lines of one interval."""

MAX_QUEUED_LINES: Final = 20_000
"""Maximum number of lines in memory: some 8 MB."""

_FLUSH_SECONDS: Final = 2.0


class LogWriter:
    """Writes log lines to a file descriptor, in a thread.

    Args:
        descriptor: file descriptor of the log.
        max_lines: maximum number of lines in memory; further ones are dropped.
        now: the clock, for the line that reports dropped lines.
    """

    def __init__(
        self,
        descriptor: int,
        max_lines: int = MAX_QUEUED_LINES,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._descriptor = descriptor
        self._max_lines = max_lines
        self._now = now
        self._queue: SimpleQueue[bytes | threading.Event] = SimpleQueue()
        """Lines; an event is set when all lines before it are written."""
        self._dropped = 0
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()

    def __call__(self, line: bytes) -> None:
        """Queue a line with its line break."""
        if self._queue.qsize() >= self._max_lines:
            self._dropped += 1
            return
        if self._thread is None:
            self._start()
        self._queue.put(line)

    def flush(self) -> None:
        """Wait until all queued lines are written, for two seconds at most."""
        if self._thread is not None:
            written = threading.Event()
            self._queue.put(written)
            written.wait(_FLUSH_SECONDS)

    def _start(self) -> None:
        # Started on demand: a process may be forked after its writer was created.
        with self._start_lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        """Write queued lines forever."""
        while True:
            records = [self._queue.get()]
            if isinstance(records[0], bytes):
                time.sleep(SECONDS)
            try:
                while True:
                    records.append(self._queue.get_nowait())
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
"""Key of the request's record in the ASGI scope."""

_REQUEST_ID: Final = re.compile(rb"[0-9A-Fa-f-]{16,64}")
"""Request ids accepted from clients: hex digits and dashes cannot spell a name or an address."""


@dataclass(slots=True)
class RequestRecord:
    """Facts of one request.

    Attributes:
        request: request id.
        started: time of its start, by `perf_counter`.
        route: template of the route, such as `/fhir/[type]/[id]`; for logs and metrics.
        client: id of the app; empty if no token was accepted.
        patient: logical id of the Patient; empty like `client`. Logged only as a hash.
        release: id of the release in the answer; empty for none.
        delivered: resource types in the answer; for the audit trail.
        code: stable error code; empty for none.
        usage: how much of the caller's rate limit is used; None if no limit applies.
        status: HTTP status; 0 if nothing was sent.
        sent: bytes of the body that were sent.
    """

    request: str
    started: float
    route: str = ""
    client: str = ""
    patient: str = ""
    release: str = ""
    delivered: tuple[str, ...] = ()
    code: str = ""
    usage: Usage | None = None
    status: int = 0
    sent: int = 0


class AccessLog:
    """Logs requests and faults, each as one line of JSON.

    Args:
        write: writes one line with its line break; None logs nothing.
        key: key of the patients' hashes.
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
        def hash_patient(patient: str) -> str:
            return blake2b(patient.encode(), key=key, digest_size=8).hexdigest()

        self._hash_patient = hash_patient

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
            "patient": self._hash_patient(record.patient) if record.patient else "",
            "release": record.release,
            "error": record.code,
        }
        line = {name: value for name, value in line.items() if value != ""}
        self._write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def fault(self, record: RequestRecord, error: BaseException) -> None:
        """Log an error's class and stack, not its message, which may contain a member's data."""
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
            "where": _stack_lines(error.__traceback__),
        }
        self._write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def _stack_lines(trace: TracebackType | None) -> list[str]:
    """Return file, line and function of the innermost stack frames."""
    frames = traceback.extract_tb(trace)[-12:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


class JsonFormatter(logging.Formatter):
    """Formats the log records of Python modules as JSON lines, without messages of errors."""

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
            line["where"] = _stack_lines(record.exc_info[2])
        return orjson.dumps(line).decode()


class AccessLogMiddleware:
    """Outermost ASGI middleware: creates a request's record, logs and counts it at the end.

    Args:
        app: the application.
        log: logs requests.
        metrics: counts requests.
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

        async def send_and_record(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", name)]
            elif message["type"] == "http.response.body":
                record.sent += len(message.get("body", b""))
            await send(message)

        self._metrics.under_way += 1
        try:
            await self.app(scope, receive, send_and_record)
        except Exception as error:  # no other handler took it: a bug of ours
            record.code = record.code or "internal-error"
            self._log.fault(record, error)
            if record.status:
                raise
            answer = PlainTextResponse("Internal Server Error\n", 500)
            await answer(scope, receive, send_and_record)
        finally:
            seconds = perf_counter() - record.started
            self._metrics.under_way -= 1
            record.route = record.route or "other"
            self._metrics.request(record.route, scope["method"], record.status, seconds)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._log.request(record, method, seconds)

    def _request_id(self, scope: Scope) -> str:
        """Return the id that the client sent if it is acceptable, else a new one."""
        ids = [value for name, value in scope["headers"] if name == b"x-request-id"]
        if len(ids) == 1 and _REQUEST_ID.fullmatch(ids[0]):
            return str(ids[0], "ascii")
        return f"{self._id_prefix}{next(self._id_numbers):012x}"


_METHODS: Final = frozenset(
    ("GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT")
)


def record_of(scope: Scope) -> RequestRecord:
    """Return the request's record; create it if there is none yet."""
    record: RequestRecord | None = scope.get(RECORD)
    if record is None:
        record = scope[RECORD] = RequestRecord(token_hex(14), perf_counter())
    return record


_NO_STORE = {"cache-control": "no-store"}


def health_routes(
    opened: GatewayServices, metrics: Metrics, *, with_metrics: bool
) -> list[BaseRoute]:
    """Return the routes `/healthz`, `/readyz` and perhaps `/metrics`.

    Args:
        opened: the services to report on.
        metrics: the metrics to show.
        with_metrics: whether to add `/metrics`.
    """

    async def healthz(request: Request) -> Response:
        record_of(request.scope).route = "/healthz"
        return JSONResponse({"status": "ok"}, headers=_NO_STORE)

    async def readyz(request: Request) -> Response:
        record_of(request.scope).route = "/readyz"
        status, body = readiness(opened)
        return JSONResponse(body, status, _NO_STORE)

    async def metrics_text(request: Request) -> Response:
        record_of(request.scope).route = "/metrics"
        metrics.renew(opened)
        return Response(metrics.text(), headers=_NO_STORE, media_type=CONTENT_TYPE_LATEST)

    routes: list[BaseRoute] = [Route("/healthz", healthz), Route("/readyz", readyz)]
    if with_metrics:
        routes.append(Route("/metrics", metrics_text))
    return routes


def readiness(opened: GatewayServices) -> tuple[int, dict[str, object]]:
    """Return status and body of `/readyz`.

    A process is ready when it has a release to serve. If storage fails later it stays ready and
    reports the failure: its cache is still valid, and another process would not help.
    """
    served = opened.releases.served
    if served.release is None:
        return 503, {"status": "nothing published yet", "failures": served.failures}
    others = {
        target.model.path.strip("/"): target.releases.served.release
        for target in opened.targets
        if target.releases is not opened.releases
    }
    return 200, {
        "status": "ready" if served.failures == 0 else "ready, but storage does not answer",
        "release": served.release,
        "created": served.created,
        "seen_seconds_ago": None if served.seen is None else round(served.seen, 1),
        "failures": served.failures,
        **others,
    }
