"""How often an app may ask for one member's data, and how often an address may be refused.

Counted by each worker for itself, in fixed windows, with the strategies of the library `limits`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from limits import RateLimitItem, parse
from limits.errors import ConfigurationError
from limits.storage.base import Storage
from limits.strategies import FixedWindowRateLimiter

from etl.gateway.outcomes import Rejection

_MOST: Final = 100_000
"""Counters that are kept; past them the oldest are dropped, so that memory is bounded."""


class Counters(Storage):
    """Counters in memory.

    The library's own memory storage looks through all counters up to a hundred times a second, in
    a thread; this one drops what has expired when it meets it, and the oldest past a bound.

    Args:
        now: the clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._now = now
        self._counts: dict[str, tuple[int, float]] = {}

    @property
    def base_exceptions(self) -> type[Exception]:
        """What a storage may raise; this one nothing."""
        return ValueError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count, and return the count; a window begins with its first."""
        now = self._now()
        held = self._counts.get(key)
        if held is None or held[1] <= now:
            if held is not None:
                del self._counts[key]
            elif len(self._counts) >= _MOST:
                del self._counts[next(iter(self._counts))]
            self._counts[key] = (amount, now + expiry)
            return amount
        self._counts[key] = (held[0] + amount, held[1])
        return held[0] + amount

    def get(self, key: str) -> int:
        """Return a count; 0 where its window is over."""
        held = self._counts.get(key)
        return held[0] if held is not None and held[1] > self._now() else 0

    def get_expiry(self, key: str) -> float:
        """Return when a window ends; now where there is none."""
        held = self._counts.get(key)
        return held[1] if held is not None else self._now()

    def check(self) -> bool:
        """Return True: memory is always there."""
        return True

    def reset(self) -> int:
        """Forget all counts, and return how many there were."""
        many = len(self._counts)
        self._counts.clear()
        return many

    def clear(self, key: str) -> None:
        """Forget one count."""
        self._counts.pop(key, None)


def rate_of(text: str) -> RateLimitItem | None:
    """Return a rate such as `600/minute`; None for an empty text, which sets no limit.

    Raises:
        ValueError: it is no rate.
    """
    if not text:
        return None
    try:
        return parse(text)
    except (ConfigurationError, ValueError):
        raise ValueError(f"{text!r} is no rate; write one like 600/minute") from None


class RateLimits:
    """The two limits.

    Args:
        member: requests of one app for one member.
        refused: refused requests of one address.
        now: the clock, in seconds.
    """

    def __init__(self, member: str, refused: str, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._counters = Counters(now)
        self._strategy = FixedWindowRateLimiter(self._counters)
        self._member = rate_of(member)
        self._refused = rate_of(refused)

    def count(self, client: str, patient: str) -> None:
        """Count a request of an app for a member.

        Raises:
            Rejection: `rate-limited`.
        """
        if self._member is not None:
            self._hit(self._member, "member", client, patient)

    def count_refused(self, address: str) -> None:
        """Count a request whose token was missing or refused.

        Raises:
            Rejection: `rate-limited`.
        """
        if self._refused is not None:
            self._hit(self._refused, "refused", address)

    def _hit(self, rate: RateLimitItem, *who: str) -> None:
        if not self._strategy.hit(rate, *who):
            left = self._counters.get_expiry(rate.key_for(*who)) - self._now()
            seconds = max(1, math.ceil(left))
            raise Rejection(
                "rate-limited",
                f"Wait {seconds} seconds; the limit is {rate.amount} requests in "
                f"{rate.get_expiry()} seconds.",
                ((b"retry-after", b"%d" % seconds),),
            )
