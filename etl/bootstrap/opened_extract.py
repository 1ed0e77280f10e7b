"""An extract opened for a job: its definitions, executor, and work folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from etl.bootstrap.definitions import load_definitions
from etl.bootstrap.extracts import extract_files, layout_of_rows
from etl.bootstrap.gc_policy import gc_disabled, gc_relaxed
from etl.bootstrap.settings import Settings, store_options
from etl.errors import UsageError
from etl.local.executor import LocalExecutor
from etl.local.memory import MemoryBudget, choose_memory_pool
from etl.local.workers import Workers, forked_workers
from etl.pipeline.context import Executor, RunContext, RunOptions
from etl.pipeline.definitions import Definitions
from etl.pipeline.progress import Emit, StageAdvanced, StageBegan
from etl.pipeline.read import expected_partitions, open_with, own_folder
from etl.publish.target import Target
from etl.sources.extract.opening import Extract, expected_model

WORK = ".cpcds-work"
SUITES = "etl.quality.suites.preloaded"


@contextmanager
def work_folder(settings: Settings, beside: Path) -> Iterator[Path]:
    """Yield the work folder; its content is deleted on success.

    After a failure it stays, and the next run of the same extract resumes from it. Deleting it is
    always safe.

    Raises:
        StoreError: it exists, and is not accessible by the caller alone.
    """
    # A subfolder of the configured one, which may hold other files.
    folder = (settings.run.work if settings.run.work is not None else beside) / WORK
    own_folder(folder)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class OpenedExtract:
    """An extract, with the dependencies of a job that processes it.

    Attributes:
        settings: settings of the job.
        extract: the extract; only its headers and hashes have been read.
        definitions: rules and mappings.
        executor: where it is processed.
        emit: takes events.
    """

    settings: Settings
    extract: Extract
    definitions: Definitions
    executor: Executor
    emit: Emit

    def context(self, work: Path, when: datetime) -> RunContext:
        """Return the context of a run that begins now, in a work folder."""
        run, report = self.settings.run, self.settings.report
        return RunContext(
            self.extract,
            self.definitions,
            work,
            self.executor,
            when,
            RunOptions(run.partition_rows, report.gx_rows, report.small_cells),
            self.emit,
            forked_workers(run.workers, SUITES),
        )


@contextmanager
def opened(
    settings: Settings,
    extract: Path,
    emit: Emit,
    beside: Path | None = None,
    *,
    suites_due: Callable[[], bool] = lambda: False,
) -> Iterator[OpenedExtract]:
    """Open the extract of a job, and start worker processes.

    A memory limit of the job determines their number, and the rows that each has at a time.

    Definitions stay in memory for the whole job and are excluded from garbage collection. Files get
    the mode of the settings, in the processes too.

    Args:
        settings: settings of the job.
        extract: the extract, as the command named it.
        emit: takes events.
        beside: folder to unpack an archive in (`extract_files`).
        suites_due: whether the job will run the suites if settings enable them: then their library
            is loaded in the background.

    Raises:
        UsageError: the memory limit is too low for any run.
    """
    emit(StageBegan("open"))
    choose_memory_pool()
    budget = None
    if settings.run.memory is not None:
        budget = MemoryBudget(settings.run.memory, suites=settings.report.gx_rows > 0)
        processes = budget.processes(settings.run.workers or os.cpu_count() or 1)
        rows = budget.partition_rows(processes, settings.run.partition_rows)
        settings = settings.with_run(workers=processes, partition_rows=rows)
    with (
        _masked(settings.publish.folder_mode),
        extract_files(settings, extract, beside) as stored_files,
        ExitStack() as until_the_end,
    ):
        layout = layout_of_rows(settings)
        model = expected_model(stored_files, layout)
        load = partial(load_definitions, settings, model)
        workers = until_the_end.enter_context(Workers(settings.run.workers, load))
        workers.begin(expected_partitions(stored_files, settings.run.partition_rows))
        if settings.report.gx_rows and suites_due():
            forked_workers(settings.run.workers, SUITES).begin()
        with gc_disabled():
            definitions = load()
            until_the_end.enter_context(gc_relaxed())
        emit(StageAdvanced(len(definitions.book.rules)))
        executor = LocalExecutor(workers, budget)
        files = open_with(stored_files, definitions, layout, emit, executor)
        if files.layout.model is not definitions.model:
            # Processes keep their definitions: they process members' rows only.
            definitions = load_definitions(settings, files.layout.model)
        yield OpenedExtract(settings, files, definitions, executor, emit)


def check_executor(settings: Settings) -> None:
    """Check that the executor of a run can be used here.

    Raises:
        UsageError: it cannot.
    """
    run = settings.run
    if run.executor == "spark":
        from etl.spark.session import require_spark  # runs of this machine do not need it

        require_spark(run.master)
    elif run.master is not None:
        raise UsageError("--master (run.master) is where Spark runs: it goes with --executor spark")


@contextmanager
def with_executor(job: OpenedExtract) -> Iterator[OpenedExtract]:
    """Yield a job with the executor of its settings."""
    run = job.settings.run
    if run.executor == "local":
        yield job
        return
    from etl.spark.executor import SparkExecutor
    from etl.spark.session import spark_session

    target = Target(job.settings.target, store_options(job.settings))
    with spark_session(run.master) as session:
        yield replace(job, executor=SparkExecutor(session, job.executor, target))


@contextmanager
def _masked(mode: int) -> Iterator[None]:
    """Set the umask so that created files and folders have at most a mode."""
    previous_umask = os.umask(0o777 & ~mode)
    try:
        yield
    finally:
        os.umask(previous_umask)
