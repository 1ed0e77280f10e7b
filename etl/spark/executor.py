"""The executor that has an extract read and processed by Apache Spark.

Executors read the extract where they see it, and leave its rows with Spark; what they do not see
the driver reads into its work folder, and sends units some at a time. They publish blocks to the
target themselves, and return what the driver needs at the end; it keeps that in the work folder, so
that an attempt after it goes on from there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from etl.columns.digests import NO_HASHES, Hashes
from etl.errors import StoreError
from etl.jobs import EmitAny, Found, Job
from etl.local.executor import Checkpoints
from etl.pipeline.context import Cutting, Executor, PartitionedExtract, Task, TaskOutput
from etl.pipeline.definitions import Definitions
from etl.pipeline.incremental.reuse import PreviousRelease
from etl.pipeline.progress import ignore
from etl.pipeline.totals import outcome_from
from etl.pipeline.unit import UnitResult
from etl.publish.lease import PREFIX
from etl.rows import arrow_stream
from etl.sources.events import Emit
from etl.sources.extract.opening import Extract
from etl.sources.partition.ids import GlobalKeys, UnitIds
from etl.sources.partition.partitions import Partitions, shared_tables, unit_facts, unit_tables
from etl.sources.partition.reading import read_rows
from etl.sources.partition.spill import Inventory
from etl.sources.partition.work_folder import FolderReceiver, open_partitions
from etl.spark.pickling import packed, pickled
from etl.spark.program import program_text
from etl.spark.reading_tasks import OF_MEMBERS
from etl.spark.shuffled_rows import (
    ShuffledTables,
    ShuffleReceiver,
    UnseenError,
    buckets_of,
    is_for_executors,
    raise_failed,
    sentences,
    sorted_by_place,
)
from etl.spark.task_rows import ROWS, TaskRow
from etl.spark.unit_tasks import (
    FILE,
    FOUND,
    HEAD,
    OUTCOME,
    OWN,
    ExtractOnExecutors,
    RunFacts,
    calling,
    finishing,
)

_TOGETHER: Final = 96 << 20
"""Bytes of packed rows that are sent together. A task's share of them has to be smaller than
`spark.rpc.message.maxSize`, which is 128 MiB where not set."""
_PROCESSED: Final = 1 << 30
"""Bytes of an extract's files whose units are processed together. Their results are in the driver's
memory at once: a twentieth of that, and less than `spark.driver.maxResultSize`, 1 GB where not set,
where every row is rejected."""
_HERE: Final = "driver"
"""Folder, in that of the run, for rows of an extract that executors read."""


@dataclass(frozen=True, slots=True)
class SparkExecutor:
    """Has an extract read and processed by the executors of Spark.

    Attributes:
        local: the processes of the driver: they hash, write bulk files, and read what executors do
            not see.
        session: a `pyspark.sql.SparkSession`.
        together: bytes of packed rows that are sent together; the driver holds no more.
        processed: bytes of an extract's files whose units are processed together.
    """

    local: Executor
    session: Any
    together: int = _TOGETHER
    processed: int = _PROCESSED

    def read(self, extract: Extract, cutting: Cutting, emit: Emit) -> Partitions:
        """Return an extract cut by member; what executors cannot read, the driver does."""
        if not cutting.keeps_rows and is_for_executors(extract):
            with suppress(UnseenError):
                return self._read_by_executors(extract, cutting, emit)
        return self.local.read(extract, cutting, emit)

    def _read_by_executors(self, extract: Extract, cutting: Cutting, emit: Emit) -> Partitions:
        count, digests = cutting.partitions, cutting.digests
        here = FolderReceiver(cutting.folder / _HERE, count)
        receiver = ShuffleReceiver(self.session, here, count, buckets_of(extract))
        with ExitStack() as unless_read:
            unless_read.callback(receiver.release)
            there = read_rows(extract, receiver, partitions=count, digests=digests, emit=emit)
            unless_read.pop_all()
        return there

    def each_partition(
        self, read: PartitionedExtract, call: Callable[[Partitions, int], bytes]
    ) -> Iterator[bytes]:
        """Yield what a function returns of each partition that has rows, and of the directory."""
        partitions = read.partitions
        if not isinstance(partitions.raw, ShuffledTables):
            yield from self.local.each_partition(read, call)
            return
        with sentences():
            rows = sorted_by_place(partitions.raw.rows, partitions.facts.count)
            packed_call = pickled((call, _on_executors(partitions)))
            answers = rows.mapInArrow(calling(program_text(), packed_call), ROWS).collect()
        raise_failed(answers)
        yield from (bytes(row.body) for row in answers if row.kind == FOUND)
        yield call(partitions, partitions.facts.count)

    def process(
        self, read: PartitionedExtract, task: Task, definitions: Definitions
    ) -> Iterator[TaskOutput]:
        """Yield the units of an extract as they are finished, in order."""
        checkpoints = Checkpoints(read.work, task.fingerprint, Inventory(read.work))
        checkpoints.drop_others()
        every = task.units(read.partitions.facts.count)
        unfinished = [unit for unit in every if checkpoints.find(unit) is None]
        previous = partial(task.previous.for_partitions, count=read.partitions.facts.count)
        rows: _UnitSource = _SentUnits(self, read, previous)
        if isinstance(read.partitions.raw, ShuffledTables):
            rows = _ShuffledUnits(self, read.partitions, read.partitions.raw, previous)
        units = _Units(checkpoints, rows, _run_facts(read, task, definitions))
        groups = rows.groups(unfinished)
        finished = dict[range, list[TaskOutput]]()
        with closing(groups):
            for unit in every:
                done = checkpoints.find(unit) if unit not in finished else None
                if done is not None:
                    yield done
                    continue
                if unit not in finished:
                    finished = units.finish(next(groups))
                yield from finished[unit]

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


Reusable = Callable[[range], PreviousRelease]
"""Unit -> results of the release before that it may reuse."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Units that are processed together.

    Attributes:
        units: in order.
        rows: a frame with the rows of each, after a row that begins it; others may be in it.
    """

    units: Sequence[range]
    rows: Any

    def of(self, units: Sequence[range]) -> Any:
        """Return the rows of some of the units."""
        firsts = [unit.start for unit in units]
        within = self.rows.where(f"place BETWEEN {firsts[0]} AND {firsts[-1]}")
        return within if len(units) == len(self.units) else within.where(_is_in(firsts))


class _UnitSource(Protocol):
    """Source of the rows of units, and of answers about ids."""

    def groups(self, units: Sequence[range]) -> Generator[_Group, None, None]:
        """Yield units in groups, in order."""

    def keys_of(self, units: Sequence[UnitIds]) -> GlobalKeys:
        """Return keys that have the ids which units ask for, as far as there are any."""


@dataclass(frozen=True, slots=True)
class _SentUnits:
    """Units that the driver read, and sends."""

    executor: SparkExecutor
    read: PartitionedExtract
    previous: Reusable

    def groups(self, units: Sequence[range]) -> Generator[_Group, None, None]:
        # The driver's processes pack the next units while executors are at work.
        packing = self.executor.local.each(partial(_unit_rows, self.read.work), units, ignore)
        waiting, rows, sent = list[range](), list[TaskRow](), 0
        for unit, packed_rows in zip(units, packing, strict=True):
            size = sum(len(row.body) for row in packed_rows)
            self.executor.check_size(unit, size)
            if sent + size > self.executor.together:
                yield self._group(waiting, rows)
                waiting, rows, sent = [], [], 0
            waiting.append(unit)
            rows += packed_rows
            sent += size
        if waiting:
            yield self._group(waiting, rows)

    def keys_of(self, units: Sequence[UnitIds]) -> GlobalKeys:
        del units
        return self.read.partitions.keys

    def _group(self, units: Sequence[range], rows: Sequence[TaskRow]) -> _Group:
        heads = [_head(unit, self.previous) for unit in units]
        with sentences():
            frame = self.executor.session.createDataFrame([*heads, *rows], ROWS)
            return _Group(units, sorted_by_place(frame, len(units)))


def _unit_rows(work: Path, unit: range, emit: Emit) -> list[TaskRow]:
    """Return the rows of a unit as they are sent."""
    del emit
    tables = unit_tables(open_partitions(work), unit)
    rows = []
    for (name, index), table in tables.items():
        stream = arrow_stream(table, compressed=True).to_pybytes()
        rows.append(TaskRow(unit.start, OF_MEMBERS, name, index or 0, stream))
    return rows


@dataclass(frozen=True, slots=True)
class _ShuffledUnits:
    """Units of an extract that executors read."""

    executor: SparkExecutor
    partitions: Partitions
    tables: ShuffledTables
    previous: Reusable

    def groups(self, units: Sequence[range]) -> Generator[_Group, None, None]:
        if not units:
            return
        facts, size = self.partitions.facts, max(map(len, units))
        bytes_each = sum(file.bytes for file in facts.files) * size // facts.count
        together = min(max(1, self.executor.processed // max(1, bytes_each)), len(units))
        heads = [_head(unit, self.previous) for unit in units]
        with sentences():
            by_unit = self.tables.rows.selectExpr(
                f"place - place % {size} AS place", "kind", "name", "place AS number", "body"
            ).union(self.executor.session.createDataFrame(heads, ROWS))
            rows = sorted_by_place(by_unit, together)
            if together < len(units):
                rows = rows.persist()
        try:
            for first in range(0, len(units), together):
                yield _Group(units[first : first + together], rows)
                if first == 0 and together < len(units):  # Spark holds them by unit now
                    self.tables.release_rows()
        finally:
            rows.unpersist()
            self.tables.release()

    def keys_of(self, units: Sequence[UnitIds]) -> GlobalKeys:
        return self.tables.keys_of(units, self.partitions.keys)


def _head(unit: range, previous: Reusable) -> TaskRow:
    return TaskRow(unit.start, HEAD, "", unit.stop, pickled(previous(unit)))


def _is_in(places: Iterable[int]) -> str:
    return f"place IN ({', '.join(map(str, places))})"


def _on_executors(partitions: Partitions) -> ExtractOnExecutors:
    keys = replace(partitions.keys, members=NO_HASHES, claims=NO_HASHES, coverages=NO_HASHES)
    shared = packed(shared_tables(partitions))
    return ExtractOnExecutors(unit_facts(partitions.facts), shared, keys)


def _run_facts(read: PartitionedExtract, task: Task, definitions: Definitions) -> bytes:
    leases = tuple[str, ...]()
    if task.target is not None:
        leases = tuple(entry.key for entry in task.target.store().list(f"{PREFIX}run-"))
    umask = os.umask(0)
    os.umask(umask)
    target = None if task.target is None else task.target.in_any_folder()
    alone = replace(task, previous=PreviousRelease(), target=target)
    return pickled(RunFacts(definitions, alone, _on_executors(read.partitions), leases, umask))


@dataclass(frozen=True, slots=True)
class _Units:
    """Units on their way to the executors and back."""

    checkpoints: Checkpoints
    rows: _UnitSource
    facts: bytes

    def finish(self, group: _Group) -> dict[range, list[TaskOutput]]:
        """Return what units of a group became: each one unit, or its partitions."""
        finished = dict[range, list[TaskOutput]]()
        left, answers = list(group.units), dict[int, bytes]()
        while left:
            results, asking = self._results(group.of(left), answers), dict[range, UnitIds]()
            for unit in left:
                own = {part: results[part] for part in results if part.start in unit}
                first = own[min(own, key=lambda part: part.start)]
                if first.foreign:
                    asking[unit] = UnitIds(first.own, first.foreign)
                else:
                    finished[unit] = [self._keep(part, one) for part, one in own.items()]
            keys = self.rows.keys_of(list(asking.values()))
            answers = {unit.start: pickled(keys.of_unit(ids)) for unit, ids in asking.items()}
            left = list(asking)
        return finished

    def _results(self, rows: Any, answers: Mapping[int, bytes]) -> dict[range, _Result]:
        """Return what became of units, or of their partitions, in order."""
        with sentences():
            task = finishing(program_text(), self.facts, answers)
            found = rows.mapInArrow(task, ROWS).collect()
        raise_failed(sorted(found, key=lambda row: row.number))
        results = dict[range, _Result]()
        for row in sorted(found, key=lambda row: row.place):
            unit = range(row.place, row.number)
            results.setdefault(unit, _Result()).add(row.kind, row.name, bytes(row.body))
        return results

    def _keep(self, unit: range, result: _Result) -> TaskOutput:
        files = {name: [data] for name, data in result.files.items()}
        return self.checkpoints.keep(unit, UnitResult(outcome_from(result.outcome), files))


@dataclass(slots=True)
class _Result:
    """The rows of one unit, as they came back."""

    outcome: bytes = b""
    files: dict[str, bytes] = field(default_factory=dict)
    own: dict[str, Hashes] = field(default_factory=dict)
    foreign: dict[str, Hashes] = field(default_factory=dict)

    def add(self, kind: str, name: str, body: bytes) -> None:
        if kind == OUTCOME:
            self.outcome = body
        elif kind == FILE:
            self.files[name] = body
        else:
            ids = self.own if kind == OWN else self.foreign
            ids[name] = np.frombuffer(body, np.uint64)
