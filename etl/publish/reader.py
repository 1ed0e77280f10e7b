"""Reading a published tree: releases, patients, indexes, resources.

This is all that a server needs. It loads neither Arrow nor pandas, and everything that it reads is
checked: whole objects against the hash in their key, parts of blocks against their checksum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from etl.errors import DamagedObject, DamagedRelease, NotFound, StoreError
from etl.publish import object_keys
from etl.publish.block import unpack
from etl.publish.canonical_json import loads, sha256
from etl.publish.catalog import CatalogEntry, by_shard, find_row, parse_shard, shard_number
from etl.publish.kept_objects import (
    KeptKind,
    ObjectRef,
    Value,
    read_or_none,
    read_verified,
)
from etl.publish.manifest import RESTORE_POINTER, Manifest, Pointer, Role, Shard
from etl.publish.search_index import HEAD, WHOLE, BlockPart, Index
from etl.storage.parallel import map_concurrently
from etl.storage.port import Store, Tagged

_MAX_GAP: Final = 64 * 1024
"""Bytes between two wanted parts of a block above which they are fetched one by one."""


@dataclass(frozen=True, slots=True)
class LostObjects:
    """Units of a release that the store has lost, to be made again.

    Attributes:
        patients: ids of the owners of lost blocks and indexes.
        shards: numbers of the directory's shards.
        bulk: whether bulk files are among it.
        segments: keys of the directory's segments.
        objects: how many objects there are of all these.
        first: key of the first of them.
        kept: whether reports or results for later runs are among it.
    """

    patients: frozenset[str] = frozenset()
    shards: frozenset[int] = frozenset()
    bulk: bool = False
    segments: frozenset[str] = frozenset()
    objects: int = 0
    first: str = ""
    kept: bool = False

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.patients or self.shards or self.bulk or self.segments or self.kept)


NOTHING_LOST: Final = LostObjects()


@dataclass(frozen=True, slots=True)
class PreviousRelease:
    """The release that readers see, on which a run builds, and the tag that its pointer had.

    Attributes:
        release: None before the first release.
        tag: what `Store.swap` expects; None before the first release.
        lost_objects: what of it is to be made again, as far as that was checked.
    """

    release: Release | None
    tag: str | None
    lost_objects: LostObjects = NOTHING_LOST

    @property
    def id(self) -> str | None:
        """ID of the release; None before the first."""
        return None if self.release is None else self.release.id

    @property
    def manifest(self) -> Manifest | None:
        """The release's manifest; None before the first."""
        return None if self.release is None else self.release.manifest

    def read(self, kind: KeptKind[Value]) -> Value | None:
        """Return what the release keeps of a kind; None if that is nothing, missing, or damaged.

        `verify` reports what is missing or damaged. A run does without it, and writes it anew.
        """
        try:
            return None if self.release is None else self.release.read(kind)
        except StoreError:
            return None


FIRST_RELEASE: Final = PreviousRelease(None, None)
"""What the first release of a target builds on."""


class Release:
    """One release of a tree. All its objects are immutable, so nothing in it grows stale.

    Args:
        store: the target.
        manifest: what the release is made of.
    """

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self.store = store
        self.manifest = manifest

    @property
    def id(self) -> str:
        """The release's id."""
        return self.manifest.release

    @property
    def tree(self) -> Tree:
        """The tree that the release is in."""
        return Tree(self.store)

    def objects(self) -> Iterator[tuple[Role, ObjectRef]]:
        """Yield every object of the release but for its manifest and signatures, with its role.

        Raises:
            StoreError: the catalog is damaged or cannot be read.
        """
        yield from self.manifest.objects()
        for entry in self.all_units():
            for ref in entry.objects():
                yield "patient", ref

    def read(self, kind: KeptKind[Value]) -> Value | None:
        """Return what the release keeps of a kind; None if it keeps nothing of it.

        Raises:
            StoreError: the object is missing or damaged, or of a later format.
        """
        for ref in self.manifest.facts.reports:
            if kind.matches(ref):
                return self.tree.read(kind, ref)
        return None

    def unit(self, patient_id: str) -> CatalogEntry | None:
        """Return a patient's catalog entry; None for an unknown patient.

        Raises:
            StoreError: the catalog is damaged or cannot be read.
        """
        shard = self.manifest.catalog[shard_number(patient_id, self.manifest.catalog_bits)]
        if shard is None:
            return None
        return find_row(self.shard_bytes(shard), patient_id, shard.key)

    def units(self, patient_ids: Iterable[str]) -> dict[str, CatalogEntry]:
        """Return the catalog entries of many patients; reads each shard once.

        Unknown patients are left out.
        """
        units: dict[str, CatalogEntry] = {}
        for number, ids in sorted(by_shard(patient_ids, self.manifest.catalog_bits).items()):
            shard = self.manifest.catalog[number]
            if shard is not None:
                data = self.shard_bytes(shard)
                for patient_id in ids:
                    unit = find_row(data, patient_id, shard.key)
                    if unit is not None:
                        units[patient_id] = unit
        return units

    def units_of(self, number: int) -> list[CatalogEntry]:
        """Return the entries of one catalog shard."""
        shard = self.manifest.catalog[number]
        return [] if shard is None else parse_shard(self.shard_bytes(shard), shard.key)

    def all_units(self) -> Iterator[CatalogEntry]:
        """Yield every catalog entry, ordered by ID hash; one shard in memory."""
        for number in range(len(self.manifest.catalog)):
            yield from self.units_of(number)

    def shard_bytes(self, shard: Shard) -> bytes:
        """Return a catalog shard's object.

        Raises:
            StoreError: the object is missing or damaged.
        """
        return read_verified(self.store, shard.key, shard.sha256)

    def directory_unit(self, resource_type: str, resource_id: str) -> CatalogEntry | None:
        """Return the directory shard for a resource; None if the shard is empty."""
        bits = self.manifest.directory_bits
        return self.manifest.directory[shard_number(f"{resource_type}/{resource_id}", bits)]

    def directory_blocks(self) -> Iterator[bytes]:
        """Yield the verified bytes of all blocks of the directory, in order."""
        keys = [
            shard.block for shard in self.manifest.directory if shard is not None and shard.block
        ]
        return map_concurrently(self.store, self.tree.read_block, keys)

    def index(self, unit: CatalogEntry) -> Index:
        """Return the search index of a patient or of a directory shard."""
        return open_index(self.store, unit)

    def patient_resource(self, patient_id: str, resource_type: str, resource_id: str) -> bytes:
        """Return the JSON line of one resource of a patient's block, without line break.

        Raises:
            NotFound: the patient has no such resource in this release.
        """
        return self._resource(self.unit(patient_id), resource_type, resource_id)

    def directory_resource(self, resource_type: str, resource_id: str) -> bytes:
        """Return the JSON line of one directory resource, without line break.

        Raises:
            NotFound: this release has no such resource.
        """
        unit = self.directory_unit(resource_type, resource_id)
        return self._resource(unit, resource_type, resource_id)

    def _resource(self, unit: CatalogEntry | None, resource_type: str, resource_id: str) -> bytes:
        if unit is not None:
            index = self.index(unit)
            row = index.row_of(resource_type, resource_id)
            if row is not None:
                return read_rows(self.store, index, [row])[row]
        raise NotFound(f"{self.store.name}: {resource_type}/{resource_id} is not in {self.id}")


@dataclass(frozen=True, slots=True)
class Tree:
    """The objects of all releases of a target, for a run and its workers.

    Attributes:
        store: the target.
    """

    store: Store

    def open_release(self, release: str) -> Release:
        """Open a release by its ID; raises as `open_release`."""
        return open_release(self.store, release)

    def read(self, kind: KeptKind[Value], ref: ObjectRef) -> Value:
        """Read and verify a kept object; return its value.

        Raises:
            NotFound: the object is missing.
            StoreError: it is damaged, or of a later format.
        """
        data = read_verified(self.store, ref.key, ref.sha256)
        return kind.parse(data, f"{self.store.name}: {ref.key}")

    def read_block(self, key: str) -> bytes:
        """Read and verify a block; return its bytes.

        Raises:
            StoreError: it is missing or damaged.
        """
        return read_verified(self.store, key)

    def sync(self) -> None:
        """Return once everything that was written is stored durably."""
        self.store.sync()

    def write(self, kind: KeptKind[Any], data: bytes) -> ObjectRef:
        """Write an object to keep, named after its content; return its reference."""
        digest = sha256(data)
        key = f"{kind.folder}{digest}{kind.suffix}"
        self.store.put(key, data)
        return ObjectRef(key, digest, len(data))


def open_current(store: Store) -> PreviousRelease:
    """Return the release that readers see now.

    Raises:
        DamagedRelease: the manifest that the pointer names is missing or damaged.
        StoreError: the pointer is missing, though releases were published.
    """
    tagged = read_pointer(store)
    if tagged is None:
        trace = _trace_of_releases(store)
        if trace is None:
            return PreviousRelease(None, None)
        tagged = read_pointer(store)  # the first release may have been published in between
        if tagged is None:
            raise StoreError(
                f"{store.name}: {object_keys.CURRENT} is missing, though {trace} shows that "
                f"releases were published: {RESTORE_POINTER}"
            )
    pointer = Pointer.from_bytes(tagged.data, f"{store.name}: {object_keys.CURRENT}")
    try:
        return PreviousRelease(open_release(store, pointer.release, pointer.sha256), tagged.tag)
    except (NotFound, DamagedObject):
        raise DamagedRelease(
            f"{store.name}: {pointer.manifest} is missing or damaged; restore it from a copy, or "
            "publish a full extract with `cpcds run --repair`"
        ) from None


def read_pointer(store: Store) -> Tagged | None:
    """Return the bytes and the tag of `current.json`; None before the first release."""
    return read_or_none(store, object_keys.CURRENT)


def _trace_of_releases(store: Store) -> str | None:
    """Return the key of an object that proves an earlier commit; None without one.

    A first run that died before its commit leaves a manifest, but none with a parent, and no
    record that names a release.
    """
    trace_keys = chain(
        _keys_naming_release(store, "releases/", "/manifest.json", "parent"),
        _keys_naming_release(store, object_keys.RUN_RECORDS, ".json", "release"),
    )
    trace = next(trace_keys, None)
    if trace is not None:
        return trace
    try:
        store.read(object_keys.BULK_ROOT)
    except NotFound:
        return None
    return object_keys.BULK_ROOT


def _keys_naming_release(store: Store, folder: str, suffix: str, field: str) -> Iterator[str]:
    """Yield keys of JSON objects whose field names a release, newest first."""
    for key in sorted((entry.key for entry in store.list(folder)), reverse=True):
        if key.endswith(suffix):
            try:
                release_id = loads(store.get(key), f"{store.name}: {key}")[field]
            except (StoreError, KeyError, TypeError):  # damaged, or gone since
                continue
            if release_id is not None:
                yield key


def open_release(store: Store, release: str, digest: str | None = None) -> Release:
    """Open a release by its ID.

    Args:
        store: the target.
        release: id of the release.
        digest: SHA-256 that its manifest must have, where it is known.

    Raises:
        NotFound: there is no such release, or it was pruned.
        StoreError: its manifest is damaged.
    """
    key = object_keys.manifest(release)
    try:
        data = store.get(key) if digest is None else read_verified(store, key, digest)
    except NotFound:
        raise NotFound(f"{store.name}: there is no release {release}") from None
    manifest = Manifest.from_bytes(data, f"{store.name}: {key}")
    return Release(store, manifest)


def open_index(store: Store, unit: CatalogEntry) -> Index:
    """Open a unit's index: a small one whole, of a large one the head."""
    label = f"{store.name}: {unit.index}"
    if unit.index_bytes <= WHOLE:
        return Index.from_bytes(read_verified(store, unit.index), label)
    head = store.get_range(unit.index, 0, HEAD)
    index = Index(label, head, lambda start, length: store.get_range(unit.index, start, length))
    check_head(index, unit, label)
    return index


def check_head(index: Index, unit: CatalogEntry, object_name: str) -> None:
    """Check the head of an index that was not read whole.

    Raises:
        DamagedObject: its block or size differs from the catalog entry's.
    """
    try:
        stated_block = (index.head["block"], index.head["bytes"], index.object_size)
    except (KeyError, TypeError, ValueError):  # the head of an older tree, which has no checksum
        stated_block = None
    if stated_block != (unit.block, unit.bytes, unit.index_bytes):
        raise DamagedObject(f"{object_name} does not match the catalog; run verify")


def read_rows(store: Store, index: Index, rows: Iterable[int]) -> dict[int, bytes]:
    """Return the JSON lines of some rows, without line breaks.

    Parts that are near each other are fetched with one request.

    Raises:
        StoreError: the block is missing, or a part of it is damaged.
    """
    numbers = sorted(set(rows))
    parts = {part.first: part for row in numbers for part in index.parts_of(range(row, row + 1))}
    by_row: dict[int, bytes] = {}
    for part, data in read_parts(store, index, parts.values()):
        lines = lines_of(store, index, part, data)
        by_row.update(zip(range(part.first, part.first + part.rows), lines, strict=True))
    return {row: by_row[row] for row in numbers}


def read_parts(
    store: Store, index: Index, parts: Iterable[BlockPart]
) -> Iterator[tuple[BlockPart, memoryview]]:
    """Yield parts of a block with their compressed bytes, not yet verified.

    Parts that are near each other are fetched with one request.
    """
    if index.block is None:
        return
    for run in runs(sorted(parts, key=lambda part: part.offset)):
        start = run[0].offset
        data = store.get_range(index.block, start, run[-1].offset + run[-1].length - start)
        view = memoryview(data)
        for part in run:
            yield part, view[part.offset - start : part.offset - start + part.length]


def read_all(store: Store, index: Index) -> list[bytes]:
    """Return the JSON lines of all rows of a block, in order.

    Raises:
        StoreError: the block is missing, or damaged.
    """
    if index.block is None:
        return []
    data = read_verified(store, index.block)
    lines: list[bytes] = []
    for part in index.parts:
        if part.rows:
            compressed = memoryview(data)[part.offset : part.offset + part.length]
            lines += lines_of(store, index, part, compressed)
    return lines


def runs(parts: Iterable[BlockPart]) -> Iterator[list[BlockPart]]:
    """Group the parts of a block, in order, into runs for one request each."""
    part_run: list[BlockPart] = []
    for part in parts:
        if part_run and part.offset - (part_run[-1].offset + part_run[-1].length) > _MAX_GAP:
            yield part_run
            part_run = []
        part_run.append(part)
    if part_run:
        yield part_run


def lines_of(store: Store, index: Index, part: BlockPart, data: memoryview) -> list[bytes]:
    """Return the JSON lines of one part; verifies its checksum.

    Raises:
        DamagedObject: the part is damaged.
    """
    return [bytes(line) for line in views(data, part, f"{store.name}: {index.block}")]


def views(data: bytes | memoryview, part: BlockPart, object_name: str) -> list[bytes | memoryview]:
    """Return the JSON lines of one part as memory views; verifies its checksum.

    Args:
        data: exactly the part's bytes.
        part: its entry in the index.
        object_name: what messages call the block.

    Raises:
        DamagedObject: the part is damaged.
    """
    text = unpack(data, part, object_name)
    view = memoryview(text)
    lines: list[bytes | memoryview] = []
    start = 0
    for _ in range(part.rows):
        end = text.find(b"\n", start)
        if end < 0:
            break
        lines.append(view[start:end])
        start = end + 1
    if len(lines) != part.rows or start != len(text):
        raise DamagedObject(f"{object_name} and its index disagree; run verify")
    return lines
