"""The executor that reads and processes an extract with Apache Spark.

Executors read the extract directly if they can access it, or else from staging. Spark collects the
rows of each unit in one task, which publishes blocks to the target and writes its results to
staging. The driver takes the results in order and stores them in its work folder, so that another
attempt can resume from there.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
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
from etl.pipeline.context import Cutting, Executor, PartitionedExtract, Task, TaskOutput
from etl.pipeline.definitions import Definitions
from etl.pipeline.incremental.reuse import ReusableResults
from etl.pipeline.progress import Emit as EmitProgress
from etl.pipeline.progress import StageAdvanced, ignore
from etl.publish.lease import PREFIX
from etl.publish.target import Target
from etl.sources.extract.opening import Extract
from etl.sources.files.listed_files import Emit
from etl.sources.partition.finished_steps import FinishedSteps
from etl.sources.partition.partitions import Partitions, shared_tables, unit_facts
from etl.sources.partition.reading import FolderReceiver, read_rows
from etl.spark.id_files import IdFiles
from etl.spark.pickling import pickled
from etl.spark.placing import run_tasks, single_shards
from etl.spark.program import program_text
from etl.spark.shuffled_rows import (
    ShuffledTables,
    ShuffleReceiver,
    buckets_for,
    is_for_executors,
)
from etl.spark.staging import Results, StagedFiles, StagedValue, Staging, read_results
from etl.spark.task_rows import ROWS, TaskRow, collect_rows
from etl.spark.unit_tasks import (
    HEAD,
    ExtractOnExecutors,
    RunFacts,
    call_partition,
    do_jobs,
    finish_unit,
)

_HERE: Final = "driver"
"""Subfolder of the run's folder for rows of no member."""
_PAUSE: Final = 0.2
"""Seconds between checks for a unit's results."""


@dataclass(frozen=True, slots=True)
class SparkJobs:
    """Runs jobs as tasks of Spark (`etl.jobs.JobRunner`); they need only their target.

    Attributes:
        session: a `pyspark.sql.SparkSession`.
    """

    session: Any
    processes = 1

    def run_each(
        self, call: Callable[[Job, EmitAny], Found], jobs: Iterable[Job], emit: EmitAny
    ) -> Iterator[Found]:
        """Yield the result of each job, which is JSON, in their order, once all are done."""
        del emit
        rows = [TaskRow(number, "job", body=pickled(job)) for number, job in enumerate(jobs)]
        if not rows:
            return
        frame, tasks = self.session.createDataFrame(rows, ROWS), single_shards(len(rows))
        results = collect_rows(run_tasks(self.session, frame, tasks, do_jobs, (call, _umask())))
        for row in sorted(results, key=attrgetter("shard")):
            yield json.loads(bytes(row.body))


@dataclass(frozen=True, slots=True)
class SparkExecutor(SparkJobs):
    """Has an extract read and processed by the executors of Spark.

    Attributes:
        local: the driver's executor, for what Spark cannot do.
        target: the target, which has the staging.
    """

    local: Executor
    target: Target

    def read(self, extract: Extract, cutting: Cutting, emit: Emit) -> Partitions:
        """Return an extract partitioned by member.

        The driver reads it if it needs the rows, or if executors can't read it.
        """
        if cutting.keeps_rows or not is_for_executors(extract):
            return self.local.read(extract, cutting, emit)
        return self._read_on_executors(extract, cutting, emit)

    def _read_on_executors(self, extract: Extract, cutting: Cutting, emit: Emit) -> Partitions:
        """Have executors read an extract; stage its files if they don't see them."""
        try:
            return self._read(extract, cutting, emit)
        except NotFound:  # executors do not see the files
            staging = self._staging(cutting.folder).subfolder("input")
            names = frozenset(file.stored or file.name for file in extract.files if file.table)
            staged = StagedFiles.put(staging, extract.location, names)
            return self._read(replace(extract, location=staged), cutting, emit)

    def _read(self, extract: Extract, cutting: Cutting, emit: Emit) -> Partitions:
        count, digests = cutting.partitions, cutting.digests
        driver_rows = FolderReceiver(cutting.folder / _HERE, count)
        buckets = buckets_for(sum(file.bytes for file in extract.files))
        ids = IdFiles(self._staging(cutting.folder).subfolder("ids"), buckets)
        receiver = ShuffleReceiver(self.session, driver_rows, count, ids)
        with ExitStack() as on_failure:
            on_failure.callback(receiver.release)
            read = read_rows(extract, receiver, partitions=count, digests=digests, emit=emit)
            on_failure.pop_all()
        return read

    def _staging(self, work: Path) -> Staging:
        """Return the staging of a run, named by its extract, definitions and program."""
        program = sha256(program_text().encode()).hexdigest()[:8]
        return Staging(self.target.in_any_folder()).subfolder(f"{work.name}-{program}")

    def each_partition(
        self, read: PartitionedExtract, call: Callable[[Partitions, int], bytes]
    ) -> Iterator[bytes]:
        """Call a function with each partition that has rows, and with the directory."""
        partitions, tables = read.partitions, read.partitions.raw
        if not isinstance(tables, ShuffledTables):
            yield from self.local.each_partition(read, call)
            return
        count = partitions.facts.count
        facts = call, _extract_facts(partitions, tables)
        results = run_tasks(self.session, tables.rows, single_shards(count), call_partition, facts)
        yield from (bytes(row.body) for row in collect_rows(results))
        yield call(partitions, count)

    def process(
        self,
        read: PartitionedExtract,
        task: Task,
        definitions: Definitions,
        emit: EmitProgress,
    ) -> Generator[TaskOutput, None, None]:
        """Yield the units of an extract as they are finished, in order."""
        if not is_for_executors(read.extract):
            yield from self.local.process(read, task, definitions, emit)
            return
        partitions = read.partitions
        if not isinstance(partitions.raw, ShuffledTables):  # the driver read the rows too
            cutting = Cutting(read.work, partitions.facts.count, partitions.facts.has_digests)
            partitions = self._read_on_executors(read.extract, cutting, ignore)
        tables = cast("ShuffledTables", partitions.raw)
        staging = self._staging(read.work)
        finished = staging.subfolder(f"units/{task.fingerprint}")
        previous = StagedValue.put(staging.subfolder("values"), pickled(task.previous))
        facts = _extract_facts(partitions, tables)
        run = _run_facts(task, definitions, facts, previous, finished)
        checkpoints = Checkpoints(read.work, task.fingerprint, FinishedSteps(read.work))
        checkpoints.delete_stale()
        units = task.units(partitions.facts.count)
        finished_starts = {int(name) for name in finished.names()}
        finished_starts |= {unit.start for unit in units if checkpoints.find(unit) is not None}
        heads = [TaskRow(unit.start, HEAD) for unit in units if unit.start not in finished_starts]
        rows = tables.rows.union(self.session.createDataFrame(heads, ROWS))
        with ExitStack() as cleanup:
            cleanup.callback(tables.release)
            tasks = run_tasks(self.session, rows, units, finish_unit, run)
            job = Future[Sequence[Any]]()
            if heads:
                job = cleanup.enter_context(_start_job(self.session, tasks))
            else:
                job.set_result(())
            for unit in units:
                checkpoint = checkpoints.find(unit)
                if checkpoint is not None:
                    emit(StageAdvanced(checkpoint.outcome.row_count))
                    yield checkpoint
                    continue
                for partitions_done, result in _await_unit(finished, unit.start, job):
                    emit(StageAdvanced(result.outcome.row_count))
                    yield checkpoints.keep(partitions_done, result)
            job.result()
        staging.delete()

    def dismiss(self) -> None:
        """Let the driver's processes end while this one goes on."""
        self.local.dismiss()


def _extract_facts(partitions: Partitions, tables: ShuffledTables) -> ExtractOnExecutors:
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
    task = replace(task, previous=ReusableResults())
    return RunFacts(definitions, task, previous, extract, finished, leases, _umask())


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


@contextmanager
def _start_job(session: Any, frame: Any) -> Iterator[Future[Sequence[Any]]]:
    """Compute a frame in the background; the job is canceled when the block ends."""
    tag = f"cpcds-{uuid.uuid4()}"
    can_cancel = session.version >= "4"  # before, only jobs of Connect have tags

    def collect() -> Sequence[Any]:
        if can_cancel:
            session.addTag(tag)
        return collect_rows(frame)

    pool = ThreadPoolExecutor(1, thread_name_prefix="spark")
    job = pool.submit(collect)
    try:
        yield job
    finally:
        if can_cancel and not job.done():
            session.interruptTag(tag)
        pool.shutdown()


def _await_unit(finished: Staging, first: int, job: Future[Sequence[Any]]) -> Results:
    """Wait for the results of a unit.

    Args:
        finished: staging of the units' results.
        first: the unit's first partition.
        job: the job that processes the units.

    Raises:
        EtlError: the job failed.
    """
    while True:
        was_done = job.done()
        try:
            return read_results(finished, first)
        except NotFound:
            if was_done:  # nothing more will be staged
                job.result()
                raise
        wait([job], _PAUSE)
