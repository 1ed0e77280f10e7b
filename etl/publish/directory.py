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
        shards: the shards by number; None where no resource is in it.
        changes: counts of resources against the release that the run started from.
        segments: the segments of its columns by number; empty where none were asked for.
    """

    bits: int
    shards: Sequence[CatalogEntry | None]
    changes: Changes
    segments: Sequence[SegmentEntry | None] = ()


def write_directory(
    store: Store,
    previous: Release | None,
    resources: Resources,
    now: str,
    *,
    stamp: str = "",
    lost: LostObjects = NOTHING_LOST,
    columns: bool = False,
) -> DirectoryResult:
    """Publish the directory: what is not handed in is retracted.

    Args:
        store: the target.
        previous: the release that the run started from.
        resources: all of them, in any order. Those of one shard are held together.
        now: FHIR instant of the run.
        stamp: FHIR instant for resources that state none; `now` where empty.
        lost: shards and segments that are not in the store any more.
        columns: whether to write columns of the whole.

    Raises:
        StoreError: storage failed. Nothing that a reader sees was changed.
    """
    before = previous.manifest if previous is not None else None
    bits = choose_shard_bits(
        len(resources), before.directory_bits if before else None, DIRECTORY_TARGET
    )
    # Resources by shard, by position: they are rendered only when their shard is written.
    by_shard: dict[int, list[int]] = {}
    for position in range(len(resources)):
        resource = resources[position]
        by_shard.setdefault(_shard(resource.type, resource.id, bits), []).append(position)
    # Previous content, by the new shards where their number has changed.
    moved: Mapping[int, PreviousUnit] | None = None
    old: Sequence[CatalogEntry | None] = [None] * (1 << bits)
    if before is not None and before.directory_bits == bits:
        old = before.directory
    elif before is not None:
        moved = _moved(store, before.directory, bits, lost.shards)
    shards: list[CatalogEntry | None] = []
    changes: list[Changes] = []
    # A shard is written where it has resources, or had some.
    with Writer(store) as writer:
        for number, unit in enumerate(old):
            positions = by_shard.get(number, ())
            here = [to_line(resources[position], stamp or now) for position in positions]
            was = moved.get(number) if moved is not None else None
            if here or unit is not None or was is not None:
                unit, change = write_unit(
                    store,
                    writer,
                    Owner.shard(number),
                    here,
                    unit,
                    now,
                    previous_content=was,
                    is_lost=moved is None and number in lost.shards,
                )
                changes.append(change)
            shards.append(unit)
    segments: Sequence[SegmentEntry | None] = ()
    if columns:
        with Writer(store) as further:
            segments = write_segments(
                shards,
                before.directory if before else (),
                before.segments if before else (),
                lost.segments,
                partial(open_index, store),
                further.put,
            )
    store.sync()
    counted = Changes(resources=total(changes).resources)
    return DirectoryResult(bits, shards, counted, segments)


def _shard(resource_type: str, resource_id: str, bits: int) -> int:
    return shard_number(f"{resource_type}/{resource_id}", bits)


def _moved(
    store: Store, shards: Iterable[CatalogEntry | None], bits: int, lost: AbstractSet[int]
) -> Mapping[int, PreviousUnit]:
    """Return what the directory held, by the shards of another number of bits."""
    previous: dict[int, dict[tuple[str, str], tuple[str, str, bool]]] = {}
    gone: dict[int, list[DeletedResource]] = {}
    for at, unit in enumerate(shards):
        before = (
            recover_previous_unit(store, unit) if at in lost else read_previous_unit(store, unit)
        )
        for (name, resource_id), state in before.known.items():
            previous.setdefault(_shard(name, resource_id, bits), {})[name, resource_id] = state
        for retracted in before.gone:
            gone.setdefault(_shard(retracted.type, retracted.id, bits), []).append(retracted)
    numbers = previous.keys() | gone.keys()
    return {
        number: PreviousUnit(previous.get(number, {}), gone.get(number, ())) for number in numbers
    }
