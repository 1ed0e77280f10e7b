"""Rate limits: each worker counts calls in memory, in windows that begin with a first call.

The library `limits` parses rates. Its in-memory storage is not used: a thread scans all counters
up to a hundred times a second, which costs more than the rest of a request.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network
from typing import Final, NamedTuple

from limits import RateLimitItem, parse

from etl.web.cors import Header

_MAX_WINDOWS: Final = 100_000
"""Maximum number of windows of one rate; the oldest are dropped, so memory is bounded."""

_CUSTOMER_PREFIX: Final = 64
"""A customer gets an IPv6 network of at most this prefix length, and can choose any address in it
for each call (RFC 6177)."""


class Usage(NamedTuple):
    """How much of a rate limit a caller has used.

    Attributes:
        limit: calls that a window allows.
        window: its length in seconds.
        calls: calls so far, this one included.
        reset: seconds until it ends.
    """

    limit: int
    window: int
    calls: int
    reset: int

    def headers(self) -> tuple[Header, Header]:
        """Return its headers (draft-ietf-httpapi-ratelimit-headers-10)."""
        remaining = max(0, self.limit - self.calls)
        return (
            (b"ratelimit-policy", b'"requests";q=%d;w=%d' % (self.limit, self.window)),
            (b"ratelimit", b'"requests";r=%d;t=%d' % (remaining, self.reset)),
        )


class TooMany(Exception):
    """A rate limit was exceeded.

    Attributes:
        usage: how much of the limit was used.
        retry_after: seconds to wait.
    """

    def __init__(self, usage: Usage) -> None:
        self.usage = usage
        self.retry_after = usage.reset
        super().__init__("too many requests")


class Windows:
    """Call counts of one rate, by caller.

    Args:
        rate: the limit.
        now: the clock, in seconds.
        size: maximum number of windows.
    """

    def __init__(
        self, rate: RateLimitItem, now: Callable[[], float] = time.time, size: int = _MAX_WINDOWS
    ) -> None:
        self._requests_per_window = rate.amount
        self._window_seconds = rate.get_expiry()
        self._now = now
        self._max_windows = size
        self._open_windows: dict[tuple[str, ...], tuple[int, float]] = {}
        """Caller -> calls, and end of the window."""

    def __len__(self) -> int:
        return len(self._open_windows)

    def hit(self, caller: tuple[str, ...]) -> Usage:
        """Count a call; the first one begins a window. Return what is used.

        Raises:
            TooMany: the call exceeds the limit.
        """
        now = self._now()
        count, end = self._open_windows.get(caller, (0, 0.0))
        if end <= now:
            self._open_windows.pop(caller, None)  # keeps windows in order of their start
            count, end = 0, now + self._window_seconds
            if len(self._open_windows) >= self._max_windows:
                del self._open_windows[next(iter(self._open_windows))]
        self._open_windows[caller] = (count + 1, end)
        return self._usage(count + 1, end - now)

    def check(self, caller: tuple[str, ...]) -> None:
        """Refuse a caller whose limit is used up; counts nothing.

        Raises:
            TooMany: the caller made too many calls.
        """
        count, end = self._open_windows.get(caller, (0, 0.0))
        now = self._now()
        if end > now:
            self._usage(count + 1, end - now)

    def add(self, more: int, caller: tuple[str, ...]) -> None:
        """Count `more` calls of a caller whose window is open."""
        count, end = self._open_windows.get(caller, (0, 0.0))
        if end > self._now():
            self._open_windows[caller] = (count + more, end)

    def _usage(self, calls: int, seconds_left: float) -> Usage:
        reset = max(1, math.ceil(seconds_left))
        usage = Usage(self._requests_per_window, self._window_seconds, calls, reset)
        if calls > usage.limit:
            raise TooMany(usage)
        return usage


class RateLimiter:
    """Rate limits by name.

    Args:
        rates: name → a rate such as `600/minute`; empty for no limit.
        now: the clock, in seconds.

    Attributes:
        rates: the argument.

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

    def hit(self, name: str, *caller: str) -> Usage | None:
        """Count a call. Return what is used; None if there is no such limit.

        Args:
            name: the limit.
            caller: addresses and ids; calls with the same ones are counted together.

        Raises:
            TooMany: the call exceeds the limit.
        """
        if name not in self._windows:
            return None
        return self._windows[name].hit(tuple(map(caller_of, caller)))

    def check(self, name: str, *caller: str) -> None:
        """Refuse a caller whose limit is used up; counts nothing.

        Raises:
            TooMany: the caller made too many calls.
        """
        if name in self._windows:
            self._windows[name].check(tuple(map(caller_of, caller)))

    def add(self, name: str, more: int, *caller: str) -> None:
        """Count `more` calls of a caller that `hit` has counted."""
        if name in self._windows:
            self._windows[name].add(more, tuple(map(caller_of, caller)))


def parse_rate(text: str) -> RateLimitItem | None:
    """Parse a rate such as `600/minute`; None for an empty text, which sets no limit.

    Raises:
        ValueError: the text is not a rate.
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
