"""Places where jobs are done: this process, or wherever a pipeline has processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol, TypeVar

from etl.sources.events import Emit

Job = TypeVar("Job")
Found = TypeVar("Found")


class Spread(Protocol):
    """Calls a function with each of some jobs."""

    @property
    def processes(self) -> int:
        """Number of processes."""

    def each(
        self, call: Callable[[Job, Emit], Found], jobs: Sequence[Job], emit: Emit
    ) -> Iterator[Found]:
        """Yield what comes of each job, in their order.

        Args:
            call: a function of a module, for other processes find it by its name.
            jobs: what to call it with.
            emit: takes the events of a job that is done in this process; those of others are lost.

        Raises:
            Exception: the first, in the order of the jobs, that a call raised.
        """


class PreparedSpread(Spread, Protocol):
    """Prepares for jobs that come later, beside what is done before."""

    def begin(self) -> None:
        """Begin to prepare; what jobs need is loaded with the first of them otherwise."""


class SingleProcess:
    """This process, which does one job after the other."""

    processes = 1

    def begin(self) -> None:
        """Do nothing: there is other work to do first."""

    def each(
        self, call: Callable[[Job, Emit], Found], jobs: Sequence[Job], emit: Emit
    ) -> Iterator[Found]:
        """Yield what comes of each job, in their order."""
        for job in jobs:
            yield call(job, emit)


ALONE: Final = SingleProcess()
