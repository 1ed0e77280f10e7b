"""Differences between two releases: patients, resources, money."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from etl.publish.catalog import CatalogEntry, id_hash, parse_rows, row_lines
from etl.publish.manifest import ChangeCounts, Changes, Shard, total
from etl.publish.reader import Release, open_index
from etl.publish.search_index import Index
from etl.storage.parallel import map_concurrently
from etl.storage.port import Store

Name = tuple[str, str]
"""Type and id of a resource."""

State = tuple[str, str]
"""Version and time of a resource."""


@dataclass(frozen=True, slots=True)
class UnitChange:
    """Changes to one patient, or to one shard of the directory.

    Attributes:
        old_entry: its row before; None if there was none.
        new_entry: its row after.
        new_index: its index after; None if it has no block.
        added: resources that are new.
        changed: resources with another content or time.
        retracted: resources that are gone.
    """

    old_entry: CatalogEntry | None
    new_entry: CatalogEntry | None
    new_index: Index | None
    added: Sequence[Name]
    changed: Sequence[Name]
    retracted: Sequence[Name]

    def tally(self) -> Changes:
        """Return the change as counts."""
        counts_by_type: dict[str, list[int]] = {}
        for index, names in enumerate((self.added, self.changed, self.retracted)):
            for resource_type, _ in names:
                counts_by_type.setdefault(resource_type, [0, 0, 0])[index] += 1
        existed_before = self.old_entry is not None and self.old_entry.block is not None
        exists_after = self.new_entry is not None and self.new_entry.block is not None
        patients = ChangeCounts(
            added=int(exists_after and not existed_before),
            changed=int(exists_after and existed_before),
            retracted=int(existed_before and not exists_after),
        )
        return Changes(
            patients,
            {
                resource_type: ChangeCounts(*counts)
                for resource_type, counts in counts_by_type.items()
            },
        )


def compare(earlier: Release | None, later: Release) -> Changes:
    """Count the changes between two releases: patients touched, resources by type.

    Reads only objects that the releases do not share. If `earlier` is None, everything is added.

    Raises:
        StoreError: an object of either release is missing or damaged.
    """
    changes = [total(unit.tally() for unit in diff_patients(earlier, later))]
    shards = diff_directory(earlier, later)
    changes += [Changes(resources=unit.tally().resources) for unit in shards]
    return total(changes)


def diff_patients(earlier: Release | None, later: Release) -> Iterator[UnitChange]:
    """Yield every patient whose catalog row differs, ordered by ID hash.

    Args:
        earlier: the earlier release; None for all patients of the later one.
        later: the later release.
    """
    yield from _diff_entries(later.store, changed_rows(earlier, later))


def diff_directory(earlier: Release | None, later: Release) -> Iterator[UnitChange]:
    """Yield the changes to the directory, by shard of the later release."""
    old_shards = earlier.manifest.directory if earlier is not None else ()
    new_shards = later.manifest.directory
    if len(old_shards) in (0, len(new_shards)):
        pairs = zip(old_shards or [None] * len(new_shards), new_shards, strict=True)
        yield from _diff_entries(later.store, (pair for pair in pairs if pair[0] != pair[1]))
        return
    yield from _diff_resharded(later.store, old_shards, new_shards)


def changed_rows(
    earlier: Release | None, later: Release
) -> Iterator[tuple[CatalogEntry | None, CatalogEntry | None]]:
    """Yield both catalog rows of each patient whose row differs, by shard."""
    bits = later.manifest.catalog_bits
    shared_bits = bits if earlier is None else min(bits, earlier.manifest.catalog_bits)
    for slice_number in range(1 << shared_bits):
        old_shards = _shards_in_range(earlier, shared_bits, slice_number)
        new_shards = _shards_in_range(later, shared_bits, slice_number)
        if old_shards == new_shards:
            continue
        old_lines, new_lines = _row_lines(earlier, old_shards), _row_lines(later, new_shards)
        # Most rows are unchanged; parsing them would be most of the work.
        old_entries = _parse_entries(earlier, old_lines - new_lines)
        new_entries = _parse_entries(later, new_lines - old_lines)
        for unit_id in sorted(old_entries.keys() | new_entries.keys(), key=id_hash):
            pair = (old_entries.get(unit_id), new_entries.get(unit_id))
            if pair[0] != pair[1]:
                yield pair


def _shards_in_range(release: Release | None, shared_bits: int, slice_number: int) -> list[Shard]:
    """Return the shards that share the first bits of their numbers."""
    if release is None:
        return []
    extra_bits = release.manifest.catalog_bits - shared_bits
    shards = release.manifest.catalog[slice_number << extra_bits : (slice_number + 1) << extra_bits]
    return [shard for shard in shards if shard is not None]


def _row_lines(release: Release | None, shards: Iterable[Shard]) -> frozenset[bytes]:
    """Return the unparsed rows of some shards."""
    if release is None:
        return frozenset()
    return frozenset().union(*(row_lines(release.shard_bytes(shard)) for shard in shards))


def _parse_entries(release: Release | None, lines: Iterable[bytes]) -> dict[str, CatalogEntry]:
    if release is None:
        return {}
    catalog_name = f"{release.store.name}: the catalog of {release.id}"
    return {unit.id: unit for unit in parse_rows(lines, catalog_name)}


def _diff_entries(
    store: Store, pairs: Iterable[tuple[CatalogEntry | None, CatalogEntry | None]]
) -> Iterator[UnitChange]:
    """Compare pairs of catalog entries by their indexes."""

    def diff_pair(pair: tuple[CatalogEntry | None, CatalogEntry | None]) -> UnitChange:
        old_index, new_index = (_open_live_index(store, unit) for unit in pair)
        return _build_change(pair[0], pair[1], _resource_states(old_index), new_index)

    yield from map_concurrently(store, diff_pair, pairs)


def _diff_resharded(
    store: Store, shards: Sequence[CatalogEntry | None], new_shards: Sequence[CatalogEntry | None]
) -> Iterator[UnitChange]:
    """Compare directories with different numbers of shards, resource by resource."""
    unmatched: dict[Name, State] = {}
    for entry in shards:
        unmatched.update(_resource_states(_open_live_index(store, entry)))
    for entry in new_shards:
        index = _open_live_index(store, entry)
        old_states = {
            name: unmatched.pop(name) for name in _resource_states(index) if name in unmatched
        }
        yield _build_change(None, entry, old_states, index)
    yield UnitChange(None, None, None, (), (), sorted(unmatched))


def _open_live_index(store: Store, unit: CatalogEntry | None) -> Index | None:
    return open_index(store, unit) if unit is not None and unit.block is not None else None


def _resource_states(index: Index | None) -> dict[Name, State]:
    """Return version and time of each resource in an index."""
    if index is None:
        return {}
    index.load("ids", "versions", "lastUpdated")
    # Read each column once: looking up single rows would cost more than everything else.
    ids, versions = index.ids, index.versions
    stamps, numbers = index.last_updated.values, index.last_updated.rows
    return {
        (name, ids[row]): (versions[row], stamps[numbers[row][0]])
        for name, rows in index.types.items()
        for row in rows
    }


def _build_change(
    old_entry: CatalogEntry | None,
    new_entry: CatalogEntry | None,
    old_states: Mapping[Name, State],
    new_index: Index | None,
) -> UnitChange:
    new_states = _resource_states(new_index)
    added = [name for name in new_states if name not in old_states]
    changed = [name for name, state in new_states.items() if old_states.get(name, state) != state]
    retracted = [name for name in old_states if name not in new_states]
    return UnitChange(old_entry, new_entry, new_index, added, changed, retracted)
