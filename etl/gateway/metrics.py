"""Prometheus metrics: requests, latency, reads of storage, the cache, the release.

With several workers each counts for itself into files of a shared folder (prometheus-client's
multiprocess mode), and any worker answers for all. No label holds an app, a patient or a URL.
"""

from __future__ import annotations

import os
from dataclasses import fields
from functools import lru_cache
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from etl.gateway.served_releases import ServedRelease
from etl.gateway.startup import ReadCounts

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST.encode()

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of the folder that several workers count into."""

_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"})


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
        self._in_flight = Gauge(
            "cpcds_requests_in_flight",
            "Requests being answered now.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._refused = Counter(
            "cpcds_refusals", "Requests refused, by error code.", ("error",), registry=registry
        )
        self._counts = {
            name: Counter(f"cpcds_{metric}", text, registry=registry)
            for name, (metric, text) in _READS.items()
        }
        self._cached = Gauge(
            "cpcds_cache_bytes",
            "Bytes that the cache holds.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._created = Gauge(
            "cpcds_release_created_seconds",
            "When the release that is served was made, as Unix time; 0 before the first.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._seen = Gauge(
            "cpcds_release_seen_age_seconds",
            "Seconds since the pointer to the release was last read with success.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._last = ReadCounts(0, 0, 0, 0, 0, 0, 0)

        @lru_cache(maxsize=1024)
        def children(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
            return self._requests.labels(route, method, str(status)), self._seconds.labels(route)

        self._children = children

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request."""
        requests, latency = self._children(route, method if method in _METHODS else "other", status)
        requests.inc()
        latency.observe(seconds)

    def refused(self, code: str) -> None:
        """Count one refusal."""
        self._refused.labels(code).inc()

    def renew(self, counts: ReadCounts, served: ServedRelease, created: float) -> None:
        """Update the metrics from the service's counters.

        Args:
            counts: its counters since the start.
            served: what is served now.
            created: Unix time of the release; 0 before the first.
        """
        for name, counter in self._counts.items():
            grown = getattr(counts, name) - getattr(self._last, name)
            if grown > 0:
                counter.inc(grown)
        self._last = counts
        self._in_flight.set(self.under_way)
        self._cached.set(counts.cached_bytes)
        self._created.set(created)
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
assert {*_READS, "cached_bytes"} == {field.name for field in fields(ReadCounts)}  # noqa: S101
