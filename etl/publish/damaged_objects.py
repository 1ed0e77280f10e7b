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

from etl.errors import NotFound, StoreError
from etl.publish.canonical_json import instant, sha256
from etl.publish.catalog import CatalogEntry, id_hash
from etl.publish.kept_objects import ObjectRef
from etl.publish.manifest import SHARES
from etl.publish.reader import Current, LostObjects, Release
from etl.storage.parallel import map_concurrently
from etl.storage.port import Store

IsRead = Callable[[str], bool]
"""Whether an object with such a place or hash (64 hex digits) is read, not only its size."""

log = logging.getLogger(__name__)


def with_lost(base: Current, *, repair: bool, run_time: datetime | None = None) -> Current:
    """Return the current release with its lost objects; arguments as of `find_lost`."""
    if base.release is None:
        return base
    damaged = replace(base, lost_objects=find_lost(base.release, repair=repair, run_time=run_time))
    note = damage_note(damaged)
    if note:
        log.warning("%s: %s", base.release.store.name, note)
    return damaged


def damage_note(base: Current) -> str:
    """Describe the lost objects that a run rewrites; empty if there are none."""
    lost = base.lost_objects
    if base.release is None or not lost:
        return ""
    bulk = ", and bulk files" if lost.bulk else ""
    return (
        f"of release {base.release.id}, objects of {len(lost.patients):,} members and of "
        f"{len(lost.shards) + len(lost.segments):,} shards of the directory{bulk} are missing or "
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
        StoreError: storage failed, or the catalog itself is damaged: only a copy helps then.
    """
    _check_catalog(release)
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
    damaged = [*chain.from_iterable(lost_keys), *bulk, *sorted(segments)]
    store.delete(damaged)
    return LostObjects(
        frozenset(patient for patient, _ in lost_members),
        frozenset(int(unit.id) for unit, _ in lost_shards),
        bool(bulk),
        segments,
        len(damaged),
        damaged[0] if damaged else "",
    )


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


def _check_catalog(release: Release) -> None:
    """Check that all catalog shards are intact."""
    store = release.store
    shards = release.manifest.objects_of("catalog")
    intact_flags = map_concurrently(store, partial(_is_intact, store, read=True), shards)
    lost_keys = [
        shard.key for shard, is_intact in zip(shards, intact_flags, strict=True) if not is_intact
    ]
    if lost_keys:
        raise StoreError(
            f"{store.name}: {len(lost_keys)} objects of the catalog of {release.id} are missing "
            f"or damaged, the first is {lost_keys[0]}; restore them from a copy, or roll back to "
            "an intact release"
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
