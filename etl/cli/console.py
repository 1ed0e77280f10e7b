"""Log lines, interruptions, and errors of the operating system, on standard error."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final

import click

from etl.errors import EtlError


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


def message_of(error: EtlError | OSError) -> str | None:
    """Return an error's message, with the state that it leaves if that is noted.

    None if it looks like a bug.
    """
    message = sentence_of(error) if isinstance(error, OSError) else str(error)
    return message and "; ".join([message, *getattr(error, "__notes__", ())])


def what_now(error: KeyboardInterrupt) -> str:
    """Return the state after the interruption, and the remedy (`etl.errors.if_interrupted`)."""
    notes = getattr(error, "__notes__", ())
    return notes[0] if notes else "the command did not finish; run it again"


_SPACE: Final = "free some space, and run the command again"
_OWNER: Final = "check its owner and permissions"
_WHAT_TO_DO: Final = MappingProxyType(
    {
        errno.ENOSPC: _SPACE,
        errno.EDQUOT: _SPACE,
        errno.EFBIG: "raise the file size limit (ulimit -f)",
        errno.EACCES: _OWNER,
        errno.EPERM: _OWNER,
        errno.EROFS: "use a folder that can be written to",
        errno.ENOTDIR: "there is a file where a folder is needed",
        errno.EEXIST: "there is a file where a folder is needed",
        errno.EISDIR: "there is a folder where a file is needed",
        errno.ENAMETOOLONG: "choose a shorter path",
        errno.ELOOP: "the link points to itself",
        errno.EMFILE: "raise the limit for open files (ulimit -n)",
        errno.ENFILE: "too many files are open on this machine",
        errno.EIO: "the disk may be broken",
        errno.ESTALE: "the network drive is no longer available",
        errno.ENOMEM: "give it more memory, or lower run.partition_rows",
    }
)


def sentence_of(error: OSError) -> str | None:
    """Return the system's error and the remedy; None where it looks like a bug."""
    code = error.errno
    if code is None or code not in _WHAT_TO_DO:
        return None
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    reason = os.strerror(code).lower()
    return f"{where}{reason}; {_WHAT_TO_DO[code]}"


LOG_TIME: Final = "%Y-%m-%dT%H:%M:%S%z"
"""Time of a line of a log: ISO 8601, with its zone."""


def log_to_console(*, verbose: bool) -> None:
    """Print warnings and errors; with `verbose` all lines."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        datefmt=LOG_TIME,
        handlers=[_StandardError()],
    )


class _StandardError(logging.Handler):
    """Prints to the present standard error, which is above the bars where some are shown."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), file=sys.stderr)
