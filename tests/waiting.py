"""Waiting for what another process or thread brings about: the one place that polls."""

import time
from collections.abc import Callable
from pathlib import Path

_PAUSE_SECONDS = 0.02


def until(
    holds: Callable[[], object],
    seconds: float = 20.0,
    *,
    passing: tuple[type[Exception], ...] = (OSError,),
) -> None:
    """Wait until something holds.

    Args:
        holds: what is asked, again and again.
        seconds: after which waiting fails; so many that a busy machine has done it long ago.
        passing: errors of asking that say no more than "not yet".

    Raises:
        AssertionError: it did not come about in time.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return
        except passing:
            pass
        assert time.monotonic() < end, f"it did not come about in {seconds:g} seconds"
        time.sleep(_PAUSE_SECONDS)


def is_alive(pid: int) -> bool:
    """Return whether a process is there and has not ended; Linux alone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
