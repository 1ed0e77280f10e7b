"""The executor of this machine: this process, or several of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final

import pyarrow as pa

from etl.errors import StoreError
from etl.jobs import EmitAny, Found, Job
from etl.local.memory import MANY_ROWS, MemoryBudget, free_memory
from etl.local.workers import Workers, worker_definitions
from etl.pipeline.context import Chunks, Cutting, PartitionedExtract, Task, TaskOutput
from etl.pipeline.definitions import Definitions
from etl.pipeline.incremental.dependencies import Dependencies
from etl.pipeline.partition.mapping import PartitionContext
from etl.pipeline.partition.providers import Providers, providers_of
from etl.pipeline.progress import Emit as EmitProgress
from etl.pipeline.progress import StageAdvanced
from etl.pipeline.totals import outcome_from, outcome_to
from etl.pipeline.unit import UnitContext, UnitResult, process_unit
from etl.publish.reader import Tree
from etl.publish.target import RunStore
from etl.rows import table_schema
from etl.sources.extract.opening import Extract
from etl.sources.files.listed_files import Emit
from etl.sources.partition.finished_steps import FinishedSteps
from etl.sources.partition.partitions import Partitions
from etl.sources.partition.reading import (
    largest_member,
    open_partitions,
    partition_extract,
    resume_partitions,
)
from etl.sources.partition.row_files import largest_partition

_UNITS_FOLDER: Final = "units"
_OUTCOME_FILE: Final = "outcome"


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The finished units of one task in a work folder.

    A unit has files `units/<task>/<first>-<end>.<name>`; the list of the folder names them and
    their checksums once all of them are whole.

    Attributes:
        work: the folder.
        task: fingerprint of the task.
        steps: the finished steps of the folder.
    """

    work: Path
    task: str
    steps: FinishedSteps

    def find(self, unit: range) -> TaskOutput | None:
        """Return a unit that an earlier attempt finished, or None."""
        step = self.steps.find(self._step_name(unit))
        if step is None:
            return None
        prefix = f"{self._step_name(unit)}."
        files = {name.removeprefix(prefix): self.work / name for name in step.files}
        return TaskOutput(unit, outcome_from(files.pop(_OUTCOME_FILE).read_bytes()), files)

    def keep(self, unit: range, result: UnitResult) -> TaskOutput:
        """Store the result of a unit."""
        (self.work / self._folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        files: dict[str, Chunks] = {**result.files, _OUTCOME_FILE: [outcome_to(result.outcome)]}
        paths = {}
        for name, chunks in files.items():
            paths[name] = self.work / f"{self._step_name(unit)}.{name}"
            with paths[name].open("wb") as file:
                file.writelines(chunks)
        self.steps.add_files(self._step_name(unit), paths.values())
        del paths[_OUTCOME_FILE]
        return TaskOutput(unit, result.outcome, paths)

    def delete_stale(self) -> None:
        """Delete the finished units of other tasks."""
        for path in (self.work / _UNITS_FOLDER).glob("*"):
            if path.name != self.task:
                shutil.rmtree(path, ignore_errors=True)

    @property
    def _folder(self) -> str:
        return f"{_UNITS_FOLDER}/{self.task}"

    def _step_name(self, unit: range) -> str:
        return f"{self._folder}/{unit.start:05d}-{unit.stop:05d}"


def save_provider_directory(work: Path, tables: Mapping[str, pa.Table]) -> None:
    """Write the provider directory's accepted rows, for worker processes to map."""
    for name, table in tables.items():
        schema = table_schema(name)
        with pa.ipc.new_file(work / f"{name}.arrow", schema) as writer:
            writer.write_table(table.select(schema.names).cast(schema))


def open_provider_directory(work: Path) -> dict[str, pa.Table]:
    """Read the provider directory's rows that `save_provider_directory` wrote."""
    tables = {}
    for name in ("organization", "practitioner"):
        with pa.ipc.open_file(work / f"{name}.arrow") as reader:
            tables[name] = reader.read_all()
    return tables


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """Processes of this machine, with checkpoints in the work folder.

    Attributes:
        workers: the processes.
        memory: what all of them may have together; None for no bound.
    """

    workers: Workers
    memory: MemoryBudget | None = None

    def read(self, extract: Extract, partitioning: Cutting, emit: Emit) -> Partitions:
        """Partition an extract by member, unless an earlier attempt already did."""
        self.workers.begin(partitioning.partitions)
        partitions = _resume_partitions(partitioning)
        if partitions is None:
            partitions = partition_extract(
                extract,
                partitioning.folder,
                partitions=partitioning.partitions,
                digests=partitioning.digests,
                runner=self.workers,
                emit=emit,
            )
        self._check_memory(partitioning)
        return partitions

    def _check_memory(self, partitioning: Cutting) -> None:
        """Check that the largest member and partition fit into memory.

        Raises:
            StoreError: one does not fit; without this check the kernel would kill the run.
        """
        rows = largest_member(partitioning.folder, partitioning.partitions)
        budget = self.memory or (free_memory() if rows > MANY_ROWS else None)
        if budget is not None:
            budget.check_member(rows, self.workers.processes)
        if self.memory is not None:
            largest_bytes = largest_partition(partitioning.folder, partitioning.partitions)
            self.memory.check_largest(largest_bytes, self.workers.processes)

    def each_partition(
        self, partitioned: PartitionedExtract, call: Callable[[Partitions, int], bytes]
    ) -> Iterator[bytes]:
        """Yield a function's result for each partition, and for the provider directory."""
        for index in range(partitioned.partitions.facts.count + 1):
            yield call(partitioned.partitions, index)

    def process(
        self,
        partitioned: PartitionedExtract,
        task: Task,
        definitions: Definitions,
        emit: EmitProgress,
    ) -> Generator[TaskOutput, None, None]:
        """Yield the units of an extract as they are finished, in order."""
        save_provider_directory(partitioned.work, task.directory)
        steps = FinishedSteps(partitioned.work)
        Checkpoints(partitioned.work, task.fingerprint, steps).delete_stale()
        count = partitioned.partitions.facts.count
        open_store = None if task.target is None else RunStore(task.target)
        # Each process maps the directory; a job carries only what its unit may reuse.
        jobs = [
            _UnitJob(
                partitioned.work,
                unit,
                replace(task, directory={}, previous=task.previous.for_partitions(unit, count)),
                open_store,
            )
            for unit in task.units(count)
        ]
        yield from self._run_jobs(_UnitRunner(partitioned.work, definitions), jobs, emit)

    def _run_jobs(
        self, runner: _UnitRunner, jobs: Sequence[_UnitJob], emit: EmitProgress
    ) -> Iterator[TaskOutput]:
        """Run jobs in order; `runner` runs them if there is one process."""
        if self.workers.processes == 1:
            outputs: Iterable[TaskOutput | None] = (runner.run(job, emit) for job in jobs)
        else:
            outputs = self.workers.run_each(_run_job, jobs, emit)
        for job, output in zip(jobs, outputs, strict=True):
            if output is None:  # many members changed: each partition is a unit of its own
                yield from self._run_jobs(runner, job.partitions(), emit)
            else:
                yield output

    @property
    def processes(self) -> int:
        """Number of processes."""
        return self.workers.processes

    def run_each(
        self, call: Callable[[Job, EmitAny], Found], jobs: Iterable[Job], emit: EmitAny
    ) -> Iterator[Found]:
        """Yield the result of each job, in their order."""
        return self.workers.run_each(call, jobs, emit)

    def dismiss(self) -> None:
        """End the worker processes; this one continues."""
        self.workers.dismiss()


def _resume_partitions(partitioning: Cutting) -> Partitions | None:
    """Return the partitions of an earlier attempt; None unless it was complete."""
    try:
        partitions = resume_partitions(partitioning.folder)
    except StoreError:
        return None
    return partitions if partitions.facts.has_digests or not partitioning.digests else None


@dataclass(frozen=True, slots=True)
class _UnitJob:
    work: Path
    unit: range
    task: Task
    open_store: RunStore | None

    def partitions(self) -> list[_UnitJob]:
        """Return a job for each partition of the unit."""
        return [replace(self, unit=range(index, index + 1)) for index in self.unit]


@dataclass
class _UnitRunner:
    """Runs units in one process; they share its lazily loaded state."""

    work: Path
    definitions: Definitions

    @cached_property
    def partitions(self) -> Partitions:
        return open_partitions(self.work)

    @cached_property
    def providers(self) -> Providers:
        return providers_of(open_provider_directory(self.work), self.definitions)

    @cached_property
    def dependencies(self) -> Dependencies:
        return Dependencies.find(self.definitions)

    @cached_property
    def steps(self) -> FinishedSteps:
        return FinishedSteps(self.work)

    def run(self, job: _UnitJob, emit: EmitProgress) -> TaskOutput | None:
        """Process a unit; None if its partitions are too much together."""
        task, unit = job.task, job.unit
        checkpoints = Checkpoints(self.work, task.fingerprint, self.steps)
        finished_unit = checkpoints.find(unit)
        if finished_unit is not None:
            emit(StageAdvanced(finished_unit.outcome.row_count))
            return finished_unit
        partition_context = PartitionContext(self.definitions, self.providers, task.as_of)
        context = UnitContext(partition_context, self.dependencies, task)
        rows, tree = self.partitions, Tree(job.open_store()) if job.open_store else None
        result = process_unit(context, unit, rows, rows.keys, tree, emit)
        return None if result is None else checkpoints.keep(unit, result)


@lru_cache(maxsize=1)
def _shared_runner(work: Path) -> _UnitRunner:
    """Return the runner that the jobs of this worker process share."""
    return _UnitRunner(work, worker_definitions())


def _run_job(job: _UnitJob, emit: EmitProgress) -> TaskOutput | None:
    """Run a job in a worker process."""
    return _shared_runner(job.work).run(job, emit)
