"""The context of a run: its extract, executor, target and tasks, and the port for executors.

An executor decides where work is done and what survives there. It has no influence on results: the
units follow from the number of partitions alone, and their outcomes come in order.

A task names the target of its run, which every process opens for itself.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import pyarrow as pa

from etl.columns.digests import Hashes
from etl.jobs import ALONE, JobRunner, PreparedRunner
from etl.pipeline.certificate import Certifying
from etl.pipeline.definitions import Definitions
from etl.pipeline.incremental.reuse import ReusableResults
from etl.pipeline.partition.mapping import PlanResources
from etl.pipeline.progress import Emit
from etl.pipeline.release_limits import ReleaseLimits
from etl.pipeline.totals import Outcome
from etl.publish.bulk_files import BulkOptions
from etl.publish.reader import Tree
from etl.publish.target import Target
from etl.quality.checks.cascade import DecidedRows
from etl.sources.extract.opening import Extract
from etl.sources.files.listed_files import Emit as EmitReading
from etl.sources.partition.partitions import Partitions

REJECTED: Final = "rejected-"
"""Prefix of files with rejected rows; the number of the source file follows."""
_MAX_UNIT_PARTITIONS: Final = 8
"""Limits memory: a unit holds row positions and ledgers of all its partitions at once."""
_MIN_UNITS: Final = 2
"""A nightly run splits into at least this many units, so that its processes share them."""


Chunks: TypeAlias = Iterable[bytes | memoryview]
"""The bytes of a file, piece by piece."""


class Output(Protocol):
    """Writes the resources of a unit; can be sent to another process.

    Its `repr` states all that its results depend on.
    """

    def __call__(
        self, resources: Sequence[PlanResources], kept_ids: Sequence[str], tree: Tree | None, /
    ) -> Mapping[str, Chunks]:
        """Write resources.

        Args:
            resources: the resources, plan by plan.
            kept_ids: ids of patients whose blocks stay as they are.
            tree: the target; None if nothing is published.

        Returns:
            Name -> what the run needs of it at its end.
        """


class RowOutput(Protocol):
    """Writes checked rows of some members, rejected ones included; can be sent to another process.

    Its `repr` states all that its results depend on.
    """

    def selects(self, members: Hashes, /) -> Any:
        """Return numpy `bool`, shape (n,): which members' rows are wanted, not only results."""

    def __call__(
        self, decided: DecidedRows, positions: Any, owners: Hashes, /
    ) -> Mapping[str, Chunks]:
        """Write rows.

        Args:
            decided: the rows, accepted or not.
            positions: numpy `int64`, shape (n,): `place_keys` of the rows that belong to a member.
            owners: the hash of the member of each.

        Returns:
            Name -> what the run needs of it at its end.
        """


@dataclass(frozen=True, slots=True)
class Task:
    """The task of a run: the same for all units; can be sent to another process.

    Attributes:
        output: writes the resources; None to make none.
        directory: the directory's accepted rows.
        as_of: day of the extract, in days since 1970; None if it is not stated.
        row_output: writes checked rows; None to write none.
        target: where the run publishes; None if nothing is published.
        previous: what may be reused.
        keeps_rejected: whether rejected rows are kept for the quarantine.
        certifying: how blocks are compared with their rows; None if none are published.
        sidecar: mark of the extract, where the release is to keep which rows it was made of; else
            None.
    """

    output: Output | None
    directory: Mapping[str, pa.Table]
    as_of: int | None
    row_output: RowOutput | None
    target: Target | None = None
    previous: ReusableResults = field(default_factory=ReusableResults)
    keeps_rejected: bool = False
    certifying: Certifying | None = None
    sidecar: str | None = None

    @property
    def fingerprint(self) -> str:
        """Hash of what the results of units depend on besides the extract and definitions.

        Results of another use case, or on top of another release, cannot be reused.
        """
        target = self.target and (self.target.name, self.target.overlay)
        facts = (
            *(self.output, self.as_of, self.row_output, target, self.keeps_rejected),
            self.certifying,
            self.sidecar,
        )
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def units(self, count: int) -> list[range]:
        """Return which of `count` partitions are processed together.

        Checking and mapping costs each unit a second before its first member, as much as 250
        members take. On a night most members are reused, so partitions are processed together. If
        many members changed, the executor makes each partition a unit of its own.
        """
        unit_size = 1
        if self.previous.results is not None:
            unit_size = math.ceil(count / max(_MIN_UNITS, math.ceil(count / _MAX_UNIT_PARTITIONS)))
        return [
            range(first_partition, min(first_partition + unit_size, count))
            for first_partition in range(0, count, unit_size)
        ]


@dataclass(frozen=True, slots=True)
class TaskOutput:
    """A unit that is finished.

    Attributes:
        unit: the partitions.
        outcome: what it adds to the totals.
        files: name -> a file of the work folder, of what `UnitResult.files` holds.
    """

    unit: range
    outcome: Outcome
    files: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Cutting:
    """Parameters of cutting an extract by member.

    Attributes:
        folder: the work folder of the run; another extract or other definitions have another.
        partitions: how many there are to be.
        digests: whether a digest of every row is kept, for the next release to compare with.
        keeps_rows: whether the rows are to become a layer of the release, for which the process of
            the run loads every partition.
    """

    folder: Path
    partitions: int
    digests: bool
    keeps_rows: bool = False


@dataclass(frozen=True, slots=True)
class PartitionedExtract:
    """An extract, cut by member.

    Attributes:
        extract: the extract.
        partitions: its rows.
        work: folder of this run.
        as_of: day of the extract, in days since 1970; None if it is not stated.
    """

    extract: Extract
    partitions: Partitions
    work: Path
    as_of: int | None


class Executor(JobRunner, Protocol):
    """Reads an extract, processes its partitions, and runs other jobs: hashing, bulk files."""

    def read(self, extract: Extract, cutting: Cutting, emit: EmitReading) -> Partitions:
        """Partition an extract by member, unless an earlier attempt already did.

        Raises:
            ExtractError: a file cannot be read to its end.
            StoreError: the work folder cannot be written.
        """

    def each_partition(
        self, read: PartitionedExtract, call: Callable[[Partitions, int], bytes]
    ) -> Iterator[bytes]:
        """Yield a function's result for each partition and for the directory, in any order.

        Args:
            read: the extract.
            call: a function that can be sent to another process. Its arguments are the partitions,
                of which only one may be loadable, and its number; the directory's number is the
                count of partitions.
        """

    def process(
        self, read: PartitionedExtract, task: Task, definitions: Definitions, emit: Emit
    ) -> Generator[TaskOutput, None, None]:
        """Yield the units of an extract as they are finished, in order; none once it is closed.

        A unit that an earlier attempt at the same task finished is not processed again.

        Args:
            read: the extract.
            task: the task.
            definitions: rules and mappings.
            emit: gets `StageAdvanced` for finished rows of any unit; all rows by the end.

        Raises:
            StoreError: the target failed, or a worker was lost.
        """

    def dismiss(self) -> None:
        """Release the resources of work: no more jobs follow but perhaps small ones."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of every use case, from the settings.

    Attributes:
        partition_rows: about how many rows to a partition.
        gx_rows: about how many rows of the largest file the suites check; 0 to run none.
        small_cells: sums of money over at most so many claims are withheld; 0 to withhold none.
    """

    partition_rows: int
    gx_rows: int = 0
    small_cells: int = 0


@dataclass(frozen=True, slots=True)
class RunContext:
    """The context of a run: the same for all of its steps.

    Attributes:
        extract: what was delivered.
        definitions: rules and mappings.
        work: folder for what is in progress; every run has a folder of its own in it.
        executor: where the extract is read and its partitions are processed.
        when: when the run began.
        options: those of the settings.
        emit: takes events.
        suites: where the suites are run.
    """

    extract: Extract
    definitions: Definitions
    work: Path
    executor: Executor
    when: datetime
    options: RunOptions
    emit: Emit
    suites: PreparedRunner = ALONE


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """Where a run publishes, what it may change, and what it keeps for later runs.

    Attributes:
        target: where it publishes, for any process.
        limits: how much may be missing or change compared to the previous release.
        bulk: options of bulk files; None to make none.
        keep_rows: whether to store rows, so that deltas can follow a full extract. After a delta,
            rows are always stored.
        keep_places: whether to store row positions if the rows themselves are not stored.
        reuses: whether unchanged members are carried over from the previous release.
    """

    target: Target
    limits: ReleaseLimits
    bulk: BulkOptions | None = None
    keep_rows: bool = False
    keep_places: bool = False
    reuses: bool = True

    def keeps_layers(self, extract: Extract) -> bool:
        """Return whether to store the rows of an extract for later deltas."""
        return self.keep_rows or extract.kind == "delta"
