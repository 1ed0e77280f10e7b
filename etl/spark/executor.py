"""The executor that has an extract read and processed by Apache Spark.

Executors read the extract where they see it, and in staging where they do not. Spark brings the
rows of each unit into one task, which publishes blocks to the target and leaves its results in
staging. The driver takes them as they come, in order, and keeps them in its work folder, so that an
attempt after it goes on from there.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, cast

from etl.errors import NotFound
from etl.jobs import EmitAny, Found, Job
from etl.local.executor import Checkpoints
from etl.pipeline.context import Cutting, Executor, PartitionedExtract, Target, Task, TaskOutput
from etl.pipeline.definitions import Definitions
from etl.pipeline.incremental.reuse import PreviousRelease
from etl.pipeline.progress import Emit as EmitProgress
from etl.pipeline.progress import StageAdvanced, ignore
from etl.publish.lease import PREFIX
from etl.sources.extract.opening import Extract
from etl.sources.files.listed_files import Emit
from etl.sources.partition.partitions import Partitions, shared_tables, unit_facts
from etl.sources.partition.reading import FolderReceiver, read_rows
from etl.sources.partition.spill import Inventory
from etl.spark.id_files import IdFiles
from etl.spark.pickling import pickled
from etl.spark.placing import by_task, each_place
from etl.spark.program import program_text
from etl.spark.shuffled_rows import (
    ShuffledTables,
    ShuffleReceiver,
    buckets_for,
    is_for_executors,
)
from etl.spark.staging import Parts, StagedFiles, StagedValue, Staging, read_unit
from etl.spark.task_rows import ROWS, TaskRow, collected
from etl.spark.unit_tasks import (
    HEAD,
    ExtractOnExecutors,
    RunFacts,
    call_partition,
    do_jobs,
    finish_unit,
)

_HERE: Final = "driver"
"""Folder, in that of the run, for rows of no member."""
_PAUSE: Final = 0.2
"""Seconds between looks for a unit."""


@dataclass(frozen=True, slots=True)
class SparkJobs:
    """Tasks of Spark for jobs that need their target alone (`etl.jobs.JobRunner`).

    Attributes:
        session: a `pyspark.sql.SparkSession`.
    """

    session: Any
    processes = 1

    def each(
        self, call: Callable[[Job, EmitAny], Found], jobs: Iterable[Job], emit: EmitAny
    ) -> Iterator[Found]:
        """Yield the result of each job, which is JSON, in their order, once all are done."""
        del emit
        rows = [TaskRow(number, "job", body=pickled(job)) for number, job in enumerate(jobs)]
        if not rows:
            return
        frame, alone = self.session.createDataFrame(rows, ROWS), each_place(len(rows))
        done = collected(by_task(self.session, frame, alone, do_jobs, (call, _umask())))
        for row in sorted(done, key=attrgetter("place")):
            yield json.loads(bytes(row.body))


@dataclass(frozen=True, slots=True)
class SparkExecutor(SparkJobs):
    """Has an extract read and processed by the executors of Spark.

    Attributes:
        local: the processes of the driver, for what is not for executors.
        target: where staging is.
    """

    local: Executor
    target: Target

    def read(self, extract: Extract, cutting: Cutting, emit: Emit) -> Partitions:
        """Return an extract cut by member.

        Where the process of the run needs the rows, it reads them itself.
        """
        if cutting.keeps_rows or not is_for_executors(extract):
            return self.local.read(extract, cutting, emit)
        return self._shuffled(extract, cutting, emit)

    def _shuffled(self, extract: Extract, cutting: Cutting, emit: Emit) -> Partitions:
        """Return an extract that executors read."""
        try:
            return self._read(extract, cutting, emit)
        except NotFound:  # executors do not see the files
            staging = self._staging(cutting.folder).within("input")
            names = frozenset(file.stored or file.name for file in extract.files if file.table)
            place = StagedFiles.put(staging, extract.place, names)
            return self._read(replace(extract, place=place), cutting, emit)

    def _read(self, extract: Extract, cutting: Cutting, emit: Emit) -> Partitions:
        count, digests = cutting.partitions, cutting.digests
        here = FolderReceiver(cutting.folder / _HERE, count)
        buckets = buckets_for(sum(file.bytes for file in extract.files))
        ids = IdFiles(self._staging(cutting.folder).within("ids"), buckets)
        receiver = ShuffleReceiver(self.session, here, count, ids)
        with ExitStack() as unless_read:
            unless_read.callback(receiver.release)
            there = read_rows(extract, receiver, partitions=count, digests=digests, emit=emit)
            unless_read.pop_all()
        return there

    def _staging(self, work: Path) -> Staging:
        """Return the staging of a run: the name of its folder has its extract and definitions."""
        program = sha256(program_text().encode()).hexdigest()[:8]
        return Staging(self.target.in_any_folder()).within(f"{work.name}-{program}")

    def each_partition(
        self, read: PartitionedExtract, call: Callable[[Partitions, int], bytes]
    ) -> Iterator[bytes]:
        """Yield what a function returns of each partition that has rows, and of the directory."""
        partitions, tables = read.partitions, read.partitions.raw
        if not isinstance(tables, ShuffledTables):
            yield from self.local.each_partition(read, call)
            return
        count = partitions.facts.count
        facts = call, _on_executors(partitions, tables)
        answers = by_task(self.session, tables.rows, each_place(count), call_partition, facts)
        yield from (bytes(row.body) for row in collected(answers))
        yield call(partitions, count)

    def process(
        self,
        read: PartitionedExtract,
        task: Task,
        definitions: Definitions,
        emit: EmitProgress,
    ) -> Iterator[TaskOutput]:
        """Yield the units of an extract as they are finished, in order."""
        if not is_for_executors(read.extract):
            yield from self.local.process(read, task, definitions, emit)
            return
        partitions = read.partitions
        if not isinstance(partitions.raw, ShuffledTables):  # the driver read the rows too
            facts = partitions.facts
            cutting = Cutting(read.work, facts.count, facts.has_digests)
            partitions = self._shuffled(read.extract, cutting, ignore)
        tables = cast("ShuffledTables", partitions.raw)
        staging = self._staging(read.work)
        finished = staging.within(f"units/{task.fingerprint}")
        previous = StagedValue.put(staging.within("values"), pickled(task.previous))
        run = _run_facts(task, definitions, _on_executors(partitions, tables), previous, finished)
        checkpoints = Checkpoints(read.work, task.fingerprint, Inventory(read.work))
        checkpoints.delete_stale()
        units = task.units(partitions.facts.count)
        there = {int(name) for name in finished.names()}
        there |= {unit.start for unit in units if checkpoints.find(unit) is not None}
        heads = [TaskRow(unit.start, HEAD) for unit in units if unit.start not in there]
        rows = tables.rows.union(self.session.createDataFrame(heads, ROWS))
        with ExitStack() as meanwhile:
            meanwhile.callback(tables.release)
            tasks = by_task(self.session, rows, units, finish_unit, run)
            job = Future[Sequence[Any]]()
            if heads:
                job = meanwhile.enter_context(_running(self.session, tasks))
            else:
                job.set_result(())
            for unit in units:
                done = checkpoints.find(unit)
                if done is not None:
                    emit(StageAdvanced(done.outcome.row_count))
                    yield done
                    continue
                for part, result in _awaited(finished, unit.start, job):
                    emit(StageAdvanced(result.outcome.row_count))
                    yield checkpoints.keep(part, result)
            job.result()
        staging.delete()

    def dismiss(self) -> None:
        """Let the driver's processes end while this one goes on."""
        self.local.dismiss()


def _on_executors(partitions: Partitions, tables: ShuffledTables) -> ExtractOnExecutors:
    keys = replace(partitions.keys, ids={})
    facts, shared = unit_facts(partitions.facts), shared_tables(partitions)
    return ExtractOnExecutors(facts, shared, keys, tables.ids)


def _run_facts(
    task: Task,
    definitions: Definitions,
    extract: ExtractOnExecutors,
    previous: StagedValue,
    finished: Staging,
) -> RunFacts:
    leases = tuple[str, ...]()
    if task.target is not None:
        leases = tuple(entry.key for entry in task.target.store().list(f"{PREFIX}run-"))
        task = replace(task, target=task.target.in_any_folder())
    task = replace(task, previous=PreviousRelease())
    return RunFacts(definitions, task, previous, extract, finished, leases, _umask())


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


@contextmanager
def _running(session: Any, frame: Any) -> Iterator[Future[Sequence[Any]]]:
    """Give the job that makes a frame, while it goes on; it is ended with the block."""
    tag = f"cpcds-{uuid.uuid4()}"
    can_be_ended = session.version >= "4"  # before, only jobs of Connect have tags

    def collect() -> Sequence[Any]:
        if can_be_ended:
            session.addTag(tag)
        return collected(frame)

    pool = ThreadPoolExecutor(1, thread_name_prefix="spark")
    job = pool.submit(collect)
    try:
        yield job
    finally:
        if can_be_ended and not job.done():
            session.interruptTag(tag)
        pool.shutdown()


def _awaited(finished: Staging, first: int, job: Future[Sequence[Any]]) -> Parts:
    """Return what became of a unit, as soon as it is there.

    Raises:
        EtlError: the job failed before.
    """
    while True:
        is_last_look = job.done()
        try:
            return read_unit(finished, first)
        except NotFound:
            if is_last_look:
                job.result()
                raise
        wait([job], _PAUSE)
