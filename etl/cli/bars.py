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
    TimeElapsedColumn,
)
from rich.text import Text

from etl.cli.time_left import percent, time_left

BYTES: Final = "bytes"


class _Steps(ProgressColumn):
    """The share of all steps that is done; their number once all are, or if all is not known."""

    def render(self, task: Task) -> Text:
        completed, total = task.fields.get("count", int(task.completed)), task.total
        steps = _amount(completed, task)
        if total is not None and not task.finished:
            steps = f"{percent(completed, total)} of {_amount(int(total), task)}"
        unit = "" if _is_bytes(task) else f" {task.fields['unit']}"
        return Text(f"{steps}{unit}", style="progress.download")


class _Time(TimeElapsedColumn):
    """About how long a phase will still take; how long it took once it is done."""

    def render(self, task: Task) -> Text:
        if task.finished:
            return super().render(task)
        return Text(task.fields.get("left", ""), style="progress.remaining")


def _is_bytes(task: Task) -> bool:
    return bool(task.fields["unit"] == BYTES)


def _amount(count: int, task: Task) -> str:
    return decimal(count) if _is_bytes(task) else f"{count:,}"


@contextmanager
def bars() -> Iterator[Progress]:
    """Give a display of bars on standard error; lines logged meanwhile are printed above it."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        _Steps(),
        _Time(),
        console=Console(stderr=True),
    ) as shown:
        yield shown


def advance(shown: Progress, task_id: TaskID, steps: float, total: float | None) -> None:
    """Show how many steps of a phase are done.

    Args:
        shown: the bars.
        task_id: the phase.
        steps: its completed steps.
        total: all of its steps; None if they are not known.
    """
    elapsed = shown.tasks[shown.task_ids.index(task_id)].elapsed or 0.0
    shown.update(task_id, completed=steps, total=total, left=time_left(elapsed, steps, total))


def extend(shown: Progress, task: TaskID, count: int) -> None:
    """Add steps to a phase that has more than were known."""
    total = shown.tasks[shown.task_ids.index(task)].total
    shown.update(task, total=(total or 0) + count)


def fill(shown: Progress, task: TaskID) -> None:
    """Show a phase as done, whatever its number of steps."""
    steps = int(shown.tasks[shown.task_ids.index(task)].completed)
    shown.update(task, total=max(steps, 1), completed=max(steps, 1), count=steps)
