"""How fast several ways of doing one thing are, in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def rates(ways: Mapping[str, Callable[[], int]], rounds: int) -> dict[str, float]:
    """Return how many things each way does a second of this process's processor time.

    Each round takes each way once, so that what sways about the machine sways about all of them,
    and the median of the rounds counts.

    Args:
        ways: name -> does it once, and returns how many things it did.
        rounds: how often.
    """
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, once in ways.items():
            began = time.process_time()
            count = once()
            found[name].append(count / (time.process_time() - began))
    return {name: statistics.median(each) for name, each in found.items()}
