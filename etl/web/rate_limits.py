"""Rate limits. Each worker counts for itself, in memory, in windows that begin with a first call.

Rates are parsed by the library `limits`. Its own storage in memory scans all counters up to a
hundred times a second, in a thread, which costs more than the rest of a request.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network
from typing import Final

from limits import RateLimitItem, parse

_MOST_WINDOWS: Final = 100_000
"""Windows of one rate that are kept; past them the oldest are dropped: memory is bounded."""

_CUSTOMER_PREFIX: Final = 64
"""Bits of an IPv6 address that a customer is given at least; the others are theirs to choose, for
each call anew if they like (RFC 6177)."""


class TooMany(Exception):
    """A limit was exceeded.

    Attributes:
        retry_after: seconds to wait.
        limit: the limit, for people.
    """

    def __init__(self, retry_after: int, limit: str) -> None:
        self.retry_after = retry_after
        self.limit = limit
        super().__init__("too many requests")


class Windows:
    """Counts of one rate, by caller.

    Args:
        rate: the limit.
        now: the clock, in seconds.
        most: windows that are kept.
    """

    def __init__(
        self, rate: RateLimitItem, now: Callable[[], float] = time.time, most: int = _MOST_WINDOWS
    ) -> None:
        self._amount = rate.amount
        self._seconds = rate.get_expiry()
        self._now = now
        self._most = most
        self._open: dict[tuple[str, ...], tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def hit(self, caller: tuple[str, ...]) -> None:
        """Count one call; a window begins with its first.

        Raises:
            TooMany: it was one too many.
        """
        now = self._now()
        count, end = self._open.get(caller, (0, 0.0))
        if end <= now:
            self._open.pop(caller, None)  # keeps windows in order of their start
            count, end = 0, now + self._seconds
            if len(self._open) >= self._most:
                del self._open[next(iter(self._open))]
        self._open[caller] = (count + 1, end)
        self._refuse(count, end - now)

    def check(self, caller: tuple[str, ...]) -> None:
        """Refuse a caller with too many calls, without counting this one.

        Raises:
            TooMany: there were too many.
        """
        count, end = self._open.get(caller, (0, 0.0))
        now = self._now()
        if end > now:
            self._refuse(count, end - now)

    def add(self, more: int, caller: tuple[str, ...]) -> None:
        """Count so many more calls of a caller whose window is open."""
        count, end = self._open.get(caller, (0, 0.0))
        if end > self._now():
            self._open[caller] = (count + more, end)

    def _refuse(self, earlier_calls: int, seconds_left: float) -> None:
        if earlier_calls >= self._amount:
            limit = f"{self._amount} requests in {self._seconds} seconds"
            raise TooMany(max(1, math.ceil(seconds_left)), limit)


class RateLimiter:
    """Limits by name.

    Args:
        rates: name → a rate such as `600/minute`; empty for no limit.
        now: the clock, in seconds.

    Attributes:
        rates: as given.

    Raises:
        ValueError: a text is not a rate.
    """

    def __init__(self, rates: Mapping[str, str], now: Callable[[], float] = time.time) -> None:
        self.rates = dict(rates)
        self._windows = {
            name: Windows(rate, now)
            for name, text in rates.items()
            if (rate := parse_rate(text)) is not None
        }

    def hit(self, name: str, *caller: str) -> None:
        """Count a call.

        Args:
            name: the limit.
            caller: addresses and ids whose calls are counted together.

        Raises:
            TooMany: it was one too many.
        """
        if name in self._windows:
            self._windows[name].hit(tuple(map(caller_of, caller)))

    def check(self, name: str, *caller: str) -> None:
        """Refuse a call after too many, without counting it.

        Raises:
            TooMany: there were too many.
        """
        if name in self._windows:
            self._windows[name].check(tuple(map(caller_of, caller)))

    def add(self, name: str, more: int, *caller: str) -> None:
        """Count so many more calls of a caller that `hit` has counted."""
        if name in self._windows:
            self._windows[name].add(more, tuple(map(caller_of, caller)))


def parse_rate(text: str) -> RateLimitItem | None:
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


@lru_cache(maxsize=4096)
def caller_of(address: str) -> str:
    """Return the rate-limit key of an address: itself, or the /64 network of an IPv6 address.

    IPv4 addresses written as IPv6 (`::ffff:192.0.2.1`) are IPv4. Other text is returned unchanged.
    """
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address)
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((int(parsed), _CUSTOMER_PREFIX), strict=False))
