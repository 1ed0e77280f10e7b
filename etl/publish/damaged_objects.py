"""Objects that a release names and that are missing from the store, or damaged.

A run looks before its work, because what it finds must be made again of the extract: whoever stays
as the previous release has them is not rendered. It reads and hashes the catalog and a share of all
other objects, another one each time, so that every object is read within `SHARES` runs and no
night's cost is that of reading the whole release. Of the directory, the bulk files and the catalog
shards that the share is in, it looks at the sizes as well, so that a missing folder is detected at
once. Where it finds something, or is asked to repair, it looks at all objects.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import chain

from etl.errors import DamagedRelease, NotFound
from etl.publish.canonical_json import instant, sha256
from etl.publish.catalog import CatalogEntry, id_hash
from etl.publish.catalog_repair import rebuild_shards, stand_in
from etl.publish.kept_objects import ObjectRef
from etl.publish.manifest import SHARES, ReleaseFacts
from etl.publish.reader import LostObjects, PreviousRelease, Release, open_current
from etl.storage.parallel import map_concurrently
from etl.storage.port import Store

IsRead = Callable[[str], bool]
"""Whether an object with such a place or hash (64 hex digits) is read, not only its size."""

log = logging.getLogger(__name__)


def open_checked(
    store: Store,
    *,
    repair: bool,
    run_time: datetime | None = None,
    lost_facts: ReleaseFacts | None = None,
) -> PreviousRelease:
    """Open the current release with its lost objects.

    Args:
        store: the target.
        repair: as for `find_lost`.
        run_time: as for `find_lost`.
        lost_facts: facts of a release whose manifest is damaged, if a stand-in may replace it; None
            to raise.

    Raises:
        DamagedRelease: the manifest or the catalog is damaged, and nothing may stand in for it.
        StoreError: storage failed.
    """
    try:
        previous = open_current(store)
        if previous.release is not None:
            lost = find_lost(previous.release, repair=repair, run_time=run_time)
            previous = replace(previous, lost_objects=lost)
    except DamagedRelease:
        if lost_facts is None:
            raise
        previous = stand_in(store, lost_facts)
        if previous.release is not None:
            lost = find_lost(previous.release, repair=True)
            previous = replace(previous, lost_objects=replace(lost, bulk=True))
    note = damage_note(previous)
    if note:
        log.warning("%s: %s", store.name, note)
    return previous


def damage_note(previous: PreviousRelease) -> str:
    """Describe the lost objects that a run rewrites; empty if there are none."""
    lost = previous.lost_objects
    if previous.release is None or not lost:
        return ""
    if previous.release.manifest.is_stand_in:
        return (
            f"the manifest or the catalog of release {previous.release.manifest.parent} is "
            "damaged; this run processes all members again, and takes the times and retractions of "
            "resources from the indexes that are left"
        )
    others = ", and bulk files" if lost.bulk else ""
    others += ", and reports or results for later runs" if lost.kept else ""
    return (
        f"of release {previous.release.id}, objects of {len(lost.patients):,} members and of "
        f"{len(lost.shards) + len(lost.segments):,} shards of the directory{others} are missing or "
        f"damaged ({lost.objects:,} in all, the first is {lost.first}); this run rewrites them"
    )


def find_lost(release: Release, *, repair: bool, run_time: datetime | None = None) -> LostObjects:
    """Find the lost objects of a release, which must be made again; usually none.

    Damaged objects are deleted, because not every store replaces them.

    Args:
        release: what readers see.
        repair: whether to read all objects, not only the share that is due.
        run_time: a share is due for each day from the release to this time, because runs with the
            same files publish nothing. None for one share.

    Raises:
        DamagedRelease: a shard of the catalog is damaged, and does not follow from the indexes.
        StoreError: storage failed.
    """
    _repair_catalog(release)
    manifest, store = release.manifest, release.store
    days = 0 if run_time is None else (run_time - instant(manifest.created)).days
    shares = {
        (manifest.share_read + offset) % SHARES for offset in range(max(1, min(days, SHARES)))
    }

    def is_read(id_hash_or_digest: str) -> bool:
        return repair or int(id_hash_or_digest[:8], 16) * SHARES >> 32 in shares

    directory = [unit for unit in manifest.directory if unit is not None]
    if not repair:
        bits = manifest.catalog_bits
        shards = {
            number
            for share in shares
            for number in range((share << bits) // SHARES, -(-(share + 1 << bits) // SHARES))
        }
        sample = chain(directory, chain.from_iterable(map(release.units_of, sorted(shards))))
        if (
            not any(keys for _, keys in _check_units(store, sample, is_read))
            and not _find_lost_segments(release, is_read)
            and not _find_lost_bulk(release, is_read)
        ):
            return LostObjects()
    # One lost object is found, so there may be more: check all.
    lost_shards = [(unit, keys) for unit, keys in _check_units(store, directory, is_read) if keys]
    lost_units = _check_units(store, release.all_units(), is_read)
    lost_members = [(unit.id, keys) for unit, keys in lost_units if keys]
    segments, bulk = _find_lost_segments(release, is_read), _find_lost_bulk(release, is_read)
    lost_keys = (keys for _, keys in [*lost_shards, *lost_members])
    kept = _find_lost_kept(release) if repair else []
    damaged = [*chain.from_iterable(lost_keys), *bulk, *sorted(segments), *kept]
    # A damaged report stays: the next release has its own, and parts of it may still be legible.
    store.delete(key for key in damaged if not key.startswith(("reports/", "quarantine/")))
    return LostObjects(
        frozenset(patient for patient, _ in lost_members),
        frozenset(int(unit.id) for unit, _ in lost_shards),
        bool(bulk),
        segments,
        len(damaged),
        damaged[0] if damaged else "",
        kept=bool(kept),
    )


def _find_lost_kept(release: Release) -> list[str]:
    """Return the keys of damaged reports and kept results; a prune may delete a rollback's."""
    if release.manifest.rolled_back_to is not None:
        return []
    store, refs = release.store, release.manifest.objects_of("report")
    intact_flags = map_concurrently(store, partial(_is_intact, store, read=True), refs)
    return [ref.key for ref, intact in zip(refs, intact_flags, strict=True) if not intact]


def _find_lost_segments(release: Release, is_read: IsRead) -> frozenset[str]:
    refs = release.manifest.objects_of("segment")
    intact_flags = map_concurrently(
        release.store, lambda ref: _is_intact(release.store, ref, read=is_read(ref.sha256)), refs
    )
    return frozenset(
        segment.key for segment, is_intact in zip(refs, intact_flags, strict=True) if not is_intact
    )


def _find_lost_bulk(release: Release, is_read: IsRead) -> list[str]:
    """Return the keys of lost bulk files; lists each folder once for their sizes."""
    store, files = release.store, release.manifest.objects_of("bulk")
    folders = sorted({file.key[: file.key.index("/") + 1] for file in files})
    sizes = {entry.key: entry.size for folder in folders for entry in store.list(folder)}
    return [
        file.key
        for file in files
        if sizes.get(file.key) != file.bytes
        or (is_read(file.sha256) and not _is_intact(store, file, read=True))
    ]


def _repair_catalog(release: Release) -> None:
    """Check all catalog shards; rebuild damaged ones.

    Raises:
        DamagedRelease: a shard cannot be rebuilt from the indexes in the store.
    """
    store, shards = release.store, release.manifest.objects_of("catalog")
    intact_flags = map_concurrently(store, partial(_is_intact, store, read=True), shards)
    lost_keys = [
        shard.key for shard, is_intact in zip(shards, intact_flags, strict=True) if not is_intact
    ]
    unsolved_keys = rebuild_shards(release, lost_keys) if lost_keys else []
    if unsolved_keys:
        raise DamagedRelease(
            f"{store.name}: {len(unsolved_keys)} objects of the catalog of {release.id} are "
            f"missing or damaged, the first is {unsolved_keys[0]}; no indexes match them, so "
            "restore them from a copy, publish a full extract with `cpcds run --repair`, or roll "
            "back to an intact release"
        )
    if lost_keys:
        log.warning(
            "%s: %d damaged objects of the catalog of %s were rebuilt",
            *(store.name, len(lost_keys), release.id),
        )


def _check_units(
    store: Store, units: Iterable[CatalogEntry], is_read: IsRead
) -> Iterator[tuple[CatalogEntry, list[str]]]:
    """Yield each unit with the keys of its missing or damaged objects."""

    def lost_keys(unit: CatalogEntry) -> tuple[CatalogEntry, list[str]]:
        read = is_read(id_hash(unit.id))
        return unit, [ref.key for ref in unit.objects() if not _is_intact(store, ref, read=read)]

    yield from map_concurrently(store, lost_keys, units)


def _is_intact(store: Store, ref: ObjectRef, *, read: bool) -> bool:
    """Return whether an object has its size and, if it is read, its bytes.

    Raises:
        StoreError: storage failed.
    """
    try:
        if read:
            return sha256(store.get(ref.key)) == ref.sha256
        return len(store.get_range(ref.key, max(0, ref.bytes - 1), 2)) == 1
    except NotFound:
        return False
