"""Worker processes: begun where there is enough to do for them, and ended with the run."""

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
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Final

from etl.errors import StoreError
from etl.jobs import ALONE, EmitAny, Found, Job, PreparedRunner, no_event
from etl.local.memory import choose_memory_pool
from etl.pipeline.definitions import Definitions, LoadDefinitions
from etl.pipeline.progress import StageAdvanced

_AHEAD: Final = 4
"""Jobs a process that are begun before the first of them is taken."""
_LOOK_SECONDS: Final = 0.5
"""How often the steps that processes count are looked at."""


class Workers:
    """The worker processes of a run (`etl.jobs.JobRunner`).

    Args:
        most: processes; 0 for one a processor.
        load_definitions: loads the definitions of the run; can be sent to another process.
    """

    def __init__(self, most: int, load_definitions: LoadDefinitions) -> None:
        self._most = most or os.cpu_count() or 1
        self._load_definitions = load_definitions
        self._pool: ProcessPoolExecutor | None = None
        self._stops: list[tuple[Connection, Connection]] = []
        self._leaving: list[threading.Thread] = []
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
        """Wait until the processes have ended; at once where the run failed.

        Their current jobs are lost then, as they are where the processes are killed.
        """
        if error is not None:
            for _, stop in self._stops:
                stop.close()
        self.dismiss()
        for leaving in self._leaving:
            leaving.join()

    def begin(self, partitions: int) -> None:
        """Begin the processes that an extract is worth; they load what they need at once.

        Args:
            partitions: how many the extract has: no more processes than that.

        Raises:
            StoreError: a process was killed.
        """
        wanted = min(self._most, partitions)
        if wanted <= self.processes:
            return
        self.dismiss()
        context = multiprocessing.get_context("spawn")  # Arrow's threads do not survive a fork
        self._stops.append(context.Pipe(duplex=False))
        self._steps, self._reported = context.Value("q", 0), 0
        initial = (self._load_definitions, self._stops[-1][0], self._steps)
        self._pool = ProcessPoolExecutor(wanted, context, _begin, initial)
        self.processes = wanted
        with killed_as_store_error(), sigint_blocked():
            for _ in range(wanted):  # a process is begun for each job that finds none waiting
                self._pool.submit(nothing)

    def dismiss(self) -> None:
        """Let the processes end while this one goes on: to give back their memory takes a while."""
        if self._pool is not None:
            ending = partial(self._pool.shutdown, cancel_futures=True)
            self._leaving.append(threading.Thread(target=ending))
            self._leaving[-1].start()
        self._pool, self.processes = None, 1

    def each(
        self, call: Callable[[Job, EmitAny], Found], jobs: Iterable[Job], emit: EmitAny
    ) -> Iterator[Found]:
        """Yield the result of each job, in their order.

        Of the events of jobs, `emit` takes the steps of `StageAdvanced`, added up over processes.

        Raises:
            StoreError: a process was killed.
        """
        if self._pool is None:
            yield from ALONE.each(call, jobs, emit)
            return
        waiting: deque[Future[Found]] = deque()
        try:
            with killed_as_store_error():
                # Bounded: results that come early wait in memory for their turn.
                for job in jobs:
                    if len(waiting) == _AHEAD * self.processes:
                        yield self._awaited(waiting.popleft(), emit)
                    waiting.append(self._pool.submit(_do_counted, call, job))
                while waiting:
                    yield self._awaited(waiting.popleft(), emit)
        finally:
            for future in waiting:
                future.cancel()

    def _awaited(self, future: Future[Found], emit: EmitAny) -> Found:
        """Return the result of a job; meanwhile report the steps that all processes count."""
        is_done = False
        while not is_done:
            is_done = bool(futures.wait([future], _LOOK_SECONDS).done)
            steps = self._steps.get_obj().value
            if steps > self._reported:
                emit(StageAdvanced(steps - self._reported))
                self._reported = steps
        return future.result()


@contextmanager
def sigint_blocked() -> Iterator[None]:
    """Start workers that ignore SIGINT; the parent stops them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def killed_as_store_error() -> Iterator[None]:
    """Raise StoreError where a worker process was killed."""
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


def definitions_here() -> Definitions:
    """Return the definitions of this process, which a run began."""
    if _definitions is None:
        raise AssertionError("the process was not started by a run")
    return _definitions


def _begin(load_definitions: LoadDefinitions, stop: Connection, steps: Any) -> None:
    threading.Thread(target=end_with_the_run, args=(stop,), daemon=True).start()
    choose_memory_pool()
    global _definitions, _steps
    _definitions, _steps = load_definitions(), steps


def end_with_the_run(*stops: Connection) -> None:
    """End this process once the run that began it was killed, or has closed one of some pipes.

    It would go on with its job in the work folder, where another run may be at work by then.
    """
    run = multiprocessing.parent_process()
    if run is None:
        raise AssertionError("the process was not started by a run")
    wait([run.sentinel, *stops])
    os._exit(1)


def nothing() -> None:
    """Do nothing, but in a process that was begun for it."""


def do_job(call: Callable[[Job, EmitAny], Found], job: Job) -> Found:
    """Do a job in this process, which a run began; its events are lost."""
    return call(job, no_event)


def _do_counted(call: Callable[[Job, EmitAny], Found], job: Job) -> Found:
    """Do a job in this process, which a run began; of its events, steps reach the run."""
    return call(job, _count_steps)


def _count_steps(event: object) -> None:
    if isinstance(event, StageAdvanced):
        with _steps.get_lock():
            _steps.value += event.count


def forked_workers(most: int, preloaded: str) -> PreparedRunner:
    """Return the processes of a run of at most so many; this one where there is no other.

    Args:
        most: processes; 0 for one a processor.
        preloaded: the module that they begin with.
    """
    processes = most or os.cpu_count() or 1
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
        """Begin to load the module in a process of its own."""
        multiprocessing.set_forkserver_preload([self.preloaded])
        with sigint_blocked():
            forkserver.ensure_running()

    def each(
        self, call: Callable[[Job, EmitAny], Found], jobs: Iterable[Job], emit: EmitAny
    ) -> Iterator[Found]:
        """Yield the result of each job, in their order.

        Raises:
            StoreError: a process was killed.
        """
        del emit
        every = list(jobs)
        if not every:
            return
        self.begin()
        context = multiprocessing.get_context("forkserver")
        processes = min(self.processes, len(every))
        with (
            killed_as_store_error(),
            ProcessPoolExecutor(processes, context, _end_with_the_run) as pool,
        ):
            yield from pool.map(do_job, repeat(call), every)


def _end_with_the_run() -> None:
    threading.Thread(target=end_with_the_run, daemon=True).start()
