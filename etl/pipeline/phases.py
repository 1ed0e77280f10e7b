"""Phases of a run: how long each took, and how many steps it had."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from etl.pipeline.events import (
    STAGES,
    Event,
    ObjectWritten,
    PartitionDone,
    Stage,
    StageAdvanced,
    StageBegan,
)
from etl.reports.summary import counted
from etl.sources import FileProgress, Hashed


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of a run, done or under way.

    Attributes:
        stage: which.
        seconds: how long it took.
        count: how many steps it had.
        recorded_unit: name of its steps where an older program counted others; else empty.
    """

    stage: Stage
    seconds: float
    count: int
    recorded_unit: str = ""

    @property
    def unit(self) -> str:
        """Name of its steps, in the plural."""
        return self.recorded_unit or STAGES[self.stage]

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
            case StageAdvanced(count=count) | PartitionDone(count=count):
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
        phase = Phase(stage, self._clock() - began, self._count)
        self._present, self._count = None, 0
        self._done.append(phase)
        self._ended(phase)

    @property
    def done(self) -> tuple[Phase, ...]:
        """The phases that are over, in the order of `STAGES`; one that came twice is one."""
        phases = []
        for stage in STAGES:
            mine = [each for each in self._done if each.stage == stage]
            if mine:
                seconds, count = (
                    sum(each.seconds for each in mine),
                    sum(each.count for each in mine),
                )
                phases.append(Phase(stage, seconds, count))
        return tuple(phases)
