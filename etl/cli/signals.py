"""Interruptions: Ctrl-C and SIGTERM end a command with one sentence and the shell's exit code."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived: the command unwinds as it does at Ctrl-C."""


@contextmanager
def terminable() -> Iterator[None]:
    """Raise `Terminated` at SIGTERM, unless this process was started to ignore it."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: object) -> None:
    raise Terminated


def interruption_of(error: BaseException) -> KeyboardInterrupt | None:
    """Return the interruption behind an error; None where a prompt was declined."""
    cause = error.__context__ if isinstance(error, click.Abort) else error
    return cause if isinstance(cause, KeyboardInterrupt) else None


def exit_code(error: KeyboardInterrupt) -> int:
    """Return 130 for Ctrl-C, 143 for SIGTERM: 128 and the signal's number, as shells count."""
    return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)


def what_now(error: KeyboardInterrupt) -> str:
    """Return the state after the interruption, and the remedy (`etl.errors.if_interrupted`)."""
    notes = getattr(error, "__notes__", ())
    return notes[0] if notes else "the command did not finish; run it again"
