"""Rate limits: requests of an app for one member, requests and refusals of an address.

Each worker counts for itself, in fixed windows, in memory. Rates are parsed by the library
`limits`. Its own storage in memory scans all counters up to a hundred times a second, in a thread,
which costs more than the rest of a request.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from limits import RateLimitItem, parse

from etl.gateway.fhir_errors import FhirError
from etl.smart.callers import caller_of

SECONDS_A_REQUEST: Final = 0.01
"""Processor time that counts as one more request."""

_MOST: Final = 100_000
"""Windows that are kept; past them the oldest are dropped, so that memory is bounded."""


class Windows:
    """Counts of one rate, by caller.

    Args:
        rate: the limit.
        now: the clock, in seconds.
        most: windows that are kept.
    """

    def __init__(
        self, rate: RateLimitItem, now: Callable[[], float] = time.time, most: int = _MOST
    ) -> None:
        self._amount = rate.amount
        self._seconds = rate.get_expiry()
        self._now = now
        self._most = most
        self._open: dict[tuple[str, ...], tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def count(self, *caller: str) -> None:
        """Count one request; a window begins with its first.

        Raises:
            FhirError: `rate-limited`.
        """
        now = self._now()
        count, end = self._open.get(caller, (0, 0.0))
        if end <= now:
            self._open.pop(caller, None)  # keeps windows in order of their start
            count, end = 0, now + self._seconds
            if len(self._open) >= self._most:
                del self._open[next(iter(self._open))]
        self._open[caller] = (count + 1, end)
        if count >= self._amount:
            seconds = max(1, math.ceil(end - now))
            raise FhirError(
                "rate-limited",
                f"Wait {seconds} seconds; the limit is {self._amount} requests in "
                f"{self._seconds} seconds.",
                ((b"retry-after", b"%d" % seconds),),
            )

    def add(self, more: int, *caller: str) -> None:
        """Count so many more requests of a caller whose window is open."""
        count, end = self._open.get(caller, (0, 0.0))
        if end > self._now():
            self._open[caller] = (count + more, end)


def rate_of(text: str) -> RateLimitItem | None:
    """Return a rate such as `600/minute`; None for an empty text, which sets no limit.

    Raises:
        ValueError: it is not a rate.
    """
    if not text:
        return None
    try:
        return parse(text)
    except ValueError:
        raise ValueError(f"{text!r} is no rate; write one like 600/minute") from None


class RateLimits:
    """The two limits.

    Args:
        member: requests of one app for one member.
        refused: refused requests of one address.
        now: the clock, in seconds.
    """

    def __init__(self, member: str, refused: str, now: Callable[[], float] = time.time) -> None:
        rates = (rate_of(member), rate_of(refused))
        self._member, self._refused = (
            None if rate is None else Windows(rate, now) for rate in rates
        )

    def count(self, client: str, patient: str) -> None:
        """Count a request of an app for a member.

        Raises:
            FhirError: `rate-limited`.
        """
        if self._member is not None:
            self._member.count(client, patient)

    def count_time(self, client: str, patient: str, seconds: float) -> None:
        """Count a request's processor time: once more for each `SECONDS_A_REQUEST`."""
        more = int(seconds / SECONDS_A_REQUEST)
        if more and self._member is not None:
            self._member.add(more, client, patient)

    def count_refused(self, address: str) -> None:
        """Count a request with a missing or refused token.

        Raises:
            FhirError: `rate-limited`.
        """
        if self._refused is not None:
            self._refused.count(caller_of(address))
