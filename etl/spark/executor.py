"""The executor that has units processed by Apache Spark.

The driver reads the extract into its work folder, as a local run does, and sends units to the
executors some at a time. They publish blocks to the target themselves, and return what the driver
needs at the end; it keeps that in the work folder, so that an attempt after it goes on from there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from etl.columns.digests import NO_HASHES, Hashes
from etl.errors import StoreError
from etl.jobs import EmitAny, Found, Job
from etl.local.checkpoints import Checkpoints
from etl.pipeline.definitions import Definitions
from etl.pipeline.events import ignore
from etl.pipeline.executor import Cutting, Done, Executor, Read, Task
from etl.pipeline.incremental.reuse import PreviousRelease
from etl.pipeline.outcome import outcome_from
from etl.pipeline.unit import UnitResult
from etl.publish.lease import PREFIX
from etl.sources import Emit, Extract, Partitions, open_partitions
from etl.sources.finished_steps import Inventory
from etl.sources.keys import UnitIds
from etl.sources.unit_rows import shared_tables, unit_facts, unit_tables
from etl.spark.pickling import packed, pickled
from etl.spark.program import program_text
from etl.spark.unit_tasks import (
    RESULTS,
    UNIT_ROWS,
    Kind,
    RunFacts,
    UnitOfWork,
    finishing,
    raised,
)

_TOGETHER: Final = 96 << 20
"""Bytes of packed rows that are sent together. A task's share of them has to be smaller than
`spark.rpc.message.maxSize`, which is 128 MiB where not set."""


@dataclass(frozen=True, slots=True)
class SparkExecutor:
    """Reads on the driver, and processes units on the executors of Spark.

    Attributes:
        local: the processes of the driver: they read, hash, and write bulk files.
        session: a `pyspark.sql.SparkSession`.
        together: bytes of packed rows that are sent together; the driver holds no more.
    """

    local: Executor
    session: Any
    together: int = _TOGETHER

    def read(self, extract: Extract, cutting: Cutting, emit: Emit) -> Partitions:
        """Return an extract cut by member, read unless an earlier attempt did."""
        return self.local.read(extract, cutting, emit)

    def process(self, read: Read, task: Task, definitions: Definitions) -> Iterator[Done]:
        """Yield the units of an extract as they are finished, in order."""
        checkpoints = Checkpoints(read.work, task.fingerprint, Inventory(read.work))
        checkpoints.drop_others()
        facts = _run_facts(read, task, definitions)
        units = _Units(self.session, checkpoints, read.partitions, facts)
        count, sent = read.partitions.facts.count, 0
        every = task.units(count)
        # The driver's processes pack the next units while executors are at work.
        unfinished = [unit for unit in every if checkpoints.find(unit) is None]
        packing = self.local.each(partial(_packed_unit, read.work), unfinished, ignore)
        waiting = list[Done | UnitOfWork]()
        for unit in every:
            done = checkpoints.find(unit)
            if done is None:
                rows = next(packing)
                self.check_size(unit, len(rows))
                if sent + len(rows) > self.together:
                    yield from units.finish(waiting)
                    waiting, sent = [], 0
                sent += len(rows)
                previous = pickled(task.previous.for_partitions(unit, count))
                waiting.append(UnitOfWork(unit, rows, previous))
            elif waiting:
                waiting.append(done)
            else:
                yield done
        yield from units.finish(waiting)

    def check_size(self, unit: range, size: int) -> None:
        """Check that a unit can be sent.

        Raises:
            StoreError: it is too large.
        """
        if size > self.together:
            raise StoreError(
                f"partition {unit.start} has {size >> 20} MiB of rows, and at most "
                f"{self.together >> 20} can be sent to an executor; run again with a smaller "
                "run.partition_rows, or without Spark"
            )

    @property
    def processes(self) -> int:
        """Number of processes of the driver."""
        return self.local.processes

    def each(
        self, call: Callable[[Job, EmitAny], Found], jobs: Iterable[Job], emit: EmitAny
    ) -> Iterator[Found]:
        """Yield the result of each job, in their order; the driver's processes do them."""
        return self.local.each(call, jobs, emit)

    def dismiss(self) -> None:
        """Let the driver's processes end while this one goes on."""
        self.local.dismiss()


def _packed_unit(work: Path, unit: range, emit: Emit) -> bytes:
    del emit
    return packed(unit_tables(open_partitions(work), unit))


def _run_facts(read: Read, task: Task, definitions: Definitions) -> bytes:
    partitions, leases = read.partitions, tuple[str, ...]()
    if task.target is not None:
        leases = tuple(entry.key for entry in task.target.store().list(f"{PREFIX}run-"))
    umask = os.umask(0)
    os.umask(umask)
    return pickled(
        RunFacts(
            definitions,
            replace(task, previous=PreviousRelease()),
            unit_facts(partitions.facts),
            packed(shared_tables(partitions)),
            replace(partitions.keys, members=NO_HASHES, claims=NO_HASHES, coverages=NO_HASHES),
            leases,
            umask,
        )
    )


@dataclass(frozen=True, slots=True)
class _Units:
    """Units on their way to the executors and back."""

    session: Any
    checkpoints: Checkpoints
    partitions: Partitions
    facts: bytes

    def finish(self, waiting: Sequence[Done | UnitOfWork]) -> Iterator[Done]:
        """Yield some units in order: those that were finished before, and those that are now."""
        works = {each.unit: each for each in waiting if isinstance(each, UnitOfWork)}
        finished = dict[range, list[Done]]()
        while works:
            asking, failed = dict[range, UnitOfWork](), list[Exception]()
            results = self._results(list(works.values()))
            for unit, work in works.items():
                own = {part: results[part] for part in results if part.start in unit}
                if any(one.error is not None for one in own.values()):
                    failed += [one.error for one in own.values() if one.error is not None]
                elif own[min(own, key=lambda part: part.start)].foreign:
                    (asked,) = own.values()
                    keys = self.partitions.keys.of_unit(UnitIds(asked.own, asked.foreign))
                    asking[unit] = replace(work, keys=pickled(keys))
                else:
                    finished[unit] = [self._keep(part, one) for part, one in own.items()]
            if failed:
                raise failed[0]
            works = asking
        for each in waiting:
            yield from [each] if isinstance(each, Done) else finished[each.unit]

    def _results(self, works: Sequence[UnitOfWork]) -> dict[range, _Result]:
        """Return what became of units, or of their partitions, in order."""
        with _sentences():
            frame = self.session.createDataFrame([work.row() for work in works], UNIT_ROWS)
            spread = frame.repartition(len(works))
            rows = spread.mapInArrow(finishing(program_text(), self.facts), RESULTS).collect()
        found = dict[range, _Result]()
        for row in sorted(rows, key=lambda row: row.first):
            unit = range(row.first, row.stop)
            found.setdefault(unit, _Result()).add(row.kind, row.name, bytes(row.body))
        return found

    def _keep(self, unit: range, result: _Result) -> Done:
        files = {name: [data] for name, data in result.files.items()}
        return self.checkpoints.keep(unit, UnitResult(outcome_from(result.outcome), files))


@dataclass(slots=True)
class _Result:
    """The rows of one unit, as they came back."""

    outcome: bytes = b""
    files: dict[str, bytes] = field(default_factory=dict)
    own: dict[str, Hashes] = field(default_factory=dict)
    foreign: dict[str, Hashes] = field(default_factory=dict)
    error: Exception | None = None

    def add(self, kind: Kind, name: str, body: bytes) -> None:
        match kind:
            case "outcome":
                self.outcome = body
            case "file":
                self.files[name] = body
            case "own":
                self.own[name] = np.frombuffer(body, np.uint64)
            case "foreign":
                self.foreign[name] = np.frombuffer(body, np.uint64)
            case "failed":
                self.error = raised(name, body.decode())


@contextmanager
def _sentences() -> Iterator[None]:
    """Raise StoreError where Spark gave up; its own log has the reason."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        if "No module named 'etl" in str(error):
            raise StoreError(
                "the executors of Spark have not this program: install cpcds-bluebutton there"
            ) from None
        raise StoreError(
            f"Spark gave up ({type(error).__name__}); its log has the reason, and running the same "
            "again goes on from here"
        ) from None
