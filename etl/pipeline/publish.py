"""The nightly use: an extract into a release of the published tree."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from etl.engine.partition_columns import Partition
from etl.engine.render import Rendered
from etl.mapping.plan import Plan
from etl.pipeline.attempt import own_folder
from etl.pipeline.definitions import Definitions
from etl.pipeline.dry import DryStore
from etl.pipeline.executor import OpenSink
from etl.pipeline.partition.directory import mapped_directory
from etl.pipeline.partition.providers import with_listing
from etl.pipeline.process import Settled
from etl.publish.directory import DirectoryResult, write_directory
from etl.publish.lease import Lease
from etl.publish.manifest import Manifest, Named, ReleaseFacts
from etl.publish.partition_writer import SavedPartition, write_partition
from etl.publish.reader import Current, open_release
from etl.publish.release import assemble, commit
from etl.publish.rendered_resources import PatientResources, Resource
from etl.storage.open_store import open_store
from etl.storage.port import Store, StoreOptions

PARTS: Final = "published"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a run publishes, as any process can open it.

    Attributes:
        name: a folder, or `s3://bucket/prefix`.
        options: settings of the store.
        release: id of the release that the run started from; None before the first.
        now: FHIR instant of the run.
        stamp: FHIR instant for resources that state none; `now` where empty.
        dry: whether nothing is to be written.
        lost: ids of patients whose block or index is not in the store any more.
    """

    name: str
    options: StoreOptions
    release: str | None
    now: str
    stamp: str = ""
    dry: bool = False
    lost: frozenset[str] = frozenset()

    def store(self) -> Store:
        """Return the store."""
        store = open_store(self.name, self.options)
        return DryStore(store) if self.dry else store


@dataclass
class BlockSink:
    """Publishes the patients of one partition.

    Attributes:
        folder: where the results of all partitions are kept.
        target: where to publish.
        index: number of the partition.
    """

    folder: Path
    target: Target
    index: int
    _made: list[Rendered] = field(default_factory=list)
    _kept: list[str] = field(default_factory=list)

    def take(self, plan: Plan, made: list[Rendered], partition: Partition) -> None:
        """Keep what a plan made until all plans have run."""
        del plan, partition
        self._made += made

    def keep(self, patients: Sequence[str]) -> None:
        """Take note of patients whose blocks stay as they are."""
        self._kept += patients

    def finish(self) -> tuple[Path, ...]:
        """Write the blocks, and keep the result in a file, which is returned."""
        store = self.target.store()
        patients = _by_patient(self._made)
        previous: Mapping[str, Any] = {}
        if self.target.release is not None:
            release = open_release(store, self.target.release)
            previous = release.units(patients)
        made = (
            PatientResources(patient, list(_resources(places, self._made)))
            for patient, places in patients.items()
        )
        target = self.target
        result = write_partition(
            store, previous, made, target.now, stamp=target.stamp, lost=target.lost
        )
        saved = result.keeping(self._kept).save(_saved(self.folder, self.index))
        self._made.clear()
        self._kept.clear()
        return (saved.path,)


def _saved(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.ndjson"


def open_block_sink(folder: Path, target: Target) -> OpenSink:
    """Return what opens the sink of each partition; can be sent to another process."""
    return partial(BlockSink, own_folder(folder / PARTS), target)


def _by_patient(made: Sequence[Rendered]) -> dict[str, list[tuple[int, int]]]:
    """Return, for each patient, which of the runs' resources are his: (run, position)."""
    patients: dict[str, list[tuple[int, int]]] = {}
    for number, run in enumerate(made):
        for at, patient in enumerate(run.compartments.to_pylist()):
            patients.setdefault(patient, []).append((number, at))
    return patients


def _resources(places: Sequence[tuple[int, int]], made: Sequence[Rendered]) -> Iterator[Resource]:
    for number, at in places:
        yield _resource(made[number], at)


def _resource(run: Rendered, at: int) -> Resource:
    stamp = run.last_updated[at].as_py()
    return Resource(
        type=run.plan.resource,
        id=run.ids[at].as_py(),
        body=_bytes_of(run.bodies, at),
        last_updated=stamp,
        search=_bytes_of(run.searches, at),
    )


def _bytes_of(column: pa.StringArray, at: int) -> bytes:
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int32, count=2, offset=4 * (column.offset + at))
    return bytes(memoryview(data)[bounds[0] : bounds[1]])


@dataclass(frozen=True, slots=True)
class Staged:
    """A release that is written, and that readers do not see yet.

    Attributes:
        manifest: the release.
        resources: FHIR type of the shared directory -> how many.
        objects: how many objects were written.
        bytes: their size together.
    """

    manifest: Manifest
    resources: Mapping[str, int]
    objects: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Published:
    """What a run published.

    Attributes:
        manifest: the release; what readers see now.
        previous: id of what they saw before; None for the first.
        objects: how many objects were written.
        bytes: their size together.
    """

    manifest: Manifest
    previous: str | None
    objects: int
    bytes: int


def stage(
    settled: Settled,
    definitions: Definitions,
    store: Store,
    base: Current,
    facts: ReleaseFacts,
    target: Target,
) -> Staged:
    """Write the shared directory and the catalog of a release, without bulk files."""
    now = target.now
    directory, made = _directory(settled, definitions, store, base, target)
    folder = settled.read.work / PARTS
    partitions = [SavedPartition(_saved(folder, number)) for number in settled.parts]
    manifest = assemble(store, base, partitions, directory, facts, now)
    written = [one.written for one in partitions]
    return Staged(
        manifest=manifest,
        resources=made,
        objects=sum(one.objects for one in written) + directory.objects,
        bytes=sum(one.bytes for one in written) + directory.bytes,
    )


def publish(
    staged: Staged,
    reports: Sequence[Named],
    store: Store,
    base: Current,
    lease: Lease | None = None,
) -> Published:
    """Make a staged release the one that readers see.

    Raises:
        CommitConflict: another run published first; nothing that readers see changed.
        StoreError: the lease ran out, and a prune broke it; nothing that readers see changed.
    """
    manifest = staged.manifest.with_reports(reports)
    commit(store, manifest, base, lease)
    previous = base.release.id if base.release is not None else None
    return Published(manifest, previous, staged.objects, staged.bytes)


def _directory(
    settled: Settled, definitions: Definitions, store: Store, base: Current, target: Target
) -> tuple[DirectoryResult, Mapping[str, int]]:
    made: list[Rendered] = []
    claimed = frozenset((one.resource, one.key) for one in settled.missing)

    def take(plan: Plan, runs: list[Rendered], partition: Partition) -> None:
        made.extend(with_listing(plan, run, partition, claimed) for run in runs)

    directory = mapped_directory(settled.providers, settled.missing, definitions, take)
    resources, lost = _Made(made), base.lost.shards
    written = write_directory(
        store, base.release, resources, target.now, stamp=target.stamp, lost=lost
    )
    return written, directory.resources


class _Made:
    """The resources of some runs, each made when it is asked for (`publish.resources.Resources`).

    Args:
        runs: all of them.
    """

    def __init__(self, runs: Sequence[Rendered]) -> None:
        self._runs = runs
        self._ends = list(accumulate(len(run.ids) for run in runs))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, at: int) -> Resource:
        number = bisect_right(self._ends, at)
        run = self._runs[number]
        return _resource(run, at - self._ends[number] + len(run.ids))


def as_instant(moment: datetime) -> str:
    """Return a moment as a FHIR instant, to the second, in UTC."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
