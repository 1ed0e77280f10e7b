"""Partitions worked on one after the other, or by several processes at once: the same outcomes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa

from etl.columns.digests import Hashes
from etl.engine.partition_columns import Partition
from etl.engine.render import Rendered
from etl.mapping.plan import Plan
from etl.pipeline.definitions import Definitions
from etl.pipeline.events import ignore
from etl.pipeline.incremental.cache import Memory, keep_ledger
from etl.pipeline.incremental.dependencies import Questions
from etl.pipeline.incremental.reuse import Made, PreviousResults, Setting, work_remembering
from etl.pipeline.outcomes import outcome_from, outcome_to
from etl.pipeline.partition.check_and_map import Outcome, work
from etl.pipeline.partition.providers import Providers, providers_of
from etl.pipeline.suites import of_partition
from etl.pipeline.workers import Workers, definitions_here
from etl.quality.suites.sample import Share
from etl.rows import table_schema
from etl.sources import Partitions
from etl.sources.events import Emit
from etl.sources.inventory import Inventory
from etl.storage.port import Store

OUTCOMES: Final = "outcomes"


class PartitionSink(Protocol):
    """Takes the resources of one partition."""

    def take(self, plan: Plan, made: list[Rendered], partition: Partition) -> None:
        """Take all resources that a plan made."""

    def keep(self, patients: Sequence[str]) -> None:
        """Take note of patients whose blocks stay as they are."""

    def finish(self) -> tuple[Path, ...]:
        """Write what was taken, and return the files of the work folder that this took."""


class OpenSink(Protocol):
    """Opens what takes a partition's resources; can be sent to another process."""

    def __call__(self, index: int, /) -> PartitionSink:
        """Return the sink of one partition."""


@dataclass(frozen=True)
class Remember:
    """What a run remembers, and where it keeps what the next one is to remember.

    Attributes:
        open_store: opens the target.
        memory: what the release before remembers; None where that is of no use.
        changed: names under which the directory holds something else now.
        lost: patients whose block or index is not in the store any more.
    """

    open_store: Callable[[], Store]
    memory: Memory | None
    changed: Hashes
    lost: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Task:
    """What every process is told, with each of its jobs.

    Attributes:
        folder: work folder of the run, with partitions and the directory's accepted rows in it.
        open_sink: opens the sink of a partition; None to make no resources.
        as_of: day of the extract; None where nobody said.
        share: of which members rows are kept for the suites; None where no suites are run.
        remember: None where nothing is remembered.
    """

    folder: Path
    open_sink: OpenSink | None
    as_of: int | None
    share: Share | None
    remember: Remember | None = None


_ENDING: Final = ".outcome"
_TOGETHER: Final = 8
"""Most partitions that are worked on together where most of their members are remembered."""


def outcomes(
    task: Task, definitions: Definitions, count: int, workers: Workers
) -> Iterator[tuple[range, Outcome]]:
    """Yield the outcome of every partition, in order; of some together where little is to be done.

    A partition that an earlier run of the same finished is not worked on again.

    Args:
        task: what to do.
        definitions: the definitions of this process.
        count: how many partitions there are.
        workers: where it is done.
    """
    units = _units(task, count, workers.processes)
    if workers.processes == 1:
        worker = _Worker(task.folder, definitions)
        for unit in units:
            yield from worker.do(task, unit)
        return
    jobs = [(_of_unit(task, unit, count), unit) for unit in units]
    for found in workers.each(_do, jobs, ignore):
        yield from found


def _of_unit(task: Task, unit: range, count: int) -> Task:
    """Return as much of a task as some partitions need: it is sent to another process."""
    remember = task.remember
    if remember is None or remember.memory is None:
        return task
    memory = remember.memory.of(unit, count)
    return replace(task, remember=replace(remember, memory=memory))


def _units(task: Task, count: int, processes: int) -> list[range]:
    """Return which partitions are worked on together.

    A partition of which one member in a hundred changed is hardly worth its start, which costs what
    a hundred members do. Where more of them changed, each is worked on by itself all the same. All
    processes have as many.
    """
    size = 1
    if task.remember is not None and task.remember.memory is not None:
        size = math.ceil(count / (processes * math.ceil(count / (processes * _TOGETHER))))
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


@dataclass
class _Worker:
    """What a process knows of the work folder of a run, whatever it is to do there."""

    folder: Path
    definitions: Definitions

    @cached_property
    def partitions(self) -> Partitions:
        return Partitions.open(self.folder)

    @cached_property
    def providers(self) -> Providers:
        return read_providers(self.folder, self.definitions)

    @cached_property
    def questions(self) -> Questions:
        return Questions.of(self.definitions)

    @cached_property
    def inventory(self) -> Inventory:
        return Inventory(self.folder)

    def do(self, task: Task, unit: range) -> Iterator[tuple[range, Outcome]]:
        """Yield the outcome of some partitions, or of each where together they are too much."""
        outcome = self.settled(task, unit)
        if outcome is not None:
            yield unit, outcome
            return
        for index in unit:
            yield from self.do(task, range(index, index + 1))

    def settled(self, task: Task, unit: range) -> Outcome | None:
        """Return the outcome of partitions, worked on unless an earlier attempt finished them.

        Returns:
            None where that would be more than one partition's work, which is all that a run that is
            killed may lose.
        """
        done = self.folder / OUTCOMES / f"{unit.start}-{unit.stop}{_ENDING}"
        step = f"{OUTCOMES} {done.stem}"
        if self.inventory.step(step) is not None:
            return outcome_from(done.read_bytes())
        remember = task.remember
        found = self.plain(task, unit) if remember is None else self.again(task, remember, unit)
        if found is None:
            return None
        outcome, written = found
        done.parent.mkdir(exist_ok=True)
        done.write_bytes(outcome_to(outcome))
        self.inventory.add_files(step, (*written, done))
        return outcome

    def plain(self, task: Task, unit: range) -> tuple[Outcome, tuple[Path, ...]]:
        (index,) = unit
        _forget(self.folder / OUTCOMES, unit)
        sink = task.open_sink(index) if task.open_sink is not None else None
        outcome = work(
            self.partitions.load(index),
            self.partitions.keys,
            self.providers,
            self.definitions,
            None if sink is None else sink.take,
            as_of=task.as_of,
            sampled=of_partition(task.share, self.partitions, index),
        )
        return outcome, () if sink is None else sink.finish()

    def again(
        self, task: Task, remember: Remember, unit: range
    ) -> tuple[Outcome, tuple[Path, ...]] | None:
        open_sink = task.open_sink
        if open_sink is None:
            raise AssertionError("nothing is remembered of what is not published")
        written: list[Path] = []
        store, before = remember.open_store(), None
        if remember.memory is not None:
            ledger = remember.memory.ledger(store, unit, self.partitions.count)
            before = PreviousResults(ledger, remember.memory.as_of, remember.changed, remember.lost)

        def hand_on(made: Sequence[Made], kept: Sequence[str]) -> None:
            _forget(self.folder / OUTCOMES, unit)
            sink = open_sink(unit.start)
            for plan, runs, partition in made:
                sink.take(plan, runs, partition)
            sink.keep(kept)
            written.extend(sink.finish())

        setting = Setting(
            self.partitions,
            self.providers,
            self.definitions,
            self.questions,
            task.as_of,
            task.share,
        )
        worked = work_remembering(setting, unit, before, hand_on)
        if worked is None:
            return None
        memory = keep_ledger(store, worked.ledger)
        store.sync()
        return replace(worked.outcome, memory=memory), tuple(written)


def _forget(folder: Path, unit: range) -> None:
    """Take away outcomes of partitions that another attempt cut into other units."""
    for path in folder.glob(f"*{_ENDING}"):
        first, _, end = path.stem.partition("-")
        if int(first) < unit.stop and unit.start < int(end):
            path.unlink()


@lru_cache(maxsize=1)
def _worker(folder: Path) -> _Worker:
    return _Worker(folder, definitions_here())


def _do(job: tuple[Task, range], emit: Emit) -> list[tuple[range, Outcome]]:
    del emit
    task, unit = job
    return list(_worker(task.folder).do(task, unit))


def save_providers(folder: Path, providers: Providers) -> None:
    """Keep the directory's accepted rows where every process finds them."""
    for name, table in providers.tables.items():
        path = folder / f"{name}.arrow"
        with pa.ipc.new_file(path, table_schema(name)) as writer:
            writer.write_table(table.select(table_schema(name).names).cast(table_schema(name)))


def read_providers(folder: Path, definitions: Definitions) -> Providers:
    """Return the directory's accepted rows that `save_providers` kept."""
    tables = {}
    for name in ("organization", "practitioner"):
        with pa.ipc.open_file(folder / f"{name}.arrow") as reader:
            tables[name] = reader.read_all()
    return providers_of(tables, definitions)
