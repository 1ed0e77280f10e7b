"""Construction of the services from their targets and options."""

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
from etl.gateway.service import Service, ServiceOptions
from etl.model.data_models import CLAIMS, DIRECTORY, DataModel
from etl.storage.async_objects import FolderObjects, RetryingObjects, RetryPolicy
from etl.storage.port import Objects, StoreOptions

READ_SECONDS: Final = 5.0
"""The longest that one try of a read may take."""


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
    """The services of one target or two, with what the shell needs beside them.

    Nothing is read yet.

    Args:
        claims: the target of claims; None where a directory is served alone.
        directory: the target with a directory of the payer; None for none.
        cursor_keys: secrets of 32 bytes or more that seal page links; the first seals, all open.
            All workers need the same.
        options: options of the services.
        clock: seconds since 1970, for the end of page links.

    Attributes:
        service: the Patient Access service; not to be served without claims.
        directory: the public service of the Provider Directory.
        releases: those of the claims, or of a directory that is served alone.
        directory_releases: those that `directory` answers from.
        has_claims: whether there are claims to serve.
        has_directory: whether `directory` is over a directory of the payer.
        targets: what is served, claims first.

    Raises:
        UsageError: a key is too short.
    """

    def __init__(
        self,
        claims: Objects | None,
        directory: Objects | None,
        cursor_keys: Sequence[bytes],
        options: ServiceOptions,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.targets = tuple(
            _served_target(objects, model, options)
            for objects, model in ((claims, CLAIMS), (directory, DIRECTORY))
            if objects is not None
        )
        self.has_claims, self.has_directory = claims is not None, directory is not None
        self.releases = self.targets[0].releases
        self.directory_releases = self.targets[-1].releases
        sealer = Sealer(cursor_keys, options.cursor_seconds, clock)
        self.service = Service(self.releases, sealer, options)
        self.directory = DirectoryService(self.directory_releases, sealer, options)

    def counts(self) -> Counter[str]:
        """Return the counters of storage (`Reads`) and caches: `hits`, `misses`, `cached_bytes`."""
        totals: Counter[str] = Counter()
        for target in self.targets:
            cache = target.cache
            totals.update(asdict(target.objects.counts))
            totals.update(hits=cache.hits, misses=cache.misses, cached_bytes=cache.bytes)
        return totals


def _served_target(objects: Objects, model: DataModel, options: ServiceOptions) -> ServedTarget:
    policy = RetryPolicy(options.read_attempts, READ_SECONDS, options.deadline_seconds)
    retrying = RetryingObjects(objects, policy)
    cache = Cache(options.cache_bytes)
    releases = Releases(retrying, cache, poll_seconds=options.poll_seconds, model=model)
    return ServedTarget(releases, retrying, cache)


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
