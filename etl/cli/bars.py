"""Progress bars on a terminal. Imported only where one is shown: rich is slow to load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

BYTES: Final = "bytes"


class _Steps(ProgressColumn):
    """Completed steps and their total."""

    def render(self, task: Task) -> Text:
        done, total = task.fields.get("count", int(task.completed)), task.total
        of = "" if total is None or task.finished else f" of {_amount(int(total), task)}"
        unit = "" if _is_bytes(task) else f" {task.fields['unit']}"
        return Text(f"{_amount(done, task)}{of}{unit}", style="progress.download")


def _is_bytes(task: Task) -> bool:
    return bool(task.fields["unit"] == BYTES)


def _amount(count: int, task: Task) -> str:
    return decimal(count) if _is_bytes(task) else f"{count:,}"


@contextmanager
def bars() -> Iterator[Progress]:
    """Give a display of bars on standard error; lines logged meanwhile are printed above it."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        _Steps(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True),
    ) as shown:
        yield shown


def extend(shown: Progress, task: TaskID, count: int) -> None:
    """Add steps to a phase that has more than were known."""
    total = shown.tasks[shown.task_ids.index(task)].total
    shown.update(task, total=(total or 0) + count)


def fill(shown: Progress, task: TaskID) -> None:
    """Show a phase as done, whatever its number of steps."""
    done = int(shown.tasks[shown.task_ids.index(task)].completed)
    shown.update(task, total=max(done, 1), completed=max(done, 1), count=done)
