"""Progress: a bar for each phase on a terminal, plain lines elsewhere, nothing with JSON output."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from etl.pipeline.progress import (
    STAGES,
    Emit,
    Event,
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

    def __call__(self, done: int, total: int | None = None, /) -> None:
        """Show them."""


_NAMES: Final = {
    "open": "opening",
    "hash": "hashing",
    "read": "reading",
    "directory": "checking the directory",
    "partitions": "checking and mapping",
    "publish": "publishing",
    "bulk": "writing bulk files",
    "suites": "running the suites",
    "report": "writing the report",
    "commit": "committing",
}


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
        yield _lines


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
    from etl.cli.bars import bars, fill

    with bars() as shown:
        task = shown.add_task(name, total=total, unit=unit)

        def advance(done: int, total: int | None = None, /) -> None:
            shown.update(task, completed=done, total=total)

        yield advance
        fill(shown, task)


def _lines(event: Event) -> None:
    match event:
        case StageBegan(stage=stage):
            print(f"{_NAMES[stage]} …", file=sys.stderr)  # noqa: T201 - the progress itself
        case Partitioned(rows=rows, partitions=count):
            pieces = "1 partition" if count == 1 else f"{count} partitions"
            print(f"{rows:,} rows in {pieces}", file=sys.stderr)  # noqa: T201
        case _:
            return


class _Phases:
    """A bar for each phase: completed ones stay, with their duration."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._counter = StepCounter()
        self._task: TaskID | None = None

    def __call__(self, event: Event) -> None:
        from etl.cli.bars import extend

        steps = self._counter.steps(event)
        if isinstance(event, StageBegan):
            self.end()
            unit = STAGES[event.stage]
            self._task = self._shown.add_task(_NAMES[event.stage], total=event.total, unit=unit)
        elif self._task is not None and isinstance(event, StageExtended):
            extend(self._shown, self._task, event.count)
        elif self._task is not None and steps:
            self._shown.advance(self._task, steps)

    def end(self) -> None:
        """Show the present phase as done."""
        from etl.cli.bars import fill

        if self._task is not None:
            fill(self._shown, self._task)
