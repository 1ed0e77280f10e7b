"""Keeping a run's lease alive: each event of the run is an occasion to renew it."""

from __future__ import annotations

from etl.pipeline.events import Emit, Event
from etl.publish.lease import Lease


class Keeping:
    """Takes events, hands them on, and renews the lease where it was not for a while.

    Args:
        emit: takes the events.
        lease: the run's.
    """

    def __init__(self, emit: Emit, lease: Lease) -> None:
        self._emit = emit
        self._lease = lease

    def __call__(self, event: Event) -> None:
        """Take an event.

        Raises:
            StoreError: the lease ran out, and a prune broke it.
        """
        self._emit(event)
        self._lease.keep()
