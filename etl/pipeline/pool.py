"""Partitions worked on one after the other, or by several processes at once: the same outcomes."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa

from etl.engine.partition import Partition
from etl.engine.render import Rendered
from etl.mapping.plan import Plan
from etl.pipeline.asking import Questions
from etl.pipeline.directory import Providers, providers_of
from etl.pipeline.events import ignore
from etl.pipeline.memory import Memory, keep_ledger
from etl.pipeline.remembering import Before, Made, Setting, work_remembering
from etl.pipeline.suites import of_partition
from etl.pipeline.tools import Tools
from etl.pipeline.work import Outcome, work
from etl.pipeline.workers import Workers, tools_here
from etl.quality.sample import Share
from etl.rows import table_schema
from etl.sources import Partitions
from etl.sources.events import Emit
from etl.sources.keys import Hashes
from etl.storage.port import Store

OUTCOMES: Final = "outcomes"


class PartitionSink(Protocol):
    """Takes the resources of one partition."""

    def take(self, plan: Plan, made: list[Rendered], partition: Partition) -> None:
        """Take all resources that a plan made."""

    def keep(self, patients: Sequence[str]) -> None:
        """Take note of patients whose blocks stay as they are."""

    def finish(self) -> None:
        """Write what was taken, whole or not at all."""


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
    """

    open_store: Callable[[], Store]
    memory: Memory | None
    changed: Hashes


@dataclass(frozen=True)
class Task:
    """What every process is told.

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


_TASK: Final = "task.pickle"
_TOGETHER: Final = 8
"""Most partitions that are worked on together where most of their members are remembered."""


def outcomes(
    task: Task, tools: Tools, count: int, workers: Workers
) -> Iterator[tuple[range, Outcome]]:
    """Yield the outcome of every partition, in order; of some together where little is to be done.

    A partition that an earlier run of the same finished is not worked on again.

    Args:
        task: what to do.
        tools: the tools of this process.
        count: how many partitions there are.
        workers: where it is done.
    """
    units = _units(task, count, workers.processes)
    if workers.processes == 1:
        worker = _Worker(task, tools)
        for unit in units:
            yield from worker.do(unit)
        return
    path = task.folder / _TASK
    with path.open("wb") as file:
        pickle.dump(task, file)
    for found in workers.each(_do, [(path, unit) for unit in units], ignore):
        yield from found


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
    task: Task
    tools: Tools

    @cached_property
    def partitions(self) -> Partitions:
        return Partitions.open(self.task.folder)

    @cached_property
    def providers(self) -> Providers:
        return read_providers(self.task.folder, self.tools)

    @cached_property
    def setting(self) -> Setting:
        return Setting(
            self.partitions,
            self.providers,
            self.tools,
            Questions.of(self.tools),
            self.task.as_of,
            self.task.share,
        )

    def do(self, unit: range) -> Iterator[tuple[range, Outcome]]:
        """Yield the outcome of some partitions, or of each where together they are too much."""
        outcome = self.settled(unit)
        if outcome is not None:
            yield unit, outcome
            return
        for index in unit:
            yield from self.do(range(index, index + 1))

    def settled(self, unit: range) -> Outcome | None:
        """Return the outcome of partitions, worked on unless an earlier attempt finished them.

        Returns:
            None where that would be more than one partition's work, which is all that a run that is
            killed may lose.
        """
        folder = self.task.folder / OUTCOMES
        done = folder / f"{unit.start}-{unit.stop}.pickle"
        if done.is_file():
            with done.open("rb") as file:
                known: Outcome = pickle.load(file)  # noqa: S301 - this run's own work folder
            return known
        outcome = self.plain(unit) if self.task.remember is None else self.remembering(unit)
        if outcome is None:
            return None
        folder.mkdir(exist_ok=True)
        staged = done.with_suffix(".part")
        with staged.open("wb") as file:
            pickle.dump(outcome, file)
        staged.replace(done)
        return outcome

    def plain(self, unit: range) -> Outcome:
        (index,) = unit
        _forget(self.task.folder / OUTCOMES, unit)
        sink = self.task.open_sink(index) if self.task.open_sink is not None else None
        outcome = work(
            self.partitions.load(index),
            self.partitions.keys,
            self.providers,
            self.tools,
            None if sink is None else sink.take,
            as_of=self.task.as_of,
            sampled=of_partition(self.task.share, self.partitions, index),
        )
        if sink is not None:
            sink.finish()
        return outcome

    def remembering(self, unit: range) -> Outcome | None:
        remember = self.task.remember
        open_sink = self.task.open_sink
        if remember is None or open_sink is None:
            raise AssertionError("nothing is remembered of what is not published")
        store, before = remember.open_store(), None
        if remember.memory is not None:
            ledger = remember.memory.ledger(store, unit, self.partitions.count)
            before = Before(ledger, remember.memory.as_of, remember.changed)

        def hand_on(made: Sequence[Made], kept: Sequence[str]) -> None:
            _forget(self.task.folder / OUTCOMES, unit)
            sink = open_sink(unit.start)
            for plan, runs, partition in made:
                sink.take(plan, runs, partition)
            sink.keep(kept)
            sink.finish()

        worked = work_remembering(self.setting, unit, before, hand_on)
        if worked is None:
            return None
        memory = keep_ledger(store, worked.ledger)
        store.sync()
        return replace(worked.outcome, memory=memory)


def _forget(folder: Path, unit: range) -> None:
    """Take away outcomes of partitions that another attempt cut into other units."""
    for path in folder.glob("*.pickle"):
        first, _, end = path.stem.partition("-")
        if int(first) < unit.stop and unit.start < int(end):
            path.unlink()


@lru_cache(maxsize=1)
def _worker(path: Path) -> _Worker:
    with path.open("rb") as file:
        return _Worker(pickle.load(file), tools_here())  # noqa: S301 - this run's own work folder


def _do(job: tuple[Path, range], emit: Emit) -> list[tuple[range, Outcome]]:
    del emit
    path, unit = job
    return list(_worker(path).do(unit))


def save_providers(folder: Path, providers: Providers) -> None:
    """Keep the directory's accepted rows where every process finds them."""
    for name, table in providers.tables.items():
        path = folder / f"{name}.arrow"
        with pa.ipc.new_file(path, table_schema(name)) as writer:
            writer.write_table(table.select(table_schema(name).names).cast(table_schema(name)))


def read_providers(folder: Path, tools: Tools) -> Providers:
    """Return the directory's accepted rows that `save_providers` kept."""
    tables = {}
    for name in ("organization", "practitioner"):
        with pa.ipc.open_file(folder / f"{name}.arrow") as reader:
            tables[name] = reader.read_all()
    return providers_of(tables, tools)
