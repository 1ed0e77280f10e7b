"""Events of a run, and how long each of its phases took."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import msgspec

from etl.errors import counted
from etl.sources.files.listed_files import Event as SourceEvent
from etl.sources.files.listed_files import FileProgress, Hashed

Stage: TypeAlias = Literal[
    "open",
    "hash",
    "read",
    "directory",
    "partitions",
    "publish",
    "bulk",
    "suites",
    "report",
    "commit",
]

STAGES: Final[Mapping[Stage, str]] = MappingProxyType(
    {
        "open": "rules",
        "hash": "bytes",
        "read": "bytes",
        "directory": "rows",
        "partitions": "rows",
        "publish": "rows",
        "bulk": "resources",
        "suites": "suites",
        "report": "files",
        "commit": "objects",
    }
)
"""Stage -> name of its steps, in the order in which a run reaches them.

Rows of `partitions` are the extract's, without the directory's. Rows of `publish` are those of the
catalog, and the resources of the shared directory.
"""


@dataclass(frozen=True, slots=True)
class StageBegan:
    """A part of the run began; the one before it is over.

    Attributes:
        stage: which. Reading begins twice where a delta is put on top of what it changes.
        total: how many steps it has; None where that is not known.
    """

    stage: Stage
    total: int | None = None


@dataclass(frozen=True, slots=True)
class StageAdvanced:
    """Some steps of the present stage are done.

    Attributes:
        count: how many more.
    """

    count: int


@dataclass(frozen=True, slots=True)
class StageExtended:
    """The present stage has more steps than were known.

    Attributes:
        count: how many more.
    """

    count: int


@dataclass(frozen=True, slots=True)
class ObjectWritten:
    """An object was written to the target: a step of stages that count objects."""


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


Event: TypeAlias = (
    SourceEvent | StageBegan | StageAdvanced | StageExtended | ObjectWritten | PartitionDone
)
Emit: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Emit nothing."""
    del event


def to_all(*receivers: Emit) -> Emit:
    """Return what hands each event on to all receivers, in their order."""

    def emit(event: Event) -> None:
        for receiver in receivers:
            receiver(event)

    return emit


class UnitProgress:
    """Reports how much of a unit is done, as rows of its extract.

    Args:
        emit: takes a `StageAdvanced` for the rows that were not reported before.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit, self._reported = emit, 0

    def reach(self, share: float, rows: int) -> None:
        """Report a share of the unit's rows, from 0 to 1; nothing happens below an earlier one."""
        more = int(share * rows) - self._reported
        if more > 0:
            self._reported += more
            self._emit(StageAdvanced(more))


class Phase(msgspec.Struct, frozen=True, rename={"stage": "phase"}):
    """A phase of a run, done or under way.

    Attributes:
        stage: which.
        seconds: how long it took.
        count: how many steps it had.
        unit: name of its steps, in the plural.
    """

    stage: str
    seconds: float
    count: int
    unit: str

    @property
    def steps(self) -> str:
        """Its steps in words, such as `3 partitions`."""
        return counted(self.count, self.unit.removesuffix("s"))


class StepCounter:
    """Counts the steps that events report."""

    def __init__(self) -> None:
        self._read: dict[str, int] = {}
        self._counts_objects = False

    def steps(self, event: Event) -> int:
        """Return how many steps of the present stage an event adds."""
        match event:
            case StageBegan(stage=stage):
                self._read.clear()
                self._counts_objects = STAGES[stage] == "objects"
            case ObjectWritten():
                return int(self._counts_objects)
            case Hashed(bytes=size):
                return size
            case FileProgress(file=file, done=done):
                more = done - self._read.get(file, 0)
                self._read[file] = done
                return more
            case StageAdvanced(count=count):
                return count
            case _:
                pass
        return 0


class Phases:
    """Takes a run's events, and the time of each phase.

    Args:
        clock: seconds, from any beginning; never goes back.
        ended: called with each phase that is over.
    """

    def __init__(
        self, clock: Callable[[], float], ended: Callable[[Phase], None] = lambda _: None
    ) -> None:
        self._clock, self._ended = clock, ended
        self._counter: Final = StepCounter()
        self._lock: Final = threading.Lock()  # objects are written by several threads
        self._done: list[Phase] = []
        self._present: tuple[Stage, float] | None = None
        self._count = 0

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, StageBegan):
            self.end()
            self._present = event.stage, self._clock()
        with self._lock:
            self._count += self._counter.steps(event)

    def end(self) -> None:
        """End the present phase; nothing happens where there is none."""
        if self._present is None:
            return
        stage, began = self._present
        phase = Phase(stage, self._clock() - began, self._count, STAGES[stage])
        self._present, self._count = None, 0
        self._done.append(phase)
        self._ended(phase)

    @property
    def done(self) -> tuple[Phase, ...]:
        """The phases that are over, in the order of `STAGES`; one that came twice is one."""
        phases = []
        for stage, unit in STAGES.items():
            mine = [each for each in self._done if each.stage == stage]
            if mine:
                seconds, count = (
                    sum(each.seconds for each in mine),
                    sum(each.count for each in mine),
                )
                phases.append(Phase(stage, seconds, count, unit))
        return tuple(phases)
