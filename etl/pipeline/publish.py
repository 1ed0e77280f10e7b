"""Write a release: blocks of patients, the shared directory, the catalog; then commit it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any, Final

import numpy as np
import pyarrow as pa

from etl.engine.must_support import ElementCounts
from etl.engine.render import ResourceBatch
from etl.pipeline.certificate import PieceFiles, certify, directory_verdict, verdict
from etl.pipeline.context import Chunks, Publication
from etl.pipeline.partition.mapping import PlanResources
from etl.pipeline.partition.providers import with_listing
from etl.pipeline.process import ProcessedExtract
from etl.pipeline.progress import Emit, StageAdvanced, StageExtended, ignore
from etl.publish.block import PatientResources, Resource
from etl.publish.canonical_json import instant
from etl.publish.directory import write_directory
from etl.publish.manifest import Changes, Manifest, ReleaseFacts
from etl.publish.partition_writer import CATALOG_ROWS, SavedPartition, write_partition
from etl.publish.reader import Release, open_release
from etl.publish.release import assemble
from etl.storage.port import Store

_STEPS: Final = 256
"""Steps of a stage that are emitted together."""
_CLOCKS_APART: Final = timedelta(days=1)
"""Clocks of machines that differ by less do no harm: ages of releases are stated in days."""


@dataclass(frozen=True, slots=True)
class BlockOutput:
    """Writes the blocks of a unit's patients; can be sent to another process.

    Attributes:
        release: id of the release that the run started from; None before the first.
        now: FHIR instant of the run.
        stamp: FHIR instant for resources that state none.
        lost: ids of patients whose block or index is not in the store any more.
    """

    release: str | None
    now: str
    stamp: str
    lost: tuple[str, ...]

    def __call__(
        self, made: Sequence[PlanResources], kept: Sequence[str], store: Store | None, /
    ) -> Mapping[str, Chunks]:
        """Write the blocks, and return the rows of the catalog."""
        if store is None:
            raise AssertionError("blocks are written to a target")
        runs = [run for one in made for run in one.runs]
        patients = _by_patient(runs)
        previous: Mapping[str, Any] = {}
        if self.release is not None:
            previous = open_release(store, self.release).units(patients)
        columns = [_RunColumns.of(run) for run in runs]
        resources = (
            PatientResources(patient, [columns[number].resource(at) for number, at in places])
            for patient, places in patients.items()
        )
        result = write_partition(
            store,
            previous,
            resources,
            self.now,
            default_time=self.stamp,
            lost_ids=frozenset(self.lost),
        )
        return {CATALOG_ROWS: result.keeping(kept).lines()}


def _by_patient(made: Sequence[ResourceBatch]) -> dict[str, list[tuple[int, int]]]:
    """Return the resources of each patient: (run, position)."""
    patients: dict[str, list[tuple[int, int]]] = {}
    for number, run in enumerate(made):
        for at, patient in enumerate(run.compartments.to_pylist()):
            patients.setdefault(patient, []).append((number, at))
    return patients


@dataclass(frozen=True, slots=True)
class _RunColumns:
    """The columns of a run as Python's own values, each taken out once for all its resources.

    Attributes:
        type: FHIR type of the resources.
        ids: their logical ids.
        last_updated: what the source states; None where it states nothing.
        bodies: the buffer that all bodies are in, and where each begins; the last one ends there.
        searches: the same of the search values.
    """

    type: str
    ids: list[str]
    last_updated: list[str | None]
    bodies: tuple[memoryview, list[int]]
    searches: tuple[memoryview, list[int]]

    @classmethod
    def of(cls, run: ResourceBatch) -> _RunColumns:
        return cls(
            run.plan.resource,
            run.ids.to_pylist(),
            run.last_updated.to_pylist(),
            _texts(run.bodies),
            _texts(run.searches),
        )

    def resource(self, at: int) -> Resource:
        return Resource(
            self.type,
            self.ids[at],
            _text(self.bodies, at),
            self.last_updated[at],
            bytes(_text(self.searches, at)),
        )


def _texts(column: pa.StringArray) -> tuple[memoryview, list[int]]:
    """Return the buffer of a column without nulls, and the offsets of its texts in it."""
    _, offsets, data = column.buffers()
    if not len(column):
        return memoryview(b""), [0]
    bounds = np.frombuffer(offsets, np.int32, len(column) + 1, offset=4 * column.offset)
    return memoryview(data), bounds.tolist()


def _text(texts: tuple[memoryview, list[int]], at: int) -> memoryview:
    data, bounds = texts
    return data[bounds[at] : bounds[at + 1]]


@dataclass(frozen=True, slots=True)
class StagedRelease:
    """A release that is written, and that readers do not see yet.

    Attributes:
        processed: the extract, checked and mapped, with all limits.
        manifest: the release.
        resources: FHIR type of the shared directory -> how many.
        elements: how many of them have each must-support element.
        directory: the resources of the shared directory.
    """

    processed: ProcessedExtract
    manifest: Manifest
    resources: Mapping[str, int]
    elements: ElementCounts
    directory: Sequence[PlanResources] = ()

    @property
    def changes(self) -> Changes:
        """Members and resources that it adds, changes and retracts."""
        return Changes.from_json(self.manifest.counts["changes"])


def stage(
    processed: ProcessedExtract,
    publication: Publication,
    facts: ReleaseFacts,
    when: str,
    stamp: str,
    emit: Emit = ignore,
) -> StagedRelease:
    """Write the shared directory and the catalog of a release, without bulk files.

    Args:
        processed: the extract, with the blocks of its patients written.
        publication: where to write.
        facts: what the manifest states of the run.
        when: FHIR instant of the run.
        stamp: FHIR instant for resources that state none.
        emit: takes events: rows of the catalog and resources of the directory.
    """
    store, base = publication.store, publication.base

    def advance(count: int) -> None:
        emit(StageAdvanced(count))

    directory = processed.mapped_directory()
    claimed = frozenset((one.resource, one.key) for one in processed.missing)
    has_members = processed.definitions.model.has_members  # without them everybody may see it all
    listed = _Resources(
        [
            with_listing(plan, run, partition, claimed) if has_members else run
            for plan, runs, partition in directory.made
            for run in runs
        ],
        advance,
    )
    partitions = [SavedPartition(files[CATALOG_ROWS]) for files in processed.files]
    parts = [one.written for one in partitions]
    emit(StageExtended(len(listed) + sum(part.count + part.kept for part in parts)))
    written = write_directory(
        store,
        base.release,
        listed,
        when,
        stamp=stamp,
        lost=base.lost,
        columns=not has_members,
    )
    advance(len(listed) % _STEPS)
    manifest = assemble(store, base, partitions, written, facts, when, advance)
    return StagedRelease(
        processed=processed,
        manifest=manifest,
        resources=directory.resources,
        elements=directory.elements,
        directory=directory.made,
    )


def clock_note(before: Release | None, when: datetime) -> str:
    """Return what to do about a release before that is dated after now; empty where it is not.

    Args:
        before: the release that a run follows.
        when: time of the run.
    """
    if before is None or instant(before.manifest.created) - when < _CLOCKS_APART:
        return ""
    return (
        f"the previous release, {before.id}, is dated {before.manifest.created}, which is "
        "later than this run, so one of the two clocks is wrong; new IDs continue from its ID, "
        "and its reports and quarantine do not expire before that time; set the clock, and "
        "delete that release with `cpcds prune` when nobody needs to roll back to it"
    )


def certified(staged: StagedRelease, publication: Publication) -> StagedRelease:
    """Return a staged release with its certificate, and the verdict on it.

    A certificate is about claims: of a provider directory there is the verdict alone.
    """
    processed, store = staged.processed, publication.store
    counts = processed.totals.tally.counts
    published = {name: each.published for name, each in counts.items()}
    if not processed.definitions.model.has_members:
        counted = directory_verdict(store, staged.manifest, published)
        return replace(staged, processed=processed.with_verdicts([counted]))
    kept = sum(SavedPartition(files[CATALOG_ROWS]).written.kept for files in processed.files)
    pieces = PieceFiles(processed.files)
    certificate = certify(pieces, store, publication.base, staged.manifest, kept)
    names = processed.read.extract.names
    processed = processed.with_verdicts([verdict(certificate, published, names)])
    return replace(staged, processed=replace(processed, certificate=certificate))


class _Resources:
    """The resources of some runs, each made on demand (`publish.resources.Resources`).

    Args:
        runs: all of them.
        advance: called with how many were made, whenever some hundreds were.
    """

    def __init__(self, runs: Sequence[ResourceBatch], advance: Callable[[int], None]) -> None:
        self._advance, self._next = advance, 0
        self._columns = [_RunColumns.of(run) for run in runs]
        self._ends = list(accumulate(len(run.ids) for run in runs))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, at: int) -> Resource:
        if at >= self._next:  # made in order first, and then again by shard
            self._next = at + 1
            if not self._next % _STEPS:
                self._advance(_STEPS)
        number = bisect_right(self._ends, at)
        columns = self._columns[number]
        return columns.resource(at - self._ends[number] + len(columns.ids))
