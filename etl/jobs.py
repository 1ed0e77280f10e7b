"""Jobs that processes share: the port, and the process that works alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Protocol, TypeAlias, TypeVar

Job = TypeVar("Job")
Found = TypeVar("Found")
EmitAny: TypeAlias = Callable[[Any], None]


class JobRunner(Protocol):
    """Calls a function with each of some jobs."""

    @property
    def processes(self) -> int:
        """Number of processes."""

    def run_each(
        self, call: Callable[[Job, EmitAny], Found], jobs: Iterable[Job], emit: EmitAny
    ) -> Iterator[Found]:
        """Yield the result of each job, in their order.

        Jobs are taken from `jobs` as they are started, and at most a few results wait per process.

        Args:
            call: a module-level function, because other processes find it by name.
            jobs: what to call it with.
            emit: takes the events of a job that is done in this process; of others at most steps.

        Raises:
            Exception: the first, in the order of the jobs, that a call raised.
            StoreError: a process was killed.
        """


class PreparedRunner(JobRunner, Protocol):
    """Prepares for later jobs while other work is done."""

    def begin(self) -> None:
        """Begin to prepare; what jobs need is loaded with the first of them otherwise."""


class SingleProcess:
    """This process, which does one job after the other."""

    processes = 1

    def begin(self) -> None:
        """Do nothing: there is other work to do first."""

    def run_each(
        self, call: Callable[[Job, EmitAny], Found], jobs: Iterable[Job], emit: EmitAny
    ) -> Iterator[Found]:
        """Yield the result of each job, in their order."""
        for job in jobs:
            yield call(job, emit)


ALONE: Final = SingleProcess()


def no_event(event: object) -> None:
    """Emit nothing."""
    del event
