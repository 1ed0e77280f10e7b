"""From settings to a service: what the HTTP shell starts with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from etl.gateway.releases import Releases
from etl.gateway.service import Service
from etl.storage.opening import StoreOptions


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """How a service works. All have defaults.

    Attributes:
        cache_bytes: memory for what was read, in bytes.
        poll_seconds: time between two looks at `current.json`.
        page_size: matches a page where `_count` is not given; ten are one part of a block.
        page_limit: most matches a page.
        cursor_seconds: how long a page link works.
        releases_open: releases kept open for page links, beside the current one.
        read_attempts: tries of one read before storage counts as failed.
        read_seconds: the longest that one try may take.
        deadline_seconds: the longest that all tries of one read may take together.
    """

    cache_bytes: int = 64 * 1024 * 1024
    poll_seconds: float = 5.0
    page_size: int = 10
    page_limit: int = 100
    cursor_seconds: int = 24 * 3600
    releases_open: int = 4
    read_attempts: int = 3
    read_seconds: float = 5.0
    deadline_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class ReadCounts:
    """Counters since the start, for metrics.

    Attributes:
        reads: requests to storage that gave bytes.
        bytes: bytes that they gave.
        retries: tries after a failed one.
        failures: reads that failed for good.
        hits: lookups that the cache answered.
        misses: lookups that it did not.
        cached_bytes: what the cache holds now.
    """

    reads: int
    bytes: int
    retries: int
    failures: int
    hits: int
    misses: int
    cached_bytes: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A service with what the shell needs beside it.

    Attributes:
        service: what answers.
        releases: run `releases.watch(stop)` as a task; `releases.refresh()` once before.
    """

    service: Service
    releases: Releases

    def counts(self) -> ReadCounts:
        """Return the counters of storage and cache."""
        raise NotImplementedError


def open_service(
    target: str,
    cursor_keys: Sequence[bytes],
    options: ServiceOptions | None = None,
    store_options: StoreOptions | None = None,
) -> Opened:
    """Return the service of a target. Nothing is read yet.

    Args:
        target: a folder's path, or `s3://bucket/prefix`.
        cursor_keys: secrets of 32 bytes or more that seal page links; the first seals, all open.
            All workers need the same.
        options: how it works.
        store_options: endpoint, region, profile and time-outs of S3.

    Raises:
        UsageError: the target is neither, or a key is too short.
    """
    raise NotImplementedError
