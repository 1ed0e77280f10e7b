"""From finished partitions to a release that readers see.

previous = open_current(store)
partitions = [write_partition(store, previous.release.units(ids), patients, now), …]
directory = write_directory(store, previous.release, resources, now)
manifest = assemble(store, previous, partitions, directory, facts, now)
commit(store, manifest, previous)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

from etl.errors import CommitConflict, CommitUnknown, NotFound, StoreError
from etl.publish import object_keys
from etl.publish.canonical_json import JSON, sha256
from etl.publish.catalog import (
    CATALOG_TARGET,
    CatalogEntry,
    choose_shard_bits,
    parse_shard,
    render_shard,
    shard_number,
)
from etl.publish.directory import DirectoryResult
from etl.publish.lease import Lease
from etl.publish.manifest import Changes, Manifest, Pointer, ReleaseFacts, Shard, total
from etl.publish.partition_writer import PartitionUnits, merged_kept, merged_units
from etl.publish.reader import PreviousRelease, Release, open_release, read_pointer
from etl.publish.unit_writer import Owner, write_unit
from etl.storage.parallel import Writer
from etl.storage.port import Store

if TYPE_CHECKING:
    from etl.publish.signatures import SigningKey


def assemble(
    store: Store,
    previous: PreviousRelease,
    partitions: Sequence[PartitionUnits],
    directory: DirectoryResult,
    facts: ReleaseFacts,
    run_time: str,
    advance: Callable[[int], None] = lambda _: None,
) -> Manifest:
    """Write the catalog of a release; return its manifest. Readers see nothing yet.

    Patients in none of the partitions are retracted. This also holds for a delta: its rows were
    merged with the previous ones, so the partitions have all patients. Unchanged patients keep
    their entries of the previous catalog.

    Args:
        store: the target.
        previous: result of `open_current` when the run began.
        partitions: all partitions of the run.
        directory: the release's directory.
        facts: facts about the run for the manifest.
        run_time: FHIR instant of the run.
        advance: called for each shard with its number of patients from the partitions.

    Raises:
        StoreError: storage failed, or an unchanged patient has no block. Nothing that a reader sees
            was changed.
        ValueError: a patient is in two partitions (a bug of the caller).
    """
    parent = previous.release.manifest if previous.release is not None else None
    results = [partition.written for partition in partitions]
    changes = [result.changes for result in results]
    patient_count = sum(result.count + result.kept for result in results)
    bits = _catalog_bits(parent, patient_count)
    # Three streams ordered by ID hash: new rows, unchanged patients, previous rows.
    previous_rows = _PreviousRows(previous.release, bits)
    merged = groupby(merged_units(partitions), key=lambda unit: shard_number(unit.id, bits))
    next_group = next(merged, None)
    unchanged_patients = _UnchangedPatients(merged_kept(partitions), bits)
    shards: list[Shard | None] = []
    counts = _ReleaseCounts(parent)
    with Writer(store) as writer:
        for number in range(1 << bits):
            new_rows: list[CatalogEntry] = []
            if next_group is not None and next_group[0] == number:
                new_rows = list(next_group[1])
                next_group = next(merged, None)
            stay_ids = unchanged_patients.of_shard(number)
            old_rows = previous_rows.rows(number)
            # Previous rows without a new one: unchanged patients stay, others are retracted.
            new_ids = {unit.id for unit in new_rows}
            unmatched = [unit for unit in old_rows if unit.id not in new_ids]
            _check_staying(store, stay_ids, unmatched)
            missing = [unit for unit in unmatched if unit.id not in stay_ids]
            lost = previous.lost_objects.patients
            retracted, retractions = _retract(store, writer, missing, run_time, lost)
            changes.append(retractions)
            rows = [*new_rows, *(unit for unit in unmatched if unit.id in stay_ids), *retracted]
            replaced = (unit for unit in old_rows if unit.id not in stay_ids)
            counts.replace(replaced, [*new_rows, *retracted])
            shards.append(write_shard(writer, bits, number, rows, previous_rows.shard(number)))
            if new_rows or stay_ids:
                advance(len(new_rows) + len(stay_ids))
    # The manifest names everything, and its ID is a hash of that.
    all_changes = total([*changes, directory.changes])
    manifest = Manifest(
        release="",
        parent=parent.link[0] if parent is not None else None,
        created=run_time,
        facts=facts,
        counts=counts.to_json(directory, all_changes),
        catalog_bits=bits,
        catalog=shards,
        directory_bits=directory.bits,
        directory=directory.shards,
        segments=directory.segments,
        share_read=parent.due_share if parent is not None else 0,
    )
    return manifest.named(parent)


def commit(
    store: Store,
    manifest: Manifest,
    previous: PreviousRelease,
    lease: Lease | None = None,
    key: SigningKey | None = None,
) -> None:
    """Make a release visible to readers, or leave the previous one in place.

    Everything that the manifest names is in the store already, so an interrupted run leaves only
    objects that no release names, and a rerun writes the same ones again.

    Args:
        store: the target.
        manifest: what to publish; its parent is the release of `previous`.
        previous: what `open_current` returned when the run began.
        lease: the run's, which is renewed first: see `lease.run_lease`.
        key: signs the release; None to sign nothing.

    Raises:
        CommitConflict: another run published first. Nothing changed; plan again on top of it.
        CommitUnknown: the answer was lost, or the disk failed after the swap. Delete nothing:
            readers may be on the new release.
    """
    data = manifest.to_bytes()
    previous = put_named(store, manifest.key, data, previous)
    pointer = Pointer(manifest.release, manifest.key, sha256(data))
    if key is not None:
        signature = key.sign(manifest, data)
        previous = put_named(store, object_keys.signature(manifest.release), signature, previous)
    if lease is not None:
        lease.renew()
    try:
        store.swap(object_keys.CURRENT, pointer.to_bytes(), previous.tag)
    except (CommitConflict, CommitUnknown) as error:
        # A store may have retried after a first success, or the folder may not be on the disk yet.
        if _is_in_history(store, manifest.release):
            try:
                store.sync()
            except StoreError as failure:
                raise CommitUnknown(
                    f"{failure}; readers see release {manifest.release}, but a power cut may take "
                    "it back: mend the disk, then run again"
                ) from failure
            return
        if isinstance(error, CommitConflict):
            raise CommitConflict(
                f"{store.name}: another run published in the meantime; "
                "nothing was changed, run again to publish on top of it"
            ) from error
        raise


def is_published(previous: PreviousRelease, facts: ReleaseFacts) -> bool:
    """Return whether the visible release was made from the same inputs in the same way.

    Then a rerun would change nothing: a run that was killed after its commit is done.
    """
    if previous.release is None or not facts.inputs:
        return False
    published_facts = previous.release.manifest.facts
    return (
        published_facts.kind == facts.kind
        and [dict(extract_file) for extract_file in published_facts.inputs]
        == [dict(extract_file) for extract_file in facts.inputs]
        and dict(published_facts.mapping) == dict(facts.mapping)
    )


def put_fence(store: Store, previous: PreviousRelease) -> PreviousRelease:
    """Put up a fence: rewrite the pointer; return the release with the new tag.

    A run that read the pointer before can then not commit any more, however long it paused, unless
    it has done so already. A prune calls this before it looks at what is in use, and a run before
    it replaces what an earlier attempt left, because that attempt may still be running.

    Raises:
        CommitConflict: another run published, or put up a fence. Nothing changed.
        CommitUnknown: the answer was lost.
    """
    tagged = read_pointer(store)
    if (None if tagged is None else tagged.tag) != previous.tag:
        raise CommitConflict(
            f"{store.name}: another run published in the meantime; "
            "nothing was changed, run again to publish on top of it"
        )
    if tagged is None:  # there is nothing yet to put a fence around
        return previous
    pointer = Pointer.from_bytes(tagged.data, f"{store.name}: {object_keys.CURRENT}")
    fence = replace(pointer, fence=pointer.fence + 1)
    return replace(previous, tag=store.swap(object_keys.CURRENT, fence.to_bytes(), previous.tag))


def put_named(store: Store, key: str, data: bytes, previous: PreviousRelease) -> PreviousRelease:
    """Write an object that is named after a release: its manifest, or a report.

    Reports are no part of a release's id, so an attempt that died may have left another under that
    key. It is replaced, behind a fence: if that attempt is alive, it cannot commit any more, and
    what readers are on is never replaced.

    Returns:
        The release to commit on.

    Raises:
        CommitConflict: another run published. Nothing changed.
    """
    try:
        store.swap(key, data, None)
    except CommitConflict:
        tagged = store.read(key)
        if tagged.data != data:
            previous = put_fence(store, previous)
            store.swap(key, data, tagged.tag)
    return previous


def _is_in_history(store: Store, release: str) -> bool:
    """Return whether a release is the current one or its ancestor."""
    try:
        tagged = read_pointer(store)
        if tagged is None:
            return False
        ancestor: str | None = Pointer.from_bytes(tagged.data, object_keys.CURRENT).release
        while ancestor is not None and ancestor >= release:  # ids sort by time
            if ancestor == release:
                return True
            ancestor = open_release(store, ancestor).manifest.parent
    except (NotFound, StoreError):
        return False
    return False


def _catalog_bits(parent: Manifest | None, patient_count: int) -> int:
    if parent is None:
        return choose_shard_bits(patient_count, None, CATALOG_TARGET)
    count = patient_count + parent.counts["retractedPatients"]
    return choose_shard_bits(count, parent.catalog_bits, CATALOG_TARGET)


class _PreviousRows:
    """The rows of the previous catalog, by the shards of the new one."""

    def __init__(self, release: Release | None, bits: int) -> None:
        self._release = release
        self._bits = bits
        self._parsed = lru_cache(maxsize=1)(self._parse)

    def shard(self, number: int) -> Shard | None:
        """Return the previous shard if it covers the same range of ID hashes."""
        release = self._release
        if release is None or release.manifest.catalog_bits != self._bits:
            return None
        return release.manifest.catalog[number]

    def rows(self, number: int) -> list[CatalogEntry]:
        """Return the previous rows of a new shard."""
        if self._release is None:
            return []
        extra_bits = self._bits - self._release.manifest.catalog_bits
        if extra_bits >= 0:
            rows = self._parsed(number >> extra_bits)
            if not extra_bits:
                return rows
            return [unit for unit in rows if shard_number(unit.id, self._bits) == number]
        return [
            unit
            for old_number in range(number << -extra_bits, (number + 1) << -extra_bits)
            for unit in self._parsed(old_number)
        ]

    def _parse(self, number: int) -> list[CatalogEntry]:
        assert self._release is not None  # noqa: S101 - for the type checker; rows() has asked
        shard = self._release.manifest.catalog[number]
        if shard is None:
            return []
        return parse_shard(self._release.shard_bytes(shard), shard.key)


class _UnchangedPatients:
    """IDs of unchanged patients, shard by shard."""

    def __init__(self, ids: Iterator[str], bits: int) -> None:
        self._groups = groupby(ids, key=lambda patient_id: shard_number(patient_id, bits))
        self._next_group = self._read_group()

    def of_shard(self, number: int) -> set[str]:
        """Return the patients of one shard; call in the order of shards."""
        if self._next_group is None or self._next_group[0] != number:
            return set()
        _, ids = self._next_group
        self._next_group = self._read_group()
        return ids

    def _read_group(self) -> tuple[int, set[str]] | None:
        group = next(self._groups, None)
        return None if group is None else (group[0], set(group[1]))


def _check_staying(store: Store, stay_ids: set[str], rows: Iterable[CatalogEntry]) -> None:
    """Check that every unchanged patient has a block and no new row."""
    missing_ids = stay_ids - {unit.id for unit in rows if unit.block is not None}
    if missing_ids:
        raise StoreError(
            f"{store.name}: {len(missing_ids)} patients should be unchanged, but are missing from "
            "the catalog or were changed; nothing that readers see was changed"
        )


def _retract(
    store: Store, writer: Writer, units: Iterable[CatalogEntry], time: str, lost: AbstractSet[str]
) -> tuple[list[CatalogEntry], Changes]:
    """Retract patients; return their rows and the changes."""
    results = [
        write_unit(store, writer, Owner.patient(unit.id), (), unit, time, is_lost=unit.id in lost)
        for unit in units
    ]
    return [unit for unit, _ in results], total(change for _, change in results)


def write_shard(
    writer: Writer,
    bits: int,
    number: int,
    rows: Sequence[CatalogEntry],
    previous: Shard | None = None,
) -> Shard | None:
    """Write a catalog shard, unless the previous one is the same."""
    if not rows:
        return None
    data = render_shard(bits, number, rows)
    digest = sha256(data)
    if previous is not None and previous.sha256 == digest:
        return previous
    key = object_keys.catalog_shard(digest)
    writer.put(key, data)
    patient_count = sum(1 for unit in rows if unit.block is not None)
    return Shard(key, digest, len(data), patient_count, len(rows) - patient_count)


class _ReleaseCounts:
    """Counts of patients and resources, starting from the parent's counts."""

    def __init__(self, parent: Manifest | None) -> None:
        self.patients = self.retracted = 0
        self.resources: Counter[str] = Counter()
        if parent is not None:
            self.patients = parent.counts["patients"]
            self.retracted = parent.counts["retractedPatients"]
            self.resources.update(parent.counts["resources"])
            for unit in parent.directory:
                self.resources.subtract(unit.counts if unit is not None else {})

    def replace(self, replaced: Iterable[CatalogEntry], entries: Iterable[CatalogEntry]) -> None:
        """Count new rows, and subtract the old ones that they replace."""
        for units, sign in ((replaced, -1), (entries, 1)):
            for unit in units:
                self.patients += sign * (unit.block is not None)
                self.retracted += sign * (unit.block is None)
                for name, count in unit.counts.items():
                    self.resources[name] += sign * count

    def to_json(self, directory: DirectoryResult, changes: Changes) -> Mapping[str, JSON]:
        """Return the counts as the manifest states them."""
        resources = self.resources.copy()
        for unit in directory.shards:
            resources.update(unit.counts if unit is not None else {})
        return {
            "patients": self.patients,
            "retractedPatients": self.retracted,
            "resources": {name: count for name, count in resources.items() if count},
            "changes": changes.to_json(),
        }
