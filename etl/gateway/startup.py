"""Construction of the services from their options."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from etl.errors import UsageError
from etl.gateway.cache import Cache
from etl.gateway.paging import Sealer
from etl.gateway.provider_directory import DirectoryService
from etl.gateway.served_releases import Releases
from etl.gateway.service import PageSizes, Service
from etl.storage.async_local import FolderObjects
from etl.storage.async_port import Objects
from etl.storage.async_retry import RetryingObjects, RetryPolicy
from etl.storage.port import StoreOptions


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Options of a service. All have defaults.

    Attributes:
        cache_bytes: size of the cache of reads, in bytes.
        poll_seconds: time between two reads of `current.json`.
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
        reads: successful requests to storage.
        bytes: bytes that they returned.
        retries: tries after a failed one.
        failures: reads that failed for good.
        hits: cache hits.
        misses: cache misses.
        cached_bytes: present size of the cache.
    """

    reads: int
    bytes: int
    retries: int
    failures: int
    hits: int
    misses: int
    cached_bytes: int


class GatewayServices:
    """A service with what the shell needs beside it.

    Attributes:
        service: the Patient Access service.
        directory: the public service of the Provider Directory.
        releases: run `releases.watch(stop)` as a task; `releases.refresh()` once before.
    """

    def __init__(
        self,
        service: Service,
        directory: Service,
        releases: Releases,
        objects: RetryingObjects,
        cache: Cache,
    ) -> None:
        self.service = service
        self.directory = directory
        self.releases = releases
        self._objects = objects
        self._cache = cache

    def counts(self) -> ReadCounts:
        """Return the counters of storage and cache."""
        reads, cache = self._objects.counts, self._cache
        return ReadCounts(
            reads.reads,
            reads.bytes,
            reads.retries,
            reads.failures,
            cache.hits,
            cache.misses,
            cache.bytes,
        )


def open_service(
    target: str,
    cursor_keys: Sequence[bytes],
    options: ServiceOptions | None = None,
    store_options: StoreOptions | None = None,
) -> GatewayServices:
    """Return the service of a target. Nothing is read yet.

    Args:
        target: a folder's path, or `s3://bucket/prefix`.
        cursor_keys: secrets of 32 bytes or more that seal page links; the first seals, all open.
            All workers need the same.
        options: options of the service.
        store_options: endpoint, region, profile and time-outs of S3.

    Raises:
        UsageError: the target is neither of the two, or a key is too short.
    """
    options = options or ServiceOptions()
    objects = open_objects(target, store_options or StoreOptions(), options.read_seconds)
    return serve_objects(objects, cursor_keys, options)


def serve_objects(
    objects: Objects,
    cursor_keys: Sequence[bytes],
    options: ServiceOptions,
    clock: Callable[[], float] = time.time,
) -> GatewayServices:
    """Return the service of objects that are open already.

    Args:
        objects: the target.
        cursor_keys: as for `open_service`.
        options: options of the service.
        clock: seconds since 1970, for the end of page links.
    """
    policy = RetryPolicy(options.read_attempts, options.read_seconds, options.deadline_seconds)
    retrying = RetryingObjects(objects, policy)
    cache = Cache(options.cache_bytes)
    releases = Releases(
        retrying, cache, poll_seconds=options.poll_seconds, keep=options.releases_open
    )
    sealer = Sealer(cursor_keys, options.cursor_seconds, clock)
    pages = PageSizes(options.page_size, options.page_limit)
    service, directory = (kind(releases, sealer, pages) for kind in (Service, DirectoryService))
    return GatewayServices(service, directory, releases, retrying, cache)


def open_objects(target: str, options: StoreOptions, read_seconds: float) -> Objects:
    """Return the objects of a target, as `etl.storage.open_store.open_store` returns its store.

    Raises:
        UsageError: the target is neither a folder nor `s3://bucket/prefix`.
    """
    scheme, split, _ = target.partition("://")
    if not split:
        if not target:
            raise UsageError("the target is empty: name a folder or s3://bucket/prefix")
        return FolderObjects(target)
    if scheme != "s3":
        raise UsageError(f"{target}: a target is a folder or s3://bucket/prefix, not {scheme}://")
    parts = urlsplit(target)
    if not parts.netloc:
        raise UsageError(f"{target}: there is no bucket in it; write s3://bucket/prefix")
    from etl.storage.async_s3 import S3Objects  # not needed for a folder

    return S3Objects(parts.netloc, parts.path.strip("/"), options, read_seconds=read_seconds)
