"""A damaged catalog or manifest, made again from the indexes of patients in the store.

Every field of a catalog entry follows from the patient's index, so a damaged shard is rebuilt
without an extract. The store may also have indexes of other releases, and of runs that never
committed; a rebuilt shard is written only if it has the hash that the manifest states.

Where no choice of indexes has that hash, or the manifest itself is damaged, a run that is asked to
repair builds on a stand-in: a manifest that is stored, but never published. It has the newest entry
of each patient, so that the run keeps times and retractions, and maps every member again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, islice, product
from typing import Final

from etl.errors import StoreError
from etl.publish import object_keys
from etl.publish.block import Line
from etl.publish.canonical_json import as_instant, dumps, instant, sha256
from etl.publish.catalog import (
    CATALOG_TARGET,
    CatalogEntry,
    choose_shard_bits,
    render_shard,
    shard_number,
)
from etl.publish.kept_objects import MEMORY, read_verified
from etl.publish.manifest import Changes, Manifest, Pointer, ReleaseFacts, stamp_of
from etl.publish.reader import PreviousRelease, Release, open_release, read_pointer
from etl.publish.release import write_shard
from etl.publish.search_index import Index, rows_of
from etl.publish.unit_writer import content_hash
from etl.storage.parallel import Writer, map_concurrently
from etl.storage.port import Store

_MOST_CHOICES: Final = 4096
"""Choices among several indexes of patients that are tried for one shard."""


def rebuild_shards(release: Release, keys: Collection[str]) -> list[str]:
    """Rewrite catalog shards from the indexes; return the keys that cannot be rebuilt."""
    store, bits = release.store, release.manifest.catalog_bits
    shards = {
        number: shard
        for number, shard in enumerate(release.manifest.catalog)
        if shard is not None and shard.key in keys
    }
    candidates: dict[int, list[Sequence[CatalogEntry]]] = {number: [] for number in shards}
    entries = _entries_by_patient(store, release.id, lambda one: shard_number(one, bits) in shards)
    for patient, versions in entries.items():
        candidates[shard_number(patient, bits)].append(versions)
    unsolved_keys = []
    for number, shard in shards.items():
        choices = _choices(candidates[number], shard.patients + shard.retracted)
        rendered = (render_shard(bits, number, rows) for rows in islice(choices, _MOST_CHOICES))
        data = next((data for data in rendered if sha256(data) == shard.sha256), None)
        if data is None:
            unsolved_keys.append(shard.key)
        else:
            store.delete([shard.key])  # not every store replaces a damaged object
            store.put(shard.key, data)
    store.sync()
    return unsolved_keys


def _choices(
    candidates: Sequence[Sequence[CatalogEntry]], count: int
) -> Iterator[Sequence[CatalogEntry]]:
    """Yield choices of one entry of so many patients, beginning with the newest entries.

    Patients beyond the count are left out: a run that never committed may have left their indexes.
    """
    surplus = max(0, len(candidates) - count)
    for omitted in combinations(range(len(candidates)), surplus):
        yield from product(*(one for at, one in enumerate(candidates) if at not in omitted))


def _entries_by_patient(
    store: Store, release_id: str, is_wanted: Callable[[str], bool]
) -> Mapping[str, list[CatalogEntry]]:
    """Return the entries that intact indexes give to each patient.

    The newest comes first, but those written after the release's manifest come last.
    """
    folder = object_keys.manifest(release_id).rpartition("/")[0]
    written = max((entry.modified for entry in store.list(f"{folder}/")), default=None)
    indexes = [entry for entry in store.list("patients/") if entry.key.endswith(".index.json")]
    indexes.sort(key=lambda entry: (entry.modified, entry.key), reverse=True)
    if written is not None:
        indexes.sort(key=lambda entry: entry.modified > written)
    entries: dict[str, list[CatalogEntry]] = {}

    def read(key: str) -> CatalogEntry | None:
        return _read_entry(store, key, is_wanted)

    for entry in map_concurrently(store, read, [index.key for index in indexes]):
        if entry is not None:
            entries.setdefault(entry.id, []).append(entry)
    return entries


def _read_entry(store: Store, key: str, is_wanted: Callable[[str], bool]) -> CatalogEntry | None:
    """Return the catalog entry that follows from an index; None if it is damaged or not wanted."""
    try:
        data = read_verified(store, key)
        index = Index.from_bytes(data, key)
        patient = str(index.head["patient"])
        if not is_wanted(patient):
            return None
        rows = rows_of(index)
        lines = [Line(row, b"", dumps(row.search)) for row in rows]
        deleted = [retraction.when for retraction in index.deleted]
    except (StoreError, KeyError):
        return None
    return CatalogEntry(
        patient,
        key,
        len(data),
        index.block,
        index.head["bytes"],
        content_hash(lines) if rows else "",
        dict(Counter(row.type for row in rows)),
        max((row.last_updated for row in rows), key=instant, default=""),
        None if rows else max(deleted, key=instant, default="1970-01-01T00:00:00Z"),
    )


def stand_in(store: Store, lost_facts: ReleaseFacts) -> PreviousRelease:
    """Write a stand-in for a current release whose manifest or catalog is damaged.

    Args:
        store: the target.
        lost_facts: what to assume about the release if its manifest is damaged.
    """
    tagged = read_pointer(store)
    if tagged is None:
        raise AssertionError("a release without a pointer is not current")
    pointer = Pointer.from_bytes(tagged.data, f"{store.name}: {object_keys.CURRENT}")
    versions = _entries_by_patient(store, pointer.release, lambda _: True)
    shards: dict[int, list[CatalogEntry]] = {}
    bits = choose_shard_bits(len(versions), None, CATALOG_TARGET)
    resources = Counter[str]()
    for patient, (newest, *_) in versions.items():
        shards.setdefault(shard_number(patient, bits), []).append(newest)
        resources.update(newest.counts)
    try:
        manifest = open_release(store, pointer.release, pointer.sha256).manifest
    except StoreError:  # the run does not know the directory either, and writes it anew
        created = as_instant(stamp_of(pointer.release))
        manifest = Manifest("", None, created, lost_facts, {}, bits, (), 0, (None,))
    for shard in filter(None, manifest.directory):
        resources.update(shard.counts)
    with Writer(store) as writer:
        catalog = [
            write_shard(writer, bits, number, shards.get(number, ())) for number in range(1 << bits)
        ]
    retracted = sum(shard.retracted for shard in catalog if shard is not None)
    reports = [ref for ref in manifest.facts.reports if not ref.key.startswith(MEMORY)]
    manifest = replace(
        manifest,
        parent=pointer.release,
        parent_sha256=pointer.sha256,
        catalog_bits=bits,
        catalog=catalog,
        bulk={},
        facts=replace(manifest.facts, kind="stand-in", inputs=(), reports=reports),
        counts={
            "patients": len(versions) - retracted,
            "retractedPatients": retracted,
            "resources": dict(resources),
            "changes": Changes().to_json(),
        },
    ).named(None)
    store.put(manifest.key, manifest.to_bytes())
    return PreviousRelease(Release(store, manifest), tagged.tag)
