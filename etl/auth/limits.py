"""How often the endpoints that take credentials may be called. Each process counts by itself.

What has to be counted together, wrong passwords, is in `etl.auth.lockout`.
"""

from __future__ import annotations

import math
import time
from typing import Final, Literal

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from etl.smart.callers import caller_of

Endpoint = Literal[
    "authorize", "sign-in", "consent", "token", "client-failure", "introspect", "revoke",
    "register", "sign-up", "member",
]  # fmt: skip

RATES: Final[dict[Endpoint, str]] = {
    "authorize": "120/minute",
    "sign-in": "30/minute",
    "consent": "60/minute",
    "token": "300/minute",
    "client-failure": "20/minute",
    "introspect": "600/minute",
    "revoke": "120/minute",
    "register": "20/hour",
    "sign-up": "20/hour",
    "member": "120/minute",
}
"""Endpoint → most calls: of an address, or of an app from an address."""


class TooMany(Exception):
    """An endpoint was called too often.

    Attributes:
        retry_after: seconds to wait.
    """

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__("too many requests")


class Limits:
    """Counts calls in this process's memory."""

    def __init__(self, rates: dict[Endpoint, str] | None = None) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._rates: dict[Endpoint, RateLimitItem] = {
            endpoint: parse(rate) for endpoint, rate in {**RATES, **(rates or {})}.items()
        }

    def hit(self, endpoint: Endpoint, *who: str) -> None:
        """Count a call.

        Args:
            endpoint: what was called.
            who: address, or id of the app and address.

        Raises:
            TooMany: it was one too many.
        """
        who = tuple(map(caller_of, who))
        if not self._limiter.hit(self._rates[endpoint], endpoint, *who):
            raise self._too_many(endpoint, who)

    def check(self, endpoint: Endpoint, *who: str) -> None:
        """Refuse a call where too many were counted, without counting it.

        Raises:
            TooMany: there were too many.
        """
        who = tuple(map(caller_of, who))
        if not self._limiter.test(self._rates[endpoint], endpoint, *who):
            raise self._too_many(endpoint, who)

    def _too_many(self, endpoint: Endpoint, who: tuple[str, ...]) -> TooMany:
        window = self._limiter.get_window_stats(self._rates[endpoint], endpoint, *who)
        return TooMany(max(1, math.ceil(window.reset_time - time.time())))
