"""How far a phase is, and about how long it will still take, in words."""

from __future__ import annotations

import math
from typing import Final

from etl.errors import counted

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE


def percent(steps: float, total: float) -> str:
    """Return a share of all steps, such as `50 %`; never 100 before all are done."""
    return f"{int(100 * steps / total) if total else 100} %"


def time_left(elapsed: float, steps: float, total: float | None) -> str:
    """Return about how long a phase will still take, in words; empty if that is not known.

    Args:
        elapsed: seconds since it began.
        steps: its completed steps.
        total: all of its steps; None if they are not known.
    """
    if not total or not 0 < steps < total:
        return ""
    seconds = elapsed * (total - steps) / steps
    if seconds < _MINUTE:
        return "less than a minute left"
    size, unit = (_MINUTE, "minute") if seconds < _HOUR else (_HOUR, "hour")
    return f"about {counted(math.ceil(seconds / size), unit)} left"
