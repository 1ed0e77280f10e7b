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
from etl.sources.files.listed_files import FileHashed, FileProgress

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

Rows of `partitions` are the extract's rows, without the directory's. Rows of `publish` are catalog
entries and resources of the shared directory.
"""


@dataclass(frozen=True, slots=True)
class StageBegan:
    """A stage of the run began; the previous one is over.

    Attributes:
        stage: the stage. Reading begins twice if a delta is merged with its base layers.
        total: how many steps it has; None if unknown.
    """

    stage: Stage
    total: int | None = None


@dataclass(frozen=True, slots=True)
class StageAdvanced:
    """Some steps of the current stage are done.

    Attributes:
        count: how many more.
    """

    count: int


@dataclass(frozen=True, slots=True)
class StageExtended:
    """The current stage has more steps than it first reported.

    Attributes:
        count: how many more.
    """

    count: int


@dataclass(frozen=True, slots=True)
class ObjectWritten:
    """An object was written to the target: a step of stages that count objects."""


@dataclass(frozen=True, slots=True)
class PartitionDone:
    """A task's partitions were checked and mapped.

    Attributes:
        index: number of the first partition.
        count: how many partitions.
        members: how many members they publish.
        resources: how many resources they have.
        reused: members whose previous results were reused, including rejected ones.
    """

    index: int
    count: int
    members: int
    resources: int
    reused: int = 0


@dataclass(frozen=True, slots=True)
class Committed:
    """Readers see a release: whatever follows can fail, but not take it back.

    Attributes:
        release: its id.
    """

    release: str


Event: TypeAlias = (
    SourceEvent
    | StageBegan
    | StageAdvanced
    | StageExtended
    | ObjectWritten
    | PartitionDone
    | Committed
)
Emit: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Ignore an event."""
    del event


def to_all(*receivers: Emit) -> Emit:
    """Return a receiver that passes each event on to all receivers, in order."""

    def emit(event: Event) -> None:
        for receiver in receivers:
            receiver(event)

    return emit


class UnitProgress:
    """Reports the progress of a task in rows of the extract.

    Args:
        emit: gets a `StageAdvanced` for rows that were not reported before.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit, self._reported = emit, 0

    def reach(self, share: float, rows: int) -> None:
        """Report the share of the task's rows that is done, from 0 to 1."""
        count = int(share * rows) - self._reported
        if count > 0:
            self._reported += count
            self._emit(StageAdvanced(count))


class Phase(msgspec.Struct, frozen=True, rename={"stage": "phase"}):
    """A phase of a run.

    Attributes:
        stage: its stage.
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
        """The number of steps in words, such as `3 partitions`."""
        return counted(self.count, self.unit.removesuffix("s"))


class StepCounter:
    """Counts the steps that events report."""

    def __init__(self) -> None:
        self._read: dict[str, int] = {}
        self._counts_objects = False

    def steps(self, event: Event) -> int:
        """Return how many steps of the current stage an event adds."""
        match event:
            case StageBegan(stage=stage):
                self._read.clear()
                self._counts_objects = STAGES[stage] == "objects"
            case ObjectWritten():
                return int(self._counts_objects)
            case FileHashed(bytes=size):
                return size
            case FileProgress(file=file, bytes_read=bytes_read):
                count = bytes_read - self._read.get(file, 0)
                self._read[file] = bytes_read
                return count
            case StageAdvanced(count=count):
                return count
            case _:
                pass
        return 0


class Phases:
    """Measures the phases of a run from its events.

    Args:
        clock: monotonic time in seconds.
        on_end: called with each finished phase.
    """

    def __init__(
        self, clock: Callable[[], float], on_end: Callable[[Phase], None] = lambda _: None
    ) -> None:
        self._clock, self._on_end = clock, on_end
        self._counter: Final = StepCounter()
        self._lock: Final = threading.Lock()  # objects are written by several threads
        self._done: list[Phase] = []
        self._current: tuple[Stage, float] | None = None
        self._count = 0

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, StageBegan):
            self.end()
            self._current = event.stage, self._clock()
        with self._lock:
            self._count += self._counter.steps(event)

    def end(self) -> None:
        """End the current phase, if there is one."""
        if self._current is None:
            return
        stage, began = self._current
        phase = Phase(stage, self._clock() - began, self._count, STAGES[stage])
        self._current, self._count = None, 0
        self._done.append(phase)
        self._on_end(phase)

    @property
    def finished(self) -> tuple[Phase, ...]:
        """The finished phases in the order of `STAGES`; a repeated stage is one phase."""
        phases = []
        for stage, unit in STAGES.items():
            same_stage = [phase for phase in self._done if phase.stage == stage]
            if same_stage:
                seconds, count = (
                    sum(phase.seconds for phase in same_stage),
                    sum(phase.count for phase in same_stage),
                )
                phases.append(Phase(stage, seconds, count, unit))
        return tuple(phases)
