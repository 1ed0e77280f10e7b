"""The served release, and older releases for page links and comparisons."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from etl.errors import NotFound, StoreError, UsageError
from etl.gateway.release.cache import Cache
from etl.gateway.release.release_reader import ReleaseTree, read_verified
from etl.gateway.search.dates import DAY
from etl.model.data_models import CLAIMS, DataModel, stated_model
from etl.publish import object_keys
from etl.publish.canonical_json import sha256
from etl.publish.manifest import Manifest, Pointer, is_named
from etl.storage.port import Objects

log = logging.getLogger(__name__)

_MAX_COMPARED: Final = 100
"""Maximum number of releases that `since` goes back."""


def _cost(tree: ReleaseTree) -> int:
    """Return the estimated bytes in memory of a release without its objects."""
    return 20_000 + 1_000 * (len(tree.manifest.catalog) + len(tree.manifest.directory))


class OtherModel(UsageError):
    """A target contains releases of another data model than expected.

    Attributes:
        model: data model of its releases.
    """

    def __init__(self, message: str, model: DataModel) -> None:
        super().__init__(message)
        self.model = model


@dataclass(frozen=True, slots=True)
class ServedRelease:
    """The release served now, for readiness and metrics.

    Attributes:
        release: id of the release; None before the first was read.
        created: FHIR instant of the run that made it; None before that.
        seen: seconds since the last successful read of the pointer; None before the first.
        failures: number of failed reads in a row since then.
        ids: parameters of its logical ids, from the manifest; empty if it does not record them.
    """

    release: str | None
    created: str | None
    seen: float | None
    failures: int
    ids: Mapping[str, object] = field(default_factory=dict)


class Releases:
    """The current release, updated while `watch` runs.

    A request takes `current` once, at its start. That release stays complete whatever is published
    meanwhile, because all objects of a release are immutable.

    Args:
        objects: the published tree.
        cache: cache shared by all releases, as objects are named by their content.
        poll_seconds: time between two reads of the pointer.
        clock: monotonic time in seconds.
        model: the expected data model.
    """

    def __init__(
        self,
        objects: Objects,
        cache: Cache,
        *,
        poll_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        model: DataModel = CLAIMS,
    ) -> None:
        self._model = model
        self._objects = objects
        self._cache = cache
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._current: ReleaseTree | None = None
        self._seen: float | None = None
        self._failures = 0

    @property
    def served(self) -> ServedRelease:
        """The release served now."""
        tree = self._current
        return ServedRelease(
            tree.id if tree else None,
            tree.created if tree else None,
            None if self._seen is None else self._clock() - self._seen,
            self._failures,
            tree.manifest.facts.ids if tree else {},
        )

    def current(self) -> ReleaseTree:
        """Return the release that readers see.

        Raises:
            StoreError: no release was read yet.
        """
        if self._current is None:
            raise StoreError(f"{self._objects.name}: no release was read yet")
        return self._current

    async def refresh(self) -> bool:
        """Read the pointer once; return whether the served release changed.

        Raises:
            StoreError: storage failed, or nothing has been published yet; the served release stays.
            UsageError: the target holds releases of another data model.
        """
        try:
            changed = await self._read_pointer()
        except StoreError:
            self._failures += 1
            raise
        self._failures = 0
        self._seen = self._clock()
        return changed

    async def watch(self, stop: asyncio.Event) -> None:
        """Refresh every few seconds until `stop` is set; storage errors are only counted."""
        while not stop.is_set():
            try:
                if await self.refresh():
                    log.info("serving release %s", self.current().id)
            except StoreError as error:
                log.warning("still serving what was served before: %s", error)
            try:
                async with asyncio.timeout(self._poll_seconds):
                    await stop.wait()
            except TimeoutError:
                continue

    async def open(self, release: str, digest: str = "") -> ReleaseTree:
        """Return a release by its id, current or not.

        Args:
            release: release id.
            digest: SHA-256 of the manifest; if empty, the manifest must match the release id.

        Raises:
            NotFound: the release was pruned, or never existed.
            StoreError: its manifest is damaged or cannot be read.
        """
        if self._current is not None and self._current.id == release:
            return self._current
        key = object_keys.manifest(release)
        label = f"{self._objects.name}: {key}"

        async def read() -> ReleaseTree:
            if digest:
                data = await read_verified(self._objects, key, digest)
            else:
                data = await self._objects.get(key)
                if not is_named(data, release, label):
                    raise StoreError(
                        f"{label} is damaged: its bytes are not those it is named after"
                    )
            manifest = Manifest.from_bytes(data, label)
            return ReleaseTree(self._objects, self._cache, manifest, sha256(data))

        return await self._cache.get(("release", release), read, _cost)

    async def since(self, tree: ReleaseTree, instant: int) -> Sequence[ReleaseTree]:
        """Return the releases that an app may have seen at an instant, back from a given one.

        If the instant is the stamp of a release, as `meta.lastUpdated` of an answer is, the app
        saw that release. Any other instant is of a clock: a release is stamped when its run begins
        and published when the run ends, so the app may have seen any release back to the parent of
        the newest one stamped a day or more before; that parent was surely published by then.

        Empty if those releases are not kept, or are more than `_MAX_COMPARED` releases back.

        Args:
            tree: where to begin.
            instant: nanoseconds.
        """
        stamped_releases: list[ReleaseTree] = []
        candidates: list[ReleaseTree] = []
        current = tree
        while len(candidates) < _MAX_COMPARED:
            if current.now == instant:
                stamped_releases.append(current)
            elif stamped_releases:
                return stamped_releases
            is_before = current.now <= instant - DAY
            parent = current.manifest.parent
            if parent is None:
                break
            try:
                current = await self.open(parent)
            except NotFound:
                break
            candidates.append(current)
            if is_before:
                return candidates
        return stamped_releases

    async def _read_pointer(self) -> bool:
        try:
            data = await self._objects.get(object_keys.CURRENT)
        except NotFound:
            raise NotFound(f"{self._objects.name}: nothing has been published yet") from None
        pointer = Pointer.from_bytes(data, f"{self._objects.name}: {object_keys.CURRENT}")
        previous = self._current
        if previous is not None and previous.id == pointer.release:
            return False
        tree = await self.open(pointer.release, pointer.sha256)
        model = stated_model(tree.manifest.facts.mapping)
        if model is not self._model:
            expected = self._model
            public = expected if model.has_members else model
            setting = f"serve.{public.path.strip('/')} (-{public.path.replace('/', '-')})"
            place = (
                f"{setting} takes a target with {expected.contents}"
                if model.has_members
                else f"is served beside claims as {setting}"
            )
            raise OtherModel(f"{self._objects.name} holds {model.contents}, and {place}", model)
        self._current = tree
        return True
