"""Write a release: blocks of patients, the shared directory, the catalog; then commit it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import Any, Final

import numpy as np
import pyarrow as pa

from etl.engine.element_counts import ElementCounts
from etl.engine.render import ResourceBatch
from etl.pipeline.certificate import PieceFiles, certify, public_verdict, verdict
from etl.pipeline.context import Chunks
from etl.pipeline.partition.mapping import PlanResources
from etl.pipeline.partition.providers import with_listing
from etl.pipeline.process import ProcessedExtract
from etl.pipeline.progress import Emit, StageAdvanced, StageExtended, ignore
from etl.publish.block import PatientResources, Resource
from etl.publish.canonical_json import instant
from etl.publish.manifest import Changes, Manifest, ReleaseFacts
from etl.publish.partition_writer import CATALOG_ROWS, SavedPartition, write_partition
from etl.publish.reader import PreviousRelease, Release, Tree
from etl.publish.writer import ReleaseWriter

_BATCH_STEPS: Final = 256
"""Steps that are reported together."""
_CLOCK_TOLERANCE: Final = timedelta(days=1)
"""A smaller difference of clocks does no harm: ages of releases count in days."""


@dataclass(frozen=True, slots=True)
class BlockOutput:
    """Writes the blocks of a task's patients; can be sent to another process.

    Attributes:
        release: ID of the release that the run builds on; None before the first.
        run_time: FHIR instant of the run.
        stamp: FHIR instant for resources that state none.
        lost_patients: IDs of patients whose block or index is missing from the store.
    """

    release: str | None
    run_time: str
    stamp: str
    lost_patients: tuple[str, ...]

    def __call__(
        self, resources: Sequence[PlanResources], kept_ids: Sequence[str], tree: Tree | None, /
    ) -> Mapping[str, Chunks]:
        """Write the blocks, and return the catalog entries."""
        if tree is None:
            raise AssertionError("blocks are written to a target")
        runs = [run for plan_resources in resources for run in plan_resources.runs]
        patients = _group_by_patient(runs)
        previous: Mapping[str, Any] = {}
        if self.release is not None:
            previous = tree.open_release(self.release).units(patients)
        columns = [_RunColumns.from_run(run) for run in runs]
        patient_resources = (
            PatientResources(patient, [columns[run].resource(index) for run, index in positions])
            for patient, positions in patients.items()
        )
        result = write_partition(
            tree.store,
            previous,
            patient_resources,
            self.run_time,
            default_time=self.stamp,
            lost_ids=frozenset(self.lost_patients),
        )
        return {CATALOG_ROWS: result.keeping(kept_ids).lines()}


def _group_by_patient(runs: Sequence[ResourceBatch]) -> dict[str, list[tuple[int, int]]]:
    """Return patient -> (run, position) of each resource."""
    patients: dict[str, list[tuple[int, int]]] = {}
    for run_number, run in enumerate(runs):
        for index, patient in enumerate(run.compartments.to_pylist()):
            patients.setdefault(patient, []).append((run_number, index))
    return patients


@dataclass(frozen=True, slots=True)
class _RunColumns:
    """The columns of a batch as Python values, converted once for all its resources.

    Attributes:
        type: FHIR type of the resources.
        ids: their logical IDs.
        last_updated: time that the source states; None if it states none.
        bodies: buffer of all bodies, and their offsets, with the end of the last one.
        searches: buffer and offsets of the search values.
    """

    type: str
    ids: list[str]
    last_updated: list[str | None]
    bodies: tuple[memoryview, list[int]]
    searches: tuple[memoryview, list[int]]

    @classmethod
    def from_run(cls, run: ResourceBatch) -> _RunColumns:
        return cls(
            run.plan.resource,
            run.ids.to_pylist(),
            run.last_updated.to_pylist(),
            _text_buffer(run.bodies),
            _text_buffer(run.searches),
        )

    def resource(self, index: int) -> Resource:
        return Resource(
            self.type,
            self.ids[index],
            _slice_text(self.bodies, index),
            self.last_updated[index],
            bytes(_slice_text(self.searches, index)),
        )


def _text_buffer(column: pa.StringArray) -> tuple[memoryview, list[int]]:
    """Return the buffer of a column without nulls, and the offsets of its texts in it."""
    _, offsets, data = column.buffers()
    if not len(column):
        return memoryview(b""), [0]
    bounds = np.frombuffer(offsets, np.int32, len(column) + 1, offset=4 * column.offset)
    return memoryview(data), bounds.tolist()


def _slice_text(texts: tuple[memoryview, list[int]], index: int) -> memoryview:
    data, bounds = texts
    return data[bounds[index] : bounds[index + 1]]


@dataclass(frozen=True, slots=True)
class StagedRelease:
    """A release that is written but not committed.

    Attributes:
        processed: the extract, checked and mapped, with all limits.
        release: the release.
        resources: FHIR type in the shared directory -> how many resources.
        elements: how many of them have each must-support element.
        directory: the resources of the shared directory.
    """

    processed: ProcessedExtract
    release: Release
    resources: Mapping[str, int]
    elements: ElementCounts
    directory: Sequence[PlanResources] = ()

    @property
    def manifest(self) -> Manifest:
        """The release's manifest."""
        return self.release.manifest

    @property
    def changes(self) -> Changes:
        """Members and resources that the release adds, changes and retracts."""
        return Changes.from_json(self.manifest.counts["changes"])


def stage(
    processed: ProcessedExtract,
    writer: ReleaseWriter,
    facts: ReleaseFacts,
    when: str,
    stamp: str,
    emit: Emit = ignore,
) -> StagedRelease:
    """Write the shared directory and the catalog of a release, without bulk files.

    Args:
        processed: the extract, with the blocks of its patients written.
        writer: of the release.
        facts: facts about the run for the manifest.
        when: FHIR instant of the run.
        stamp: FHIR instant for resources that state none.
        emit: gets progress events: catalog entries and directory resources.
    """

    def advance(count: int) -> None:
        emit(StageAdvanced(count))

    directory = processed.mapped_directory()
    claimed = frozenset((mention.resource, mention.key) for mention in processed.missing)
    has_members = processed.definitions.model.has_members  # without members, everything is public
    resources = _Resources(
        [
            with_listing(plan, run, partition, claimed) if has_members else run
            for plan, runs, partition in directory.plan_resources
            for run in runs
        ],
        advance,
    )
    partitions = [SavedPartition(files[CATALOG_ROWS]) for files in processed.files]
    counts = [partition.written for partition in partitions]
    emit(StageExtended(len(resources) + sum(count.count + count.kept for count in counts)))
    times, columns = (when, stamp), not has_members
    release = writer.stage(resources, partitions, facts, times, advance, columns=columns)
    advance(len(resources) % _BATCH_STEPS)
    return StagedRelease(
        processed=processed,
        release=release,
        resources=directory.resources,
        elements=directory.elements,
        directory=directory.plan_resources,
    )


def clock_note(previous: Release | None, when: datetime) -> str:
    """Return advice if the previous release is dated in the future; otherwise empty.

    Args:
        previous: the previous release.
        when: time of the run.
    """
    if previous is None or instant(previous.manifest.created) - when < _CLOCK_TOLERANCE:
        return ""
    return (
        f"the previous release, {previous.id}, is dated {previous.manifest.created}, which is "
        "later than this run, so one of the two clocks is wrong; new IDs continue from its ID, "
        "and its reports and quarantine do not expire before that time; set the clock, and "
        "delete that release with `cpcds prune` when nobody needs to roll back to it"
    )


def backdated_note(changes: Changes) -> str:
    """Return advice if resources changed without a later time of their source; otherwise empty."""
    counts = {name: tally.backdated for name, tally in changes.resources.items() if tally.backdated}
    if not counts:
        return ""
    resources = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
    return (
        f"{resources} changed, but last_updated of their rows is not later than in the previous "
        "release, so apps that search by _lastUpdated miss the changes; have the source set "
        "last_updated whenever a row changes"
    )


def certified(staged: StagedRelease, previous: PreviousRelease, allowed: Decimal) -> StagedRelease:
    """Add the certificate and its verdict to a staged release.

    A certificate is about claims: a release without members only gets the verdict.

    Args:
        staged: the release.
        previous: the release that it follows.
        allowed: highest number of differences.
    """
    processed = staged.processed
    counts = processed.totals.tally.counts
    published = {name: table_counts.published for name, table_counts in counts.items()}
    model = processed.definitions.model
    if not model.has_members:
        found = public_verdict(staged.release, model.tables, published, allowed)
        return replace(staged, processed=processed.with_verdicts([found]))
    kept_count = sum(SavedPartition(files[CATALOG_ROWS]).written.kept for files in processed.files)
    pieces = PieceFiles(processed.files)
    certificate = certify(pieces, previous, staged.release, kept_count)
    names = processed.read.extract.names
    processed = processed.with_verdicts([verdict(certificate, published, names, allowed)])
    return replace(staged, processed=replace(processed, certificate=certificate))


class _Resources:
    """The resources of some batches, each made on demand (`publish.block.Resources`).

    Args:
        runs: the batches.
        advance: called with the number of resources made, every few hundred.
    """

    def __init__(self, runs: Sequence[ResourceBatch], advance: Callable[[int], None]) -> None:
        self._advance, self._next = advance, 0
        self._columns = [_RunColumns.from_run(run) for run in runs]
        self._ends = list(accumulate(len(run.ids) for run in runs))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Resource:
        if index >= self._next:  # resources are made in order once, and later again by shard
            self._next = index + 1
            if not self._next % _BATCH_STEPS:
                self._advance(_BATCH_STEPS)
        run_number = bisect_right(self._ends, index)
        columns = self._columns[run_number]
        return columns.resource(index - self._ends[run_number] + len(columns.ids))
