"""Construction of the services from their targets and options."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Final
from urllib.parse import urlsplit

from etl.errors import UsageError
from etl.gateway.bundle.paging import Sealer
from etl.gateway.public_api import PublicService
from etl.gateway.release.cache import Cache
from etl.gateway.release.served_releases import Releases
from etl.gateway.service import Service, ServiceOptions
from etl.gateway.supported_fhir import api_of
from etl.model.data_models import DataModel
from etl.storage.async_objects import FolderObjects, RetryingObjects, RetryPolicy
from etl.storage.port import Objects, StoreOptions

READ_SECONDS: Final = 5.0
"""The longest that one try of a read may take."""


@dataclass(frozen=True, slots=True)
class ServedTarget:
    """One target with what reads it.

    Attributes:
        model: the data model of its releases.
        service: answers from its releases.
        releases: run `releases.watch(stop)` as a task; `releases.refresh()` once before.
        objects: its objects.
        cache: what was read of them.
    """

    model: DataModel
    service: Service
    releases: Releases
    objects: RetryingObjects
    cache: Cache


class GatewayServices:
    """The services of one target or several, with what the shell needs beside them.

    Nothing is read yet.

    Args:
        targets: each with the data model of its releases, at most one a model; that of claims, if
            there is one, is the first.
        cursor_keys: secrets of 32 bytes or more that seal page links; the first seals, all open.
            All workers need the same.
        options: options of the services.
        clock: seconds since 1970, for the end of page links.

    Attributes:
        targets: what is served, in the given order.
        service: answers from the first target.
        releases: those of the first target; `/readyz` and the metrics are about them.

    Raises:
        UsageError: a key is too short.
    """

    def __init__(
        self,
        targets: Iterable[tuple[DataModel, Objects]],
        cursor_keys: Sequence[bytes],
        options: ServiceOptions,
        clock: Callable[[], float] = time.time,
    ) -> None:
        sealer = Sealer(cursor_keys, options.cursor_seconds, clock)
        self.targets = tuple(
            _served_target(model, objects, sealer, options) for model, objects in targets
        )
        self.service, self.releases = self.targets[0].service, self.targets[0].releases

    def serving(self, model: DataModel) -> ServedTarget | None:
        """Return the target of a data model; None if none is served."""
        return next((target for target in self.targets if target.model is model), None)

    def counts(self) -> Counter[str]:
        """Return the counters of storage (`Reads`) and caches: `hits`, `misses`, `cached_bytes`."""
        totals: Counter[str] = Counter()
        for target in self.targets:
            cache = target.cache
            totals.update(asdict(target.objects.counts))
            totals.update(hits=cache.hits, misses=cache.misses, cached_bytes=cache.bytes)
        return totals


def _served_target(
    model: DataModel, objects: Objects, sealer: Sealer, options: ServiceOptions
) -> ServedTarget:
    policy = RetryPolicy(options.read_attempts, READ_SECONDS, options.deadline_seconds)
    retrying = RetryingObjects(objects, policy)
    cache = Cache(options.cache_bytes)
    releases = Releases(retrying, cache, poll_seconds=options.poll_seconds, model=model)
    kind = Service if model.has_members else PublicService
    service = kind(releases, sealer, options, api_of(model).types)
    return ServedTarget(model, service, releases, retrying, cache)


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
