"""The executor of this machine: this process, or several of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final

import pyarrow as pa

from etl.errors import StoreError
from etl.jobs import EmitAny, Found, Job
from etl.local.memory import MANY_ROWS, MemoryBudget, free_here
from etl.local.workers import Workers, definitions_here
from etl.pipeline.context import Chunks, Cutting, PartitionedExtract, RunStore, Task, TaskOutput
from etl.pipeline.definitions import Definitions
from etl.pipeline.incremental.dependencies import Dependencies
from etl.pipeline.partition.mapping import PartitionContext
from etl.pipeline.partition.providers import Providers, providers_of
from etl.pipeline.progress import Emit as EmitProgress
from etl.pipeline.progress import StageAdvanced
from etl.pipeline.totals import outcome_from, outcome_to
from etl.pipeline.unit import UnitContext, UnitResult, process_unit
from etl.rows import table_schema
from etl.sources.extract.opening import Extract
from etl.sources.files.listed_files import Emit
from etl.sources.partition.partitions import Partitions
from etl.sources.partition.reading import (
    largest_member,
    open_partitions,
    partition_extract,
    resume_partitions,
)
from etl.sources.partition.spill import Inventory, largest_partition

_FOLDER: Final = "units"
_OUTCOME: Final = "outcome"


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The finished units of one task in a work folder.

    A unit has files `units/<task>/<first>-<end>.<name>`; the list of the folder names them and
    their checksums once all of them are whole.

    Attributes:
        work: the folder.
        task: fingerprint of the task.
        inventory: the list of the folder.
    """

    work: Path
    task: str
    inventory: Inventory

    def find(self, unit: range) -> TaskOutput | None:
        """Return a unit that an earlier attempt finished; None where it did not."""
        step = self.inventory.step(self._name(unit))
        if step is None:
            return None
        begins = f"{self._name(unit)}."
        files = {name.removeprefix(begins): self.work / name for name in step.files}
        return TaskOutput(unit, outcome_from(files.pop(_OUTCOME).read_bytes()), files)

    def keep(self, unit: range, result: UnitResult) -> TaskOutput:
        """Keep the result of a unit."""
        (self.work / self._folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        pieces: dict[str, Chunks] = {**result.files, _OUTCOME: [outcome_to(result.outcome)]}
        paths = {}
        for name, parts in pieces.items():
            paths[name] = self.work / f"{self._name(unit)}.{name}"
            with paths[name].open("wb") as file:
                file.writelines(parts)
        self.inventory.add_files(self._name(unit), paths.values())
        del paths[_OUTCOME]
        return TaskOutput(unit, result.outcome, paths)

    def drop_others(self) -> None:
        """Delete the finished units of other tasks."""
        for path in (self.work / _FOLDER).glob("*"):
            if path.name != self.task:
                shutil.rmtree(path, ignore_errors=True)

    @property
    def _folder(self) -> str:
        return f"{_FOLDER}/{self.task}"

    def _name(self, unit: range) -> str:
        return f"{self._folder}/{unit.start:05d}-{unit.stop:05d}"


def save_directory(work: Path, tables: Mapping[str, pa.Table]) -> None:
    """Write the directory's accepted rows, for worker processes to map."""
    for name, table in tables.items():
        schema = table_schema(name)
        with pa.ipc.new_file(work / f"{name}.arrow", schema) as writer:
            writer.write_table(table.select(schema.names).cast(schema))


def open_directory(work: Path) -> dict[str, pa.Table]:
    """Return the directory's accepted rows that `save_directory` wrote."""
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

    def read(self, extract: Extract, cutting: Cutting, emit: Emit) -> Partitions:
        """Return an extract cut by member, read unless an earlier attempt did."""
        self.workers.begin(cutting.partitions)
        there = _resumed(cutting)
        if there is None:
            there = partition_extract(
                extract,
                cutting.folder,
                partitions=cutting.partitions,
                digests=cutting.digests,
                runner=self.workers,
                emit=emit,
            )
        self._check_memory(cutting)
        return there

    def _check_memory(self, cutting: Cutting) -> None:
        """Check that what must be worked on together fits into memory.

        Raises:
            StoreError: it does not; without this check the kernel would end the run.
        """
        rows = largest_member(cutting.folder, cutting.partitions)
        budget = self.memory or (free_here() if rows > MANY_ROWS else None)
        if budget is not None:
            budget.check_member(rows, self.workers.processes)
        if self.memory is not None:
            largest = largest_partition(cutting.folder, cutting.partitions)
            self.memory.check_largest(largest, self.workers.processes)

    def each_partition(
        self, read: PartitionedExtract, call: Callable[[Partitions, int], bytes]
    ) -> Iterator[bytes]:
        """Yield what a function returns of each partition, and of the directory."""
        for index in range(read.partitions.facts.count + 1):
            yield call(read.partitions, index)

    def process(
        self,
        read: PartitionedExtract,
        task: Task,
        definitions: Definitions,
        emit: EmitProgress,
    ) -> Iterator[TaskOutput]:
        """Yield the units of an extract as they are finished, in order."""
        save_directory(read.work, task.directory)
        Checkpoints(read.work, task.fingerprint, Inventory(read.work)).drop_others()
        count = read.partitions.facts.count
        open_store = None if task.target is None else RunStore(task.target)
        # Each process maps the directory; a job carries no more than its unit may reuse.
        jobs = [
            _UnitJob(
                read.work,
                unit,
                replace(task, directory={}, previous=task.previous.for_partitions(unit, count)),
                open_store,
            )
            for unit in task.units(count)
        ]
        yield from self._finish(_Process(read.work, definitions), jobs, emit)

    def _finish(
        self, process: _Process, jobs: Sequence[_UnitJob], emit: EmitProgress
    ) -> Iterator[TaskOutput]:
        """Yield the units of some jobs in order; `process` is this one, if it works alone."""
        if self.workers.processes == 1:
            outputs: Iterable[TaskOutput | None] = (process.finish(job, emit) for job in jobs)
        else:
            outputs = self.workers.each(_finish, jobs, emit)
        for job, output in zip(jobs, outputs, strict=True):
            if output is None:  # many members changed: each partition is a unit of its own
                yield from self._finish(process, job.partitions(), emit)
            else:
                yield output

    @property
    def processes(self) -> int:
        """Number of processes."""
        return self.workers.processes

    def each(
        self, call: Callable[[Job, EmitAny], Found], jobs: Iterable[Job], emit: EmitAny
    ) -> Iterator[Found]:
        """Yield the result of each job, in their order."""
        return self.workers.each(call, jobs, emit)

    def dismiss(self) -> None:
        """Let the processes end while this one goes on."""
        self.workers.dismiss()


def _resumed(cutting: Cutting) -> Partitions | None:
    """Return what an earlier attempt read; None where none read the extract to its end."""
    try:
        there = resume_partitions(cutting.folder)
    except StoreError:
        return None
    return there if there.facts.has_digests or not cutting.digests else None


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
class _Process:
    """The state of a process that its units share."""

    work: Path
    definitions: Definitions

    @cached_property
    def partitions(self) -> Partitions:
        return open_partitions(self.work)

    @cached_property
    def providers(self) -> Providers:
        return providers_of(open_directory(self.work), self.definitions)

    @cached_property
    def dependencies(self) -> Dependencies:
        return Dependencies.of(self.definitions)

    @cached_property
    def inventory(self) -> Inventory:
        return Inventory(self.work)

    def finish(self, job: _UnitJob, emit: EmitProgress) -> TaskOutput | None:
        """Return a unit; None if it has several partitions, and together they are too much."""
        task, unit = job.task, job.unit
        checkpoints = Checkpoints(self.work, task.fingerprint, self.inventory)
        done = checkpoints.find(unit)
        if done is not None:
            emit(StageAdvanced(done.outcome.row_count))
            return done
        partition_context = PartitionContext(self.definitions, self.providers, task.as_of)
        context = UnitContext(partition_context, self.dependencies, task)
        rows, store = self.partitions, job.open_store() if job.open_store else None
        result = process_unit(context, unit, rows, rows.keys, store, emit)
        return None if result is None else checkpoints.keep(unit, result)


@lru_cache(maxsize=1)
def _process(work: Path) -> _Process:
    return _Process(work, definitions_here())


def _finish(job: _UnitJob, emit: EmitProgress) -> TaskOutput | None:
    return _process(job.work).finish(job, emit)
