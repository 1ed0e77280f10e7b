"""Progress of a run: a bar on a terminal, plain lines elsewhere, nothing where JSON is wanted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from etl.pipeline.events import Emit, Event, PartitionDone, StageBegan
from etl.sources import FileProgress, Hashed, Partitioned

_NAMES: Final = {
    "read": "reading",
    "directory": "checking the directory",
    "partitions": "checking and mapping",
    "suites": "running the suites",
    "report": "writing the report",
    "publish": "publishing",
}


@contextmanager
def progress(*, quiet: bool) -> Iterator[Emit]:
    """Give what takes a run's events."""
    if quiet:
        yield _nothing
    elif sys.stderr.isatty():
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        ) as bar:
            yield _Bar(bar)
    else:
        yield _lines


def _nothing(event: Event) -> None:
    del event


def _lines(event: Event) -> None:
    match event:
        case StageBegan(stage=stage):
            print(f"{_NAMES[stage]} …", file=sys.stderr)  # noqa: T201 - the progress itself
        case Partitioned(rows=rows, partitions=count):
            pieces = "1 partition" if count == 1 else f"{count} partitions"
            print(f"{rows:,} rows in {pieces}", file=sys.stderr)  # noqa: T201
        case _:
            return


class _Bar:
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: TaskID | None = None
        self._done: dict[str, int] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case StageBegan(stage=stage, total=total):
                if self._task is not None:
                    self._bar.remove_task(self._task)
                self._task = self._bar.add_task(_NAMES[stage], total=total)
            case FileProgress(file=file, done=done):
                self._done[file] = done
                self._update(completed=sum(self._done.values()))
            case Hashed(bytes=size):
                self._grow(size)
            case PartitionDone(count=count):
                if self._task is not None:
                    self._bar.advance(self._task, count)
            case _:
                return

    def _update(self, *, completed: int) -> None:
        if self._task is not None:
            self._bar.update(self._task, completed=completed)

    def _grow(self, size: int) -> None:
        if self._task is not None:
            task = self._bar.tasks[self._bar.task_ids.index(self._task)]
            self._bar.update(self._task, total=(task.total or 0) + size)
