"""Worker processes that begin with a library in memory, loaded beside what the run does before.

Great Expectations takes seconds to load. One process loads it while the extract is read and mapped;
those that need it are forks of that one (`multiprocessing`'s fork server).
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from multiprocessing import forkserver

from etl.jobs import ALONE, EmitAny, Found, Job, PreparedRunner
from etl.local.workers import do_job, end_with_the_run, killed_as_store_error, sigint_blocked


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
