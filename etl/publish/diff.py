"""Differences between two releases: patients, resources, money."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from etl.publish.catalog import CatalogEntry, parse_rows, place, row_lines
from etl.publish.manifest import ChangeCounts, Changes, Shard, total
from etl.publish.reader import Release, open_index
from etl.publish.search_index import Index
from etl.storage.parallel import mapped
from etl.storage.port import Store

Name = tuple[str, str]
"""Type and id of a resource."""

State = tuple[str, str]
"""Version and time of a resource."""


@dataclass(frozen=True, slots=True)
class UnitChange:
    """Changes to one patient, or to one shard of the directory.

    Attributes:
        before: its row before; None where there was none.
        after: its row after.
        new: its index after; None where it has no block.
        added: resources that are new.
        changed: resources with another content or time.
        retracted: resources that are gone.
    """

    before: CatalogEntry | None
    after: CatalogEntry | None
    new: Index | None
    added: Sequence[Name]
    changed: Sequence[Name]
    retracted: Sequence[Name]

    def tally(self) -> Changes:
        """Return the change as counts."""
        found: dict[str, list[int]] = {}
        for index, names in enumerate((self.added, self.changed, self.retracted)):
            for name, _ in names:
                found.setdefault(name, [0, 0, 0])[index] += 1
        was = self.before is not None and self.before.block is not None
        now = self.after is not None and self.after.block is not None
        patients = ChangeCounts(
            added=int(now and not was), changed=int(now and was), retracted=int(was and not now)
        )
        return Changes(patients, {name: ChangeCounts(*counts) for name, counts in found.items()})


def compare(before: Release, after: Release) -> Changes:
    """Return what differs between two releases of a tree: patients touched, resources by type.

    Only what the two do not share is read.

    Raises:
        StoreError: something of them is missing or damaged.
    """
    changes = [total(unit.tally() for unit in changed_patients(before, after))]
    changes += [
        Changes(resources=unit.tally().resources) for unit in changed_directory(before, after)
    ]
    return total(changes)


def changed_patients(before: Release | None, after: Release) -> Iterator[UnitChange]:
    """Yield every patient whose row differs, ordered by place.

    Args:
        before: the earlier release; None for all patients of the later one.
        after: the later release.
    """
    yield from _compared(after.store, changed_rows(before, after))


def changed_directory(before: Release | None, after: Release) -> Iterator[UnitChange]:
    """Yield what changed in the directory, shard by shard of the later release."""
    old = before.manifest.directory if before is not None else ()
    new = after.manifest.directory
    if len(old) in (0, len(new)):
        pairs = zip(old or [None] * len(new), new, strict=True)
        yield from _compared(after.store, ((a, b) for a, b in pairs if a != b))
        return
    yield from _resharded(after.store, old, new)


def changed_rows(
    before: Release | None, after: Release
) -> Iterator[tuple[CatalogEntry | None, CatalogEntry | None]]:
    """Yield the catalog rows of every patient whose row differs, ordered by shard and place."""
    bits = after.manifest.catalog_bits
    coarse = bits if before is None else min(bits, before.manifest.catalog_bits)
    for number in range(1 << coarse):
        old_shards = _slice(before, coarse, number)
        new_shards = _slice(after, coarse, number)
        if old_shards == new_shards:
            continue
        old_lines, new_lines = _lines(before, old_shards), _lines(after, new_shards)
        # Most rows are unchanged; parsing them would be most of the work.
        old = _parsed(before, old_lines - new_lines)
        new = _parsed(after, new_lines - old_lines)
        for unit_id in sorted(old.keys() | new.keys(), key=place):
            pair = (old.get(unit_id), new.get(unit_id))
            if pair[0] != pair[1]:
                yield pair


def _slice(release: Release | None, coarse: int, number: int) -> list[Shard]:
    if release is None:
        return []
    more = release.manifest.catalog_bits - coarse
    shards = release.manifest.catalog[number << more : (number + 1) << more]
    return [shard for shard in shards if shard is not None]


def _lines(release: Release | None, shards: Iterable[Shard]) -> frozenset[bytes]:
    if release is None:
        return frozenset()
    return frozenset().union(*(row_lines(release.shard_bytes(shard)) for shard in shards))


def _parsed(release: Release | None, lines: Iterable[bytes]) -> dict[str, CatalogEntry]:
    if release is None:
        return {}
    what = f"{release.store.name}: the catalog of {release.id}"
    return {unit.id: unit for unit in parse_rows(lines, what)}


def _compared(
    store: Store, pairs: Iterable[tuple[CatalogEntry | None, CatalogEntry | None]]
) -> Iterator[UnitChange]:
    def one(pair: tuple[CatalogEntry | None, CatalogEntry | None]) -> UnitChange:
        old, new = (_live_index(store, unit) for unit in pair)
        return _change(pair[0], pair[1], _states(old), new)

    yield from mapped(store, one, pairs)


def _resharded(
    store: Store, old: Sequence[CatalogEntry | None], new: Sequence[CatalogEntry | None]
) -> Iterator[UnitChange]:
    left: dict[Name, State] = {}
    for unit in old:
        left.update(_states(_live_index(store, unit)))
    for unit in new:
        index = _live_index(store, unit)
        here = {name: left.pop(name) for name in _states(index) if name in left}
        yield _change(None, unit, here, index)
    yield UnitChange(None, None, None, (), (), sorted(left))


def _live_index(store: Store, unit: CatalogEntry | None) -> Index | None:
    return open_index(store, unit) if unit is not None and unit.block is not None else None


def _states(index: Index | None) -> dict[Name, State]:
    if index is None:
        return {}
    index.load("ids", "versions", "lastUpdated")
    # Each column is taken out once: asking the index for each row would cost more than the rest.
    ids, versions = index.ids, index.versions
    stamps, numbers = index.last_updated.values, index.last_updated.rows
    return {
        (name, ids[row]): (versions[row], stamps[numbers[row][0]])
        for name, rows in index.types.items()
        for row in rows
    }


def _change(
    before: CatalogEntry | None,
    after: CatalogEntry | None,
    old: Mapping[Name, State],
    new: Index | None,
) -> UnitChange:
    states = _states(new)
    added = [name for name in states if name not in old]
    changed = [name for name, state in states.items() if old.get(name, state) != state]
    retracted = [name for name in old if name not in states]
    return UnitChange(before, after, new, added, changed, retracted)
