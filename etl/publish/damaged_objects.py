"""Objects that a release names and that are missing from the store, or damaged.

Each run checks a sample: the directory, one shard of the catalog, and the sizes of bulk files. So
the cost does not grow with the members, and a folder that is gone is detected at once. Where a run
detects something, or is asked to repair, it checks all objects and makes again what can be made of
the extract.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

from etl.errors import NotFound, StoreError
from etl.publish.canonical_json import sha256
from etl.publish.catalog import Unit
from etl.publish.manifest import Named
from etl.publish.object_keys import digest_of
from etl.publish.reader import Current, Lost, Release
from etl.publish.verify import bulk_files
from etl.storage.parallel_reads import mapped
from etl.storage.port import Store

log = logging.getLogger(__name__)


def with_lost(base: Current, *, repair: bool) -> Current:
    """Return what readers see, with what of it is to be made again; arguments as of `find_lost`."""
    if base.release is None:
        return base
    lost = find_lost(base.release, repair=repair)
    if lost:
        log.warning(
            "%s: of release %s, objects of %d members and of %d shards of the directory%s are "
            "missing or damaged; they are made again",
            base.release.store.name,
            base.release.id,
            len(lost.patients),
            len(lost.shards),
            ", and bulk files" if lost.bulk else "",
        )
    return replace(base, lost=lost)


def find_lost(release: Release, *, repair: bool) -> Lost:
    """Return what of a release is to be made again; usually nothing.

    Objects that are there and damaged are deleted: not every store replaces them.

    Args:
        release: what readers see.
        repair: whether to read all objects instead of checking a sample.

    Raises:
        StoreError: storage failed, or the catalog itself is damaged: only a copy helps there.
    """
    _check_catalog(release)
    manifest = release.manifest
    directory = [unit for unit in manifest.directory if unit is not None]
    if not repair:
        number = int(sha256(release.id.encode())[:8], 16) % len(manifest.catalog)
        units = [*directory, *release.units_of(number)]
        whole = not any(lost for _, lost in _lost_units(release.store, units, read=False))
        if (
            whole
            and not _lost_segments(release, read=False)
            and not _lost_bulk(release, read=False)
        ):
            return Lost()
    lost_units = list(_lost_units(release.store, directory, read=repair))
    shards = frozenset(int(unit.id) for unit, lost in lost_units if lost)
    patients = set[str]()
    damaged = [key for _, lost in lost_units for key in lost]
    for unit, lost in _lost_units(release.store, release.all_units(), read=repair):
        if lost:
            patients.add(unit.id)
            damaged += lost
    bulk = _lost_bulk(release, read=repair)
    segments = _lost_segments(release, read=repair)
    release.store.delete([*damaged, *bulk, *segments])
    return Lost(frozenset(patients), shards, bool(bulk), segments)


def _lost_segments(release: Release, *, read: bool) -> frozenset[str]:
    entries = [entry for entry in release.manifest.segments if entry is not None]
    named = [Named(entry.key, entry.sha256, entry.bytes) for entry in entries]
    there = mapped(release.store, partial(_is_there, release.store, read), named)
    return frozenset(
        segment.key for segment, is_there in zip(named, there, strict=True) if not is_there
    )


def _lost_bulk(release: Release, *, read: bool) -> list[str]:
    """Return the keys of bulk files that are lost; their sizes come from one listing a folder."""
    store, files = release.store, bulk_files(release.manifest)
    if read:
        return [file.key for file in files if not _is_there(store, True, file)]
    folders = sorted({file.key[: file.key.index("/") + 1] for file in files})
    sizes = {entry.key: entry.size for folder in folders for entry in store.list(folder)}
    return [file.key for file in files if sizes.get(file.key) != file.bytes]


def _check_catalog(release: Release) -> None:
    store = release.store
    shards = [shard for shard in release.manifest.catalog if shard is not None]
    named = [Named(shard.key, shard.sha256, shard.bytes) for shard in shards]
    there = mapped(store, partial(_is_there, store, False), named)
    gone = [shard.key for shard, whole in zip(named, there, strict=True) if not whole]
    if gone:
        raise StoreError(
            f"{store.name}: {len(gone)} objects of the catalog of {release.id} are missing "
            f"or cut off, the first is {gone[0]}; restore them from a copy, or roll back to a "
            "release that is whole"
        )


def _lost_units(
    store: Store, units: Iterable[Unit], *, read: bool
) -> Iterator[tuple[Unit, list[str]]]:
    """Yield each unit with the keys of its objects that are missing or damaged."""

    def lost(unit: Unit) -> tuple[Unit, list[str]]:
        named = [Named(unit.index, digest_of(unit.index), unit.index_bytes)]
        if unit.block is not None:
            named.append(Named(unit.block, digest_of(unit.block), unit.bytes))
        return unit, [
            named_object.key for named_object in named if not _is_there(store, read, named_object)
        ]

    yield from mapped(store, lost, units)


def _is_there(store: Store, read: bool, named: Named) -> bool:
    """Return whether an object is as long as it should be; where it is read, whether it is whole.

    Raises:
        StoreError: storage failed.
    """
    try:
        if read:
            return sha256(store.get(named.key)) == named.sha256
        return len(store.get_range(named.key, max(0, named.bytes - 1), 2)) == 1
    except NotFound:
        return False
