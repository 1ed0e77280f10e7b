"""Bulk files by resource type, as HL7's Bulk Publish serves them.

Every release has an increment: what was added, changed or deleted since its parent. Some releases
also have a snapshot of all resources: the first one, and later ones when increments since the last
snapshot are many or large. So the nightly cost is proportional to the changes. A part of a block is
copied without decompressing it if all its resources are needed.

A provider directory has a snapshot with every release, split so that most files do not change from
night to night, and Plan Finder files (`directory_files`).

The files are named by the release's manifest; `bulk_pages` makes the pages that consumers read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Final

from etl.jobs import ALONE, EmitAny, JobRunner, no_event
from etl.publish.block import rank
from etl.publish.bulk_files import BulkFiles, BulkOptions, sort_files
from etl.publish.canonical_json import JSON, dumps
from etl.publish.catalog import CatalogEntry, parse_shard
from etl.publish.diff import Name, UnitChange, diff_directory, diff_patients
from etl.publish.kept_objects import read_verified, to_bytes
from etl.publish.manifest import Changes, Manifest, Shard
from etl.publish.reader import PreviousRelease, Release, lines_of, open_index, read_parts
from etl.publish.search_index import BlockPart, Index
from etl.storage.parallel import Writer, map_concurrently
from etl.storage.port import Store

_DELETES: Final = 100
"""Deleted resources of one Bundle, which is one line."""
_FILES: Final = 4
"""Files that the blocks of a job make, if all their resources are of one type."""


@dataclass(frozen=True, slots=True)
class ParallelReading:
    """Processes that read a target together.

    Attributes:
        runner: the processes.
        open_store: gives the target in any of them; called for each job.
        planned: called with the number of resources that are to be copied, before they are.
        copied: called with the number of resources that were.
        reuses: whether files of a directory that would be the same again are taken over.
    """

    runner: JobRunner
    open_store: Callable[[], Store]
    planned: Callable[[int], None] = lambda _: None
    copied: Callable[[int], None] = lambda _: None
    reuses: bool = True


def with_bulk(
    store: Store,
    previous: PreviousRelease,
    manifest: Manifest,
    options: BulkOptions | None = None,
    reading: ParallelReading | None = None,
) -> Manifest:
    """Write the bulk files of an assembled release that is not committed yet.

    Args:
        store: the target.
        previous: result of `open_current` when the run began. If it has lost objects, a new
            snapshot starts without a link from the previous one.
        manifest: result of `assemble` or `plan_rollback`.
        options: limits and sizes.
        reading: processes that read the blocks of a snapshot; None to read in this process.

    Returns:
        The manifest with its bulk files, and with a new ID.

    Raises:
        StoreError: storage failed. Nothing that a reader sees was changed.
    """
    options = options or BulkOptions()
    release = Release(store, manifest)
    previous_manifest = previous.release.manifest if previous.release is not None else None
    previous_bulk = previous_manifest.bulk if previous_manifest is not None else {}
    reading = reading or ParallelReading(ALONE, lambda: store)
    if not manifest.subject.model.has_members:
        return _with_directory_files(release, previous, previous_bulk, options, reading)
    if previous.lost_objects:  # the previous content cannot be compared: consumers start again
        previous_bulk = {}
    increment: JSON = None
    chain: list[JSON] = []
    snapshot: JSON = previous_bulk.get("snapshot")
    with Writer(store) as writer:
        if previous.release is not None and snapshot is not None:
            increment = _write_increment(writer, previous.release, release, options, reading)
            chain = [*_named_chain(previous_bulk, previous.release.id), increment]
        if snapshot is None or _is_due(snapshot, chain, options):
            snapshot = {
                "time": manifest.created,
                "after": manifest.parent,
                "output": _write_snapshot(release, options, reading),
            }
            chain = []
    store.sync()
    bulk = {"snapshot": snapshot, "increments": chain, "increment": increment}
    return replace(manifest, bulk=bulk).named(previous_manifest)


def _with_directory_files(
    release: Release,
    previous: PreviousRelease,
    bulk: JSON,
    options: BulkOptions,
    reading: ParallelReading,
) -> Manifest:
    """Write the bulk files of a directory; return its manifest with them and their inputs named."""
    from etl.publish import directory_files  # claims do without it

    store, manifest = release.store, release.manifest
    previous_manifest = previous.release.manifest if previous.release is not None else None
    count = sum(manifest.counts["resources"].values())
    reading.planned(count)
    reusable = directory_files.KnownFiles(store)
    if previous.release is not None and reading.reuses:
        reusable = directory_files.KnownFiles.from_release(previous.release)
    with Writer(store) as writer:
        files = directory_files.write_directory_files(writer, release, bulk, reusable, options)
    inputs = release.tree.write(directory_files.FILE_INPUTS, to_bytes(files.inputs))
    reading.copied(count)
    store.sync()
    other_reports = [
        ref for ref in manifest.facts.reports if not directory_files.FILE_INPUTS.matches(ref)
    ]
    facts = replace(manifest.facts, reports=[*other_reports, inputs])
    return replace(manifest, facts=facts, bulk=files.bulk).named(previous_manifest)


def _named_chain(bulk: Mapping[str, JSON], release: str) -> list[JSON]:
    """Return the increments since the last snapshot, with their releases.

    A release's own increment goes into its id, so only later releases can name the release of it.
    """
    return [{"release": release, **increment} for increment in bulk["increments"]]


def _is_due(snapshot: JSON, chain: Sequence[JSON], options: BulkOptions) -> bool:
    growth = sum(_size(increment["output"]) + _size(increment["deleted"]) for increment in chain)
    return len(chain) >= options.snapshot_every or growth > options.snapshot_share * _size(
        snapshot["output"]
    )


def _size(files: Sequence[Mapping[str, JSON]]) -> int:
    return sum(file["bytes"] for file in files)


def _write_snapshot(release: Release, options: BulkOptions, reading: ParallelReading) -> list[JSON]:
    """Write files of all resources; each process writes those of some shards."""
    reading.planned(sum(release.manifest.counts["resources"].values()))
    write = partial(_write_shards, reading.open_store, options.file_bytes)
    files: list[JSON] = []
    for job_files in reading.runner.run_each(write, _group_shards(release, options), no_event):
        files += job_files
        reading.copied(sum(file["count"] for file in job_files))
    directory = [unit for unit in release.manifest.directory if unit is not None]
    directory_files = _write_units(release.store, options.file_bytes, directory)
    reading.copied(sum(file["count"] for file in directory_files))
    return sort_files(files + directory_files)


def _group_shards(release: Release, options: BulkOptions) -> Iterator[tuple[Shard, ...]]:
    """Group catalog shards so that each group's blocks fill some files."""
    group, group_bytes = list[Shard](), 0
    for number, shard in enumerate(release.manifest.catalog):
        if shard is None:
            continue
        group.append(shard)
        group_bytes += sum(unit.bytes for unit in release.units_of(number))
        if group_bytes >= _FILES * options.file_bytes:
            yield tuple(group)
            group, group_bytes = [], 0
    yield tuple(group)


def _write_shards(
    open_store: Callable[[], Store], file_bytes: int, shards: Sequence[Shard], emit: EmitAny
) -> list[JSON]:
    """Write the files of some catalog shards, in any process."""
    del emit
    store = open_store()
    units = (
        parse_shard(read_verified(store, shard.key, shard.sha256), shard.key) for shard in shards
    )
    return _write_units(store, file_bytes, chain.from_iterable(units))


def _write_units(store: Store, file_bytes: int, units: Iterable[CatalogEntry]) -> list[JSON]:
    with Writer(store) as writer:
        files = BulkFiles(writer, file_bytes)
        for parts in map_concurrently(store, partial(_copy_parts, store), units):
            for name, data, count in parts:
                files.add(name, data, count)
        written = files.finish()
    store.sync()
    return written


def _copy_parts(store: Store, unit: CatalogEntry) -> list[tuple[str, bytes, int]]:
    """Return the compressed parts of a block, with types and resource counts."""
    if unit.block is None:
        return []
    data = memoryview(read_verified(store, unit.block))  # never copy what is damaged
    index = open_index(store, unit)
    types = {rows.start: resource_type for resource_type, rows in index.types.items()}
    parts, resource_type = [], ""
    for part in index.parts:
        resource_type = types.get(part.first, resource_type)
        if part.rows:
            parts.append(
                (resource_type, bytes(data[part.offset : part.offset + part.length]), part.rows)
            )
    return parts


def _write_increment(
    writer: Writer,
    earlier: Release,
    later: Release,
    options: BulkOptions,
    reading: ParallelReading,
) -> JSON:
    changes = Changes.from_json(later.manifest.counts["changes"])
    reading.planned(
        sum(
            type_changes.added + type_changes.changed for type_changes in changes.resources.values()
        )
    )
    present: set[Name] = set()
    retracted: list[Name] = []

    def read_change(change: UnitChange) -> tuple[UnitChange, list[tuple[str, bytes, int, bool]]]:
        return change, list(_changed_parts(later.store, change))

    files = BulkFiles(writer, options.file_bytes)
    for unit_changes in (diff_patients(earlier, later), diff_directory(earlier, later)):
        for change, parts in map_concurrently(later.store, read_change, unit_changes):
            present.update(change.added)
            retracted += change.retracted
            for name, data, count, is_compressed in parts:
                if is_compressed:
                    files.add(name, data, count)
                else:
                    files.add_lines(name, data, count)
            reading.copied(sum(count for _, _, count, _ in parts))
    # Consumers delete after they have inserted, so what moved to another member is no deletion.
    deleted_names = sorted(set(retracted) - present, key=lambda name: (rank(name[0]), name[1]))
    return {
        "time": later.manifest.created,
        "output": files.finish(),
        "deleted": _write_deletions(writer, deleted_names, options),
    }


def _changed_parts(store: Store, change: UnitChange) -> Iterator[tuple[str, bytes, int, bool]]:
    """Yield type, bytes, number of resources, and whether the bytes are compressed."""
    index = change.new_index
    if index is None:
        return
    wanted_rows = _find_rows(index, {*change.added, *change.changed})
    types = {row: name for name, rows in index.types.items() for row in rows}
    parts = [part for part in index.parts if any(row in wanted_rows for row in _part_rows(part))]
    for part, data in read_parts(store, index, parts):
        lines = lines_of(store, index, part, data)
        rows = [row for row in _part_rows(part) if row in wanted_rows]
        if len(rows) == part.rows:
            yield types[part.first], bytes(data), part.rows, True
        else:
            text = b"".join(lines[row - part.first] + b"\n" for row in rows)
            yield types[part.first], text, len(rows), False


def _part_rows(part: BlockPart) -> range:
    return range(part.first, part.first + part.rows)


def _find_rows(index: Index, names: set[Name]) -> set[int]:
    return {
        row for kind, rows in index.types.items() for row in rows if (kind, index.ids[row]) in names
    }


def _write_deletions(writer: Writer, deleted: Sequence[Name], options: BulkOptions) -> list[JSON]:
    files = BulkFiles(writer, options.file_bytes)
    for start in range(0, len(deleted), _DELETES):
        names = deleted[start : start + _DELETES]
        entry = [{"request": {"method": "DELETE", "url": "/".join(name)}} for name in names]
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entry}
        files.add_lines("", dumps(bundle) + b"\n", len(names))
    return [{name: entry[name] for name in entry if name != "type"} for entry in files.finish()]
