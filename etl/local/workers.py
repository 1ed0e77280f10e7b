"""Worker processes, started if an extract is large enough, and ended with the run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Final

from etl.errors import StoreError
from etl.jobs import ALONE, EmitAny, Found, Job, PreparedRunner, no_event
from etl.local.memory import choose_memory_pool
from etl.pipeline.definitions import Definitions, LoadDefinitions
from etl.pipeline.progress import StageAdvanced

_JOBS_AHEAD: Final = 4
"""Jobs a process that are begun before the first of them is taken."""
_SAFE_PATH: Final = "PYTHONSAFEPATH"
"""Variable that keeps Python from importing modules from the current folder."""
_POLL_SECONDS: Final = 0.5
"""How often the steps that processes count are looked at."""


class Workers:
    """The worker processes of a run (`etl.jobs.JobRunner`).

    Args:
        max_processes: 0 for one per processor.
        load_definitions: loads the definitions of the run; can be sent to another process.
    """

    def __init__(self, max_processes: int, load_definitions: LoadDefinitions) -> None:
        self._max_processes = max_processes or os.cpu_count() or 1
        self._load_definitions = load_definitions
        self._pool: ProcessPoolExecutor | None = None
        self._stops: list[tuple[Connection, Connection]] = []
        self._shutdown_threads: list[threading.Thread] = []
        self._steps: Any = None
        self._reported = 0
        self.processes = 1

    def __enter__(self) -> Workers:
        """Return these; leaving ends them."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait until the processes have ended; end them at once if the run failed.

        Then their current jobs are lost, as if the processes were killed.
        """
        if error is not None:
            for _, stop in self._stops:
                stop.close()
        self.dismiss()
        for thread in self._shutdown_threads:
            thread.join()

    def begin(self, partitions: int) -> None:
        """Start as many processes as an extract needs; they load definitions at once.

        Args:
            partitions: number of the extract's partitions: the maximum number of processes.

        Raises:
            StoreError: a process was killed.
        """
        process_count = min(self._max_processes, partitions)
        if process_count <= self.processes:
            return
        self.dismiss()
        context = multiprocessing.get_context("spawn")  # Arrow's threads do not survive a fork
        self.processes = process_count
        with killed_as_store_error(), starting_workers():
            self._stops.append(context.Pipe(duplex=False))
            self._steps, self._reported = context.Value("q", 0), 0
            arguments = (self._load_definitions, self._stops[-1][0], self._steps)
            self._pool = ProcessPoolExecutor(process_count, context, _start_worker, arguments)
            # The pool starts a process for each job that finds no idle one.
            for _ in range(process_count):
                self._pool.submit(do_nothing)

    def dismiss(self) -> None:
        """Shut the processes down in the background: freeing their memory takes a while."""
        if self._pool is not None:
            shut_down = partial(self._pool.shutdown, cancel_futures=True)
            self._shutdown_threads.append(threading.Thread(target=shut_down))
            self._shutdown_threads[-1].start()
        self._pool, self.processes = None, 1

    def run_each(
        self, call: Callable[[Job, EmitAny], Found], jobs: Iterable[Job], emit: EmitAny
    ) -> Iterator[Found]:
        """Yield the result of each job, in order.

        Of the jobs' events, `emit` takes only `StageAdvanced`, added up over processes.

        Raises:
            StoreError: a process was killed.
        """
        if self._pool is None:
            yield from ALONE.run_each(call, jobs, emit)
            return
        pending: deque[Future[Found]] = deque()
        try:
            with killed_as_store_error():
                # Bounded, because early results wait in memory for their turn.
                for job in jobs:
                    if len(pending) == _JOBS_AHEAD * self.processes:
                        yield self._wait_for(pending.popleft(), emit)
                    pending.append(self._pool.submit(_do_counted, call, job))
                while pending:
                    yield self._wait_for(pending.popleft(), emit)
        finally:
            for future in pending:
                future.cancel()

    def _wait_for(self, future: Future[Found], emit: EmitAny) -> Found:
        """Wait for a job's result, and report the progress of all processes."""
        is_done = False
        while not is_done:
            is_done = bool(futures.wait([future], _POLL_SECONDS).done)
            steps = self._steps.get_obj().value
            if steps > self._reported:
                emit(StageAdvanced(steps - self._reported))
                self._reported = steps
        return future.result()


@contextmanager
def starting_workers() -> Iterator[None]:
    """Start workers that ignore SIGINT, which the parent handles, and take no code from the folder.

    They start as `python -c`, which would import modules from the current folder first.
    """
    previous = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        resource_tracker.ensure_running()  # before the mask, because this call unblocks SIGINT
        previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)
    finally:
        if previous is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = previous


@contextmanager
def killed_as_store_error() -> Iterator[None]:
    """Raise StoreError if a worker process was killed."""
    try:
        yield
    except BrokenProcessPool:
        raise StoreError(
            "a worker process was killed, most likely because it ran out of memory; "
            "run again with fewer --workers or a smaller run.partition_rows"
        ) from None


_definitions: Definitions | None = None
_steps: Any = None
"""The counter of steps that the processes of a run share."""


def worker_definitions() -> Definitions:
    """Return the definitions of this worker process."""
    if _definitions is None:
        raise AssertionError("the process was not started by a run")
    return _definitions


def _start_worker(load_definitions: LoadDefinitions, stop: Connection, steps: Any) -> None:
    """Initialize a worker process."""
    threading.Thread(target=end_with_the_run, args=(stop,), daemon=True).start()
    choose_memory_pool()
    global _definitions, _steps
    _definitions, _steps = load_definitions(), steps


def end_with_the_run(*stops: Connection) -> None:
    """End this process when its run was killed or closed one of the pipes.

    Otherwise it would continue its job in the work folder, where another run may be active.
    """
    run = multiprocessing.parent_process()
    if run is None:
        raise AssertionError("the process was not started by a run")
    wait([run.sentinel, *stops])
    os._exit(1)


def do_nothing() -> None:
    """Do nothing: submitting this job starts a process."""


def do_job(call: Callable[[Job, EmitAny], Found], job: Job) -> Found:
    """Run a job in a worker process; drops its events."""
    return call(job, no_event)


def _do_counted(call: Callable[[Job, EmitAny], Found], job: Job) -> Found:
    """Run a job in a worker process; reports its progress to the run."""
    return call(job, _count_steps)


def _count_steps(event: object) -> None:
    if isinstance(event, StageAdvanced):
        with _steps.get_lock():
            _steps.value += event.count


def forked_workers(max_processes: int, preloaded: str) -> PreparedRunner:
    """Return worker processes; with a maximum of one, the current process.

    Args:
        max_processes: processes; 0 for one a processor.
        preloaded: the module that they begin with.
    """
    processes = max_processes or os.cpu_count() or 1
    return ALONE if processes == 1 else ForkedWorkers(processes, preloaded)


@dataclass(frozen=True, slots=True)
class ForkedWorkers:
    """Processes that last for the jobs of one call.

    Attributes:
        processes: how many, at most.
        preloaded: the module that they begin with; the first one requested in this process counts.
    """

    processes: int
    preloaded: str

    def begin(self) -> None:
        """Start loading the module in a process of its own."""
        multiprocessing.set_forkserver_preload([self.preloaded])
        with starting_workers():
            forkserver.ensure_running()

    def run_each(
        self, call: Callable[[Job, EmitAny], Found], jobs: Iterable[Job], emit: EmitAny
    ) -> Iterator[Found]:
        """Yield the result of each job, in order.

        Raises:
            StoreError: a process was killed.
        """
        del emit
        all_jobs = list(jobs)
        if not all_jobs:
            return
        self.begin()
        context = multiprocessing.get_context("forkserver")
        processes = min(self.processes, len(all_jobs))
        with killed_as_store_error(), ProcessPoolExecutor(processes, context, _watch_run) as pool:
            yield from pool.map(do_job, repeat(call), all_jobs)


def _watch_run() -> None:
    threading.Thread(target=end_with_the_run, daemon=True).start()
