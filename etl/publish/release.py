"""From finished partitions to a release that readers see.

base = open_current(store)
partitions = [write_partition(store, base.release.units(ids), patients, now), …]
directory = write_directory(store, base.release, resources, now)
manifest = assemble(store, base, partitions, directory, facts, now)
commit(store, manifest, base)
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
    choose_bits,
    parse_shard,
    render_shard,
    shard_number,
)
from etl.publish.directory import DirectoryResult
from etl.publish.lease import Lease
from etl.publish.manifest import Changes, Manifest, Pointer, ReleaseFacts, Shard, total
from etl.publish.partition_writer import PartitionUnits, merged_kept, merged_units
from etl.publish.reader import Current, Release, open_release, read_pointer
from etl.publish.unit_writer import Owner, write_unit
from etl.storage.parallel import Writer
from etl.storage.port import Store

if TYPE_CHECKING:
    from etl.publish.signatures import SigningKey


def assemble(
    store: Store,
    base: Current,
    partitions: Sequence[PartitionUnits],
    directory: DirectoryResult,
    facts: ReleaseFacts,
    now: str,
    advance: Callable[[int], None] = lambda _: None,
) -> Manifest:
    """Write the catalog of a release, and return its manifest. Readers see nothing of it yet.

    Patients that are in none of the partitions are retracted, after a delta as well: its rows were
    merged with the previous ones, so that the partitions hold all patients. Those that stay as they
    are keep their rows of the previous catalog.

    Args:
        store: the target.
        base: what `open_current` returned when the run began.
        partitions: all that the run published.
        directory: the release's directory.
        facts: what else the manifest is to say.
        now: FHIR instant of the run.
        advance: called with the number of rows that each shard takes from the partitions.

    Raises:
        StoreError: storage failed. Nothing that a reader sees was changed.
            Or a patient that is to stay unchanged has no block.
        ValueError: a patient is in two partitions (a bug of the caller).
    """
    parent = base.release.manifest if base.release is not None else None
    written = [partition.written for partition in partitions]
    changes = [part.changes for part in written]
    given = sum(part.count + part.kept for part in written)
    bits = _catalog_bits(parent, given)
    # Three streams ordered by place: new rows, patients who stay, rows of the previous catalog.
    before = _PreviousRows(base.release, bits)
    merged = groupby(merged_units(partitions), key=lambda unit: shard_number(unit.id, bits))
    here = next(merged, None)
    staying = _Staying(merged_kept(partitions), bits)
    shards: list[Shard | None] = []
    counts = _Counts(parent)
    with Writer(store) as writer:
        for number in range(1 << bits):
            new: list[CatalogEntry] = []
            if here is not None and here[0] == number:
                new = list(here[1])
                here = next(merged, None)
            stay = staying.of_shard(number)
            old = before.rows(number)
            # Of the previous rows without a new one, some stay; the others are retracted.
            new_ids = {unit.id for unit in new}
            left = [unit for unit in old if unit.id not in new_ids]
            _check_there(store, stay, left)
            going = [unit for unit in left if unit.id not in stay]
            gone, retracted = _retract(store, writer, going, now, base.lost.patients)
            changes.append(retracted)
            rows = [*new, *(unit for unit in left if unit.id in stay), *gone]
            counts.replace((unit for unit in old if unit.id not in stay), [*new, *gone])
            shards.append(_write_shard(writer, bits, number, rows, before.shard(number)))
            if new or stay:
                advance(len(new) + len(stay))
    # The manifest names all of it, and gets its own name from that.
    everything = total([*changes, directory.changes])
    manifest = Manifest(
        release="",
        parent=parent.release if parent is not None else None,
        created=now,
        facts=facts,
        counts=counts.to_json(directory, everything),
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
    base: Current,
    lease: Lease | None = None,
    key: SigningKey | None = None,
) -> None:
    """Make a release the one that readers see, or leave the previous one in place.

    Everything that the manifest names is in the store already, so an interrupted run leaves only
    objects that no release names, and a rerun writes the same ones again.

    Args:
        store: the target.
        manifest: what to publish; its parent is the release of `base`.
        base: what `open_current` returned when the run began.
        lease: the run's, which is renewed first: see `lease.run_lease`.
        key: signs the release; None to sign nothing.

    Raises:
        CommitConflict: another run published first. Nothing changed; plan again on top of it.
        CommitUnknown: the answer was lost. Delete nothing: readers may be on the new release.
    """
    data = manifest.to_bytes()
    base = put_named(store, manifest.key, data, base)
    pointer = Pointer(manifest.release, manifest.key, sha256(data))
    if key is not None:
        signature = key.sign(manifest, data)
        base = put_named(store, object_keys.signature(manifest.release), signature, base)
    if lease is not None:
        lease.renew()
    try:
        store.swap(object_keys.CURRENT, pointer.to_bytes(), base.tag)
    except (CommitConflict, CommitUnknown) as error:
        if _landed(store, manifest.release):  # a store may have retried after a first success
            return
        if isinstance(error, CommitConflict):
            raise CommitConflict(
                f"{store.name}: another run published in the meantime; "
                "nothing was changed, run again to publish on top of it"
            ) from error
        raise


def is_published(base: Current, facts: ReleaseFacts) -> bool:
    """Return whether the release that readers see was made of the same inputs, the same way.

    Then running again would change nothing: a run that was killed after its commit is done.
    """
    if base.release is None or not facts.inputs:
        return False
    there = base.release.manifest.facts
    return (
        there.kind == facts.kind
        and [dict(extract_file) for extract_file in there.inputs]
        == [dict(extract_file) for extract_file in facts.inputs]
        and dict(there.mapping) == dict(facts.mapping)
    )


def fenced(store: Store, base: Current) -> Current:
    """Put up a fence: rewrite the pointer, and return what readers see with its new tag.

    A run that read the pointer before can then not commit any more, however long it paused, unless
    it has done so already. A prune calls this before it looks at what is in use, and a run before
    it replaces what an earlier attempt left, because that attempt may still be running.

    Raises:
        CommitConflict: another run published, or put up a fence. Nothing changed.
        CommitUnknown: the answer was lost.
    """
    tagged = read_pointer(store)
    if (None if tagged is None else tagged.tag) != base.tag:
        raise CommitConflict(
            f"{store.name}: another run published in the meantime; "
            "nothing was changed, run again to publish on top of it"
        )
    if tagged is None:  # there is nothing yet to put a fence around
        return base
    pointer = Pointer.from_bytes(tagged.data, f"{store.name}: {object_keys.CURRENT}")
    fence = replace(pointer, fence=pointer.fence + 1)
    return replace(base, tag=store.swap(object_keys.CURRENT, fence.to_bytes(), base.tag))


def put_named(store: Store, key: str, data: bytes, base: Current) -> Current:
    """Write an object that is named after a release: its manifest, or a report.

    Reports are no part of a release's id, so an attempt that died may have left another under that
    key. It is replaced, behind a fence: if that attempt is alive, it cannot commit any more, and
    what readers are on is never replaced.

    Returns:
        What to commit on.

    Raises:
        CommitConflict: another run published. Nothing changed.
    """
    try:
        store.swap(key, data, None)
    except CommitConflict:
        there = store.read(key)
        if there.data != data:
            base = fenced(store, base)
            store.swap(key, data, there.tag)
    return base


def _landed(store: Store, release: str) -> bool:
    """Return whether a release is the present one or an ancestor of it."""
    try:
        tagged = read_pointer(store)
        if tagged is None:
            return False
        name: str | None = Pointer.from_bytes(tagged.data, object_keys.CURRENT).release
        while name is not None and name >= release:  # ids sort by time
            if name == release:
                return True
            name = open_release(store, name).manifest.parent
    except (NotFound, StoreError):
        return False
    return False


def _catalog_bits(parent: Manifest | None, given: int) -> int:
    if parent is None:
        return choose_bits(given, None, CATALOG_TARGET)
    count = given + parent.counts["retractedPatients"]
    return choose_bits(count, parent.catalog_bits, CATALOG_TARGET)


class _PreviousRows:
    """The rows of the previous catalog, by the shards of the new one."""

    def __init__(self, release: Release | None, bits: int) -> None:
        self._release = release
        self._bits = bits
        self._parsed = lru_cache(maxsize=1)(self._parse)

    def shard(self, number: int) -> Shard | None:
        """Return the previous shard, if it holds the same part of the catalog."""
        release = self._release
        if release is None or release.manifest.catalog_bits != self._bits:
            return None
        return release.manifest.catalog[number]

    def rows(self, number: int) -> list[CatalogEntry]:
        """Return the previous rows of what is now one shard."""
        if self._release is None:
            return []
        more = self._bits - self._release.manifest.catalog_bits
        if more >= 0:
            rows = self._parsed(number >> more)
            if not more:
                return rows
            return [unit for unit in rows if shard_number(unit.id, self._bits) == number]
        return [
            unit
            for old in range(number << -more, (number + 1) << -more)
            for unit in self._parsed(old)
        ]

    def _parse(self, number: int) -> list[CatalogEntry]:
        assert self._release is not None  # noqa: S101 - for the type checker; rows() has asked
        shard = self._release.manifest.catalog[number]
        if shard is None:
            return []
        return parse_shard(self._release.shard_bytes(shard), shard.key)


class _Staying:
    """Ids of patients who stay as they are, shard by shard."""

    def __init__(self, ids: Iterator[str], bits: int) -> None:
        self._groups = groupby(ids, key=lambda patient_id: shard_number(patient_id, bits))
        self._here = self._next()

    def of_shard(self, number: int) -> set[str]:
        """Return those of one shard; to be called in the order of the shards."""
        if self._here is None or self._here[0] != number:
            return set()
        _, ids = self._here
        self._here = self._next()
        return ids

    def _next(self) -> tuple[int, set[str]] | None:
        group = next(self._groups, None)
        return None if group is None else (group[0], set(group[1]))


def _check_there(store: Store, stay: set[str], left: Iterable[CatalogEntry]) -> None:
    """Check that every patient that stays has a block in the catalog, and no new row."""
    lost = stay - {unit.id for unit in left if unit.block is not None}
    if lost:
        raise StoreError(
            f"{store.name}: {len(lost)} patients should be unchanged, but are missing from the "
            "catalog or were changed; nothing that readers see was changed"
        )


def _retract(
    store: Store, writer: Writer, units: Iterable[CatalogEntry], now: str, lost: AbstractSet[str]
) -> tuple[list[CatalogEntry], Changes]:
    done = [
        write_unit(store, writer, Owner.patient(unit.id), (), unit, now, lost=unit.id in lost)
        for unit in units
    ]
    return [unit for unit, _ in done], total(change for _, change in done)


def _write_shard(
    writer: Writer, bits: int, number: int, rows: Sequence[CatalogEntry], before: Shard | None
) -> Shard | None:
    if not rows:
        return None
    data = render_shard(bits, number, rows)
    digest = sha256(data)
    if before is not None and before.sha256 == digest:
        return before
    key = object_keys.catalog_shard(digest)
    writer.put(key, data)
    live = sum(1 for unit in rows if unit.block is not None)
    return Shard(key, digest, len(data), live, len(rows) - live)


class _Counts:
    """Counts of patients and of their resources, counted on from those of the parent."""

    def __init__(self, parent: Manifest | None) -> None:
        self.patients = self.retracted = 0
        self.resources: Counter[str] = Counter()
        if parent is not None:
            self.patients = parent.counts["patients"]
            self.retracted = parent.counts["retractedPatients"]
            self.resources.update(parent.counts["resources"])
            for unit in parent.directory:
                self.resources.subtract(unit.counts if unit is not None else {})

    def replace(self, old: Iterable[CatalogEntry], new: Iterable[CatalogEntry]) -> None:
        """Count rows that take the place of others."""
        for units, sign in ((old, -1), (new, 1)):
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
