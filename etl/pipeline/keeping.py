"""Keeping a run's lease alive: each event of the run is an occasion to renew it."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from etl.pipeline.events import Emit, Event
from etl.publish.lease import Clock, Lease

_EVERY: Final = timedelta(minutes=10)


class Keeping:
    """Takes events, hands them on, and renews the lease where it was not for a while.

    Args:
        emit: takes the events.
        lease: the run's.
        clock: the time now.
    """

    def __init__(self, emit: Emit, lease: Lease, clock: Clock) -> None:
        self._emit = emit
        self._lease = lease
        self._clock = clock
        self._renewed = clock()

    def __call__(self, event: Event) -> None:
        """Take an event.

        Raises:
            StoreError: the lease ran out, and a prune broke it.
        """
        self._emit(event)
        now = self._clock()
        if now - self._renewed >= _EVERY:
            self._lease.renew()
            self._renewed = now
