"""Partitions worked on one after the other, or by several processes at once: the same outcomes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cached_property
from multiprocessing.connection import wait
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa

from etl.engine.partition import Partition
from etl.engine.render import Rendered
from etl.errors import StoreError
from etl.mapping.plan import Plan
from etl.pipeline.asking import Questions
from etl.pipeline.directory import Providers, providers_of
from etl.pipeline.memory import Memory, keep_ledger
from etl.pipeline.remembering import Before, Made, Setting, work_remembering
from etl.pipeline.suites import of_partition
from etl.pipeline.tools import MakeTools, Tools
from etl.pipeline.work import Outcome, work
from etl.quality.sample import Share
from etl.rows import table_schema
from etl.sources import Partitions
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
    """What every process is told once.

    Attributes:
        folder: work folder of the run, with partitions and the directory's accepted rows in it.
        make_tools: makes rules and mappings.
        open_sink: opens the sink of a partition; None to make no resources.
        as_of: day of the extract; None where nobody said.
        share: of which members rows are kept for the suites; None where no suites are run.
        remember: None where nothing is remembered.
    """

    folder: Path
    make_tools: MakeTools
    open_sink: OpenSink | None
    as_of: int | None
    share: Share | None
    remember: Remember | None = None


_TOGETHER: Final = 8
"""Most partitions that are worked on together where most of their members are remembered."""


def outcomes(task: Task, tools: Tools, count: int, workers: int) -> Iterator[tuple[range, Outcome]]:
    """Yield the outcome of every partition, in order; of some together where little is to be done.

    A partition that an earlier run of the same finished is not worked on again.

    Args:
        task: what to do.
        tools: the tools of this process.
        count: how many partitions there are.
        workers: processes; 0 for one a processor.
    """
    processes = min(count, workers or os.cpu_count() or 1)
    units = _units(task, count, processes)
    if processes <= 1:
        worker = _Worker(task, tools)
        for unit in units:
            yield from worker.do(unit)
        return
    context = multiprocessing.get_context("spawn")  # Arrow's threads do not survive a fork
    with ProcessPoolExecutor(processes, context, _begin, (task,)) as pool:
        try:
            for found in pool.map(_do, units):
                yield from found
        except BrokenProcessPool:
            raise StoreError(
                "a worker process was killed, most likely for want of memory; "
                "run again with fewer --workers or a smaller run.partition_rows"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _units(task: Task, count: int, processes: int) -> list[range]:
    """Return which partitions are worked on together.

    A partition of which one member in a hundred changed is hardly worth its start, which costs what
    a hundred members do. Where more of them changed, each is worked on by itself all the same.
    """
    size = 1
    if task.remember is not None and task.remember.memory is not None:
        size = max(1, min(_TOGETHER, count // processes))
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


_worker: Callable[[range], Iterator[tuple[range, Outcome]]] | None = None


def _begin(task: Task) -> None:
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    global _worker
    _worker = _Worker(task, task.make_tools()).do


def _end_with_the_run() -> None:
    """End this process once the run that began it was killed: another may be at work by then.

    It would go on with its partition in the same work folder, and then wait forever.
    """
    run = multiprocessing.parent_process()
    if run is None:
        raise AssertionError("the process was not begun by a run")
    wait([run.sentinel])
    os._exit(1)


def _do(unit: range) -> list[tuple[range, Outcome]]:
    if _worker is None:
        raise AssertionError("the process was not begun")
    return list(_worker(unit))


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
