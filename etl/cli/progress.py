"""Progress: a bar for each phase on a terminal, plain lines elsewhere, nothing with JSON output."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from etl.cli.time_left import percent, time_left
from etl.errors import counted
from etl.pipeline.progress import (
    STAGES,
    Emit,
    Event,
    Stage,
    StageBegan,
    StageExtended,
    StepCounter,
    ignore,
)
from etl.sources.files.listed_files import Partitioned

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Advance(Protocol):
    """Takes the number of steps done so far, and of all where that was not known before."""

    def __call__(self, steps: int, total: int | None = None, /) -> None:
        """Show them."""


_NAMES: Final = {
    "open": "opening",
    "hash": "hashing",
    "read": "reading",
    "directory": "checking rows that belong to no member",
    "partitions": "checking and mapping",
    "publish": "publishing",
    "bulk": "writing bulk files",
    "suites": "running the suites",
    "report": "writing the report",
    "commit": "committing",
}


_LINE_SECONDS: Final = 30.0
"""Least time between two lines about one phase."""


@contextmanager
def progress(*, quiet: bool) -> Iterator[Emit]:
    """Give the receiver of a run's events."""
    if quiet:
        yield ignore
    elif sys.stderr.isatty():
        from etl.cli.bars import bars

        with bars() as shown:
            phases = _Phases(shown)
            yield phases
            phases.end()
    else:
        yield _Lines()


@contextmanager
def counting(name: str, unit: str, total: int | None = None, *, quiet: bool) -> Iterator[Advance]:
    """Give the receiver of the progress of a command with one phase.

    Args:
        name: name of the phase.
        unit: unit of its steps, in the plural.
        total: their number; None where it is not known.
        quiet: whether to show nothing.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda _, __=None: None
        return
    from etl.cli.bars import advance, bars, fill

    with bars() as shown:
        task = shown.add_task(name, total=total, unit=unit)
        yield lambda done, known=None, /: advance(shown, task, done, known or total)
        fill(shown, task)


class _Lines:
    """A line for each phase, and further ones for a phase that takes long.

    Args:
        clock: seconds, from any beginning; never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counter = StepCounter()
        self._lock = threading.Lock()  # objects are written by several threads
        self._stage: Stage = "open"
        self._began = self._printed = clock()
        self._done, self._total = 0, 0

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._done += self._counter.steps(event)
            match event:
                case StageBegan(stage=stage):
                    self._stage, self._done, self._total = stage, 0, event.total or 0
                    self._began = self._clock()
                    self._print(f"{_NAMES[stage]} …")
                case StageExtended(count=count):
                    self._total += count
                case Partitioned(rows=rows, partitions=count):
                    self._print(f"{rows:,} rows in {counted(count, 'partition')}")
                case _:
                    self._print_share()

    def _print_share(self) -> None:
        current_time = self._clock()
        remaining_time = time_left(current_time - self._began, self._done, self._total)
        if remaining_time and current_time - self._printed >= _LINE_SECONDS:
            share = f"{percent(self._done, self._total)} of {STAGES[self._stage]}"
            self._print(f"{_NAMES[self._stage]}: {share}, {remaining_time}")

    def _print(self, line: str) -> None:
        self._printed = self._clock()
        print(line, file=sys.stderr)  # noqa: T201 - the progress itself


class _Phases:
    """A bar for each phase: completed ones stay, with their duration."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._counter = StepCounter()
        self._task: TaskID | None = None

    def __call__(self, event: Event) -> None:
        from etl.cli.bars import advance, extend

        steps = self._counter.steps(event)
        if isinstance(event, StageBegan):
            self.end()
            unit = STAGES[event.stage]
            self._task = self._shown.add_task(_NAMES[event.stage], total=event.total, unit=unit)
        elif self._task is not None and isinstance(event, StageExtended):
            extend(self._shown, self._task, event.count)
        elif self._task is not None and steps:
            task = self._shown.tasks[self._shown.task_ids.index(self._task)]
            advance(self._shown, self._task, task.completed + steps, task.total)

    def end(self) -> None:
        """Show the present phase as done."""
        from etl.cli.bars import fill

        if self._task is not None:
            fill(self._shown, self._task)
