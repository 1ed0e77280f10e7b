"""The shared directory: organizations, practitioners, their roles and locations, in shards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial

from etl.publish.block import Resources
from etl.publish.catalog import DIRECTORY_TARGET, CatalogEntry, choose_shard_bits, shard_number
from etl.publish.manifest import Changes, total
from etl.publish.reader import NOTHING_LOST, LostObjects, Release, open_index
from etl.publish.search_index import DeletedResource
from etl.publish.segments import SegmentEntry, write_segments
from etl.publish.unit_writer import (
    Owner,
    PreviousUnit,
    read_previous_unit,
    recover_previous_unit,
    to_line,
    write_unit,
)
from etl.storage.parallel import Writer
from etl.storage.port import Store


@dataclass(frozen=True, slots=True)
class DirectoryResult:
    """The directory of a release.

    Attributes:
        bits: how many bits of the place of `Type/id` number a shard.
        shards: the shards by number; None if no resource is in it.
        changes: counts of resources against the release that the run started from.
        segments: the segments of its columns by number; empty if none were asked for.
    """

    bits: int
    shards: Sequence[CatalogEntry | None]
    changes: Changes
    segments: Sequence[SegmentEntry | None] = ()


def write_directory(
    store: Store,
    previous: Release | None,
    resources: Resources,
    run_time: str,
    *,
    stamp: str = "",
    lost: LostObjects = NOTHING_LOST,
    columns: bool = False,
) -> DirectoryResult:
    """Publish the provider directory; resources not handed in are retracted.

    Args:
        store: the target.
        previous: the release that the run started from.
        resources: all of them, in any order. Those of one shard are held together.
        run_time: FHIR instant of the run.
        stamp: FHIR instant for resources that state none; `run_time` where empty.
        lost: shards and segments that are not in the store any more.
        columns: whether to write columns of the whole.

    Raises:
        StoreError: storage failed. Nothing that a reader sees was changed.
    """
    parent = previous.manifest if previous is not None else None
    bits = choose_shard_bits(
        len(resources), parent.directory_bits if parent else None, DIRECTORY_TARGET
    )
    # Group positions by shard: resources are rendered only when their shard is written.
    by_shard: dict[int, list[int]] = {}
    for position in range(len(resources)):
        resource = resources[position]
        by_shard.setdefault(_shard_of(resource.type, resource.id, bits), []).append(position)
    # Previous content, regrouped by the new shards if their number has changed.
    resharded_units: Mapping[int, PreviousUnit] | None = None
    previous_units: Sequence[CatalogEntry | None] = [None] * (1 << bits)
    if parent is not None and parent.directory_bits == bits:
        previous_units = parent.directory
    elif parent is not None:
        resharded_units = _reshard_previous(store, parent.directory, bits, lost.shards)
    shards: list[CatalogEntry | None] = []
    changes: list[Changes] = []
    # Write a shard if it has resources, or had some.
    with Writer(store) as writer:
        for number, unit in enumerate(previous_units):
            positions = by_shard.get(number, ())
            shard_lines = [to_line(resources[at], stamp or run_time) for at in positions]
            earlier = resharded_units.get(number) if resharded_units is not None else None
            if shard_lines or unit is not None or earlier is not None:
                unit, change = write_unit(
                    store,
                    writer,
                    Owner.shard(number),
                    shard_lines,
                    unit,
                    run_time,
                    earlier=earlier,
                    is_lost=resharded_units is None and number in lost.shards,
                )
                changes.append(change)
            shards.append(unit)
    segments: Sequence[SegmentEntry | None] = ()
    if columns:
        with Writer(store) as segment_writer:
            segments = write_segments(
                shards,
                parent.directory if parent else (),
                parent.segments if parent else (),
                lost.segments,
                partial(open_index, store),
                segment_writer.put,
            )
    store.sync()
    resource_changes = Changes(resources=total(changes).resources)
    return DirectoryResult(bits, shards, resource_changes, segments)


def _shard_of(resource_type: str, resource_id: str, bits: int) -> int:
    return shard_number(f"{resource_type}/{resource_id}", bits)


def _reshard_previous(
    store: Store, shards: Iterable[CatalogEntry | None], bits: int, lost: AbstractSet[int]
) -> Mapping[int, PreviousUnit]:
    """Return the directory's previous content by the shards of another bit count."""
    states: dict[int, dict[tuple[str, str], tuple[str, str, bool]]] = {}
    deleted: dict[int, list[DeletedResource]] = {}
    for index, unit in enumerate(shards):
        content = (
            recover_previous_unit(store, unit) if index in lost else read_previous_unit(store, unit)
        )
        for (name, resource_id), state in content.states.items():
            states.setdefault(_shard_of(name, resource_id, bits), {})[name, resource_id] = state
        for retracted in content.deleted:
            deleted.setdefault(_shard_of(retracted.type, retracted.id, bits), []).append(retracted)
    numbers = states.keys() | deleted.keys()
    return {at: PreviousUnit(states.get(at, {}), deleted.get(at, ())) for at in numbers}
