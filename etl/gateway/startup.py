"""Construction of the services from their options."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final
from urllib.parse import urlsplit

from etl.errors import UsageError
from etl.gateway.bundle.paging import Sealer
from etl.gateway.provider_directory import DirectoryService
from etl.gateway.release.cache import Cache
from etl.gateway.release.served_releases import Releases
from etl.gateway.service import PageSizes, Service
from etl.model.data_models import CLAIMS, DIRECTORY, DataModel
from etl.storage.async_objects import FolderObjects, RetryingObjects, RetryPolicy
from etl.storage.port import Objects, StoreOptions

PAGE_LIMIT: Final = 100
"""Most matches of a page."""

READ_SECONDS: Final = 5.0
"""The longest that one try of a read may take."""


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Options of a service. All have defaults.

    Attributes:
        cache_bytes: size of the cache of reads, in bytes.
        poll_seconds: time between two reads of `current.json`.
        page_size: matches a page where `_count` is not given; ten are one part of a block.
        page_limit: most matches a page.
        cursor_seconds: how long a page link works.
        read_attempts: tries of one read before storage counts as failed.
        deadline_seconds: the longest that all tries of one read may take together.
    """

    cache_bytes: int = 64 * 1024 * 1024
    poll_seconds: float = 5.0
    page_size: int = 10
    page_limit: int = PAGE_LIMIT
    cursor_seconds: int = 24 * 3600
    read_attempts: int = 3
    deadline_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class ServedTarget:
    """One target with what reads it.

    Attributes:
        releases: run `releases.watch(stop)` as a task; `releases.refresh()` once before.
        objects: its objects.
        cache: what was read of them.
    """

    releases: Releases
    objects: RetryingObjects
    cache: Cache


class GatewayServices:
    """The services with what the shell needs beside them.

    Args:
        claims: the target with claims; None where a directory is served alone.
        directory: the target with a directory of the payer; None for none.
        sealer: makes and opens page links.
        pages: sizes of pages.

    Attributes:
        service: the Patient Access service; not to be served without claims.
        directory: the public service of the Provider Directory.
        releases: those of the claims, or of a directory that is served alone.
        directory_releases: those that `directory` answers from.
        has_claims: whether there are claims to serve.
        has_directory: whether `directory` is over a directory of the payer.
        targets: what is served, claims first.
    """

    def __init__(
        self,
        claims: ServedTarget | None,
        directory: ServedTarget | None,
        sealer: Sealer,
        pages: PageSizes,
    ) -> None:
        self.targets = tuple(target for target in (claims, directory) if target is not None)
        self.has_claims, self.has_directory = claims is not None, directory is not None
        self.releases = self.targets[0].releases
        self.directory_releases = self.targets[-1].releases
        self.service = Service(self.releases, sealer, pages)
        self.directory = DirectoryService(self.directory_releases, sealer, pages)

    def counts(self) -> Counter[str]:
        """Return the counters of storage (`Reads`) and caches: `hits`, `misses`, `cached_bytes`."""
        totals: Counter[str] = Counter()
        for target in self.targets:
            cache = target.cache
            totals.update(asdict(target.objects.counts))
            totals.update(hits=cache.hits, misses=cache.misses, cached_bytes=cache.bytes)
        return totals


def open_service(
    target: str,
    cursor_keys: Sequence[bytes],
    options: ServiceOptions | None = None,
    store_options: StoreOptions | None = None,
    directory: str = "",
) -> GatewayServices:
    """Return the services of one target or two. Nothing is read yet.

    Args:
        target: of claims: a folder's path, or `s3://bucket/prefix`; empty for none.
        cursor_keys: secrets of 32 bytes or more that seal page links; the first seals, all open.
            All workers need the same.
        options: options of the services.
        store_options: endpoint, region, profile and time-outs of S3.
        directory: the target of a directory; empty for none.

    Raises:
        UsageError: a target is neither of the two, or a key is too short.
    """
    options = options or ServiceOptions()
    store_options = store_options or StoreOptions()
    claims, listed = (
        open_objects(name, store_options) if name else None for name in (target, directory)
    )
    return serve_objects(claims, cursor_keys, options, directory=listed)


def serve_objects(
    objects: Objects | None,
    cursor_keys: Sequence[bytes],
    options: ServiceOptions,
    clock: Callable[[], float] = time.time,
    *,
    directory: Objects | None = None,
) -> GatewayServices:
    """Return the services of objects that are open already.

    Args:
        objects: the target of claims; None for none.
        cursor_keys: as for `open_service`.
        options: options of the services.
        clock: seconds since 1970, for the end of page links.
        directory: the target of a directory; None for none.
    """
    policy = RetryPolicy(options.read_attempts, READ_SECONDS, options.deadline_seconds)

    def served(objects: Objects | None, model: DataModel) -> ServedTarget | None:
        if objects is None:
            return None
        retrying = RetryingObjects(objects, policy)
        cache = Cache(options.cache_bytes)
        releases = Releases(retrying, cache, poll_seconds=options.poll_seconds, model=model)
        return ServedTarget(releases, retrying, cache)

    sealer = Sealer(cursor_keys, options.cursor_seconds, clock)
    pages = PageSizes(options.page_size, options.page_limit)
    return GatewayServices(served(objects, CLAIMS), served(directory, DIRECTORY), sealer, pages)


def open_objects(target: str, options: StoreOptions) -> Objects:
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

    return S3Objects(parts.netloc, parts.path.strip("/"), options, read_seconds=READ_SECONDS)
