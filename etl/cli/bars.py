"""Progress bars on a terminal. Imported only where one is shown: rich is slow to load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

BYTES: Final = "bytes"


class _Steps(ProgressColumn):
    """Completed steps and their total."""

    def render(self, task: Task) -> Text:
        done, total = task.fields.get("count", int(task.completed)), task.total
        of = "" if total is None or task.finished else f" of {_amount(int(total), task)}"
        unit = "" if _is_bytes(task) else f" {task.fields['unit']}"
        return Text(f"{_amount(done, task)}{of}{unit}", style="progress.download")


class _Rate(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed if task.finished else task.speed
        if not speed or not task.completed or ("count" in task.fields and not task.fields["count"]):
            return Text("")
        rate = decimal(int(speed)) if _is_bytes(task) else f"{speed:,.1f}"
        return Text(f"{rate}/s", style="progress.data.speed")


class _Time(ProgressColumn):
    """Remaining time; for a completed phase its duration."""

    def render(self, task: Task) -> Text:
        if task.finished:
            return Text(f"took {_seconds(task.finished_time)}", style="progress.elapsed")
        if task.time_remaining is not None:
            return Text(f"{_seconds(task.time_remaining)} left", style="progress.remaining")
        return Text(_seconds(task.elapsed), style="progress.elapsed")


def _is_bytes(task: Task) -> bool:
    return bool(task.fields["unit"] == BYTES)


def _amount(count: int, task: Task) -> str:
    return decimal(count) if _is_bytes(task) else f"{count:,}"


def _seconds(seconds: float | None) -> str:
    return str(timedelta(seconds=int(seconds or 0)))


@contextmanager
def bars() -> Iterator[Progress]:
    """Give a display of bars on standard error; lines logged meanwhile are printed above it."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        _Steps(),
        _Rate(),
        _Time(),
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
