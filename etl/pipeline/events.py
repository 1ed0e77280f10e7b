"""Events of a run, for progress bars and logs: places and counts, never a row's data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from etl.sources import Event as SourceEvent

Stage: TypeAlias = Literal["read", "directory", "partitions", "suites", "report", "publish"]


@dataclass(frozen=True, slots=True)
class StageBegan:
    """A part of the run began.

    Attributes:
        stage: which.
        total: how many steps it has; None where that is not known.
    """

    stage: Stage
    total: int | None = None


@dataclass(frozen=True, slots=True)
class PartitionDone:
    """One partition of members was checked and mapped, or several with little to do.

    Attributes:
        index: number of the first.
        count: how many.
        members: how many members it published.
        resources: how many resources it has.
        reused: members whose results are those of the previous release, rejected ones included.
    """

    index: int
    count: int
    members: int
    resources: int
    reused: int = 0


Event: TypeAlias = SourceEvent | StageBegan | PartitionDone
Emit: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Emit nothing."""
    del event
