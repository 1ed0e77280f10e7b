"""Rate limits of the endpoints that take credentials. Each process counts by itself.

Invalid passwords are counted across processes, in `etl.auth.lockout`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Final, Literal

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from etl.smart.callers import caller_of

Endpoint = Literal[
    "authorize", "sign-in", "consent", "token", "client-failure", "introspect", "revoke",
    "link", "mailbox", "member", "find",
]  # fmt: skip

RATES: Final[dict[Endpoint, str]] = {
    "authorize": "120/minute",
    "sign-in": "30/minute",
    "consent": "60/minute",
    "token": "300/minute",
    "client-failure": "20/minute",
    "introspect": "600/minute",
    "revoke": "120/minute",
    "link": "20/hour",
    "mailbox": "5/hour",
    "member": "120/minute",
    "find": "120/minute",
}
"""Endpoint → most calls: of an address, or of an app from an address; empty for any number.

`link`: sign-in links that an address asks for; `mailbox`: those that are sent to one mailbox.
"""


def rates_of(changed: Mapping[str, str]) -> dict[Endpoint, str]:
    """Return the rates of all endpoints.

    Args:
        changed: endpoint → another rate than that of `RATES`.

    Raises:
        ValueError: an endpoint is unknown, or a text is not a rate.
    """
    for endpoint, rate in changed.items():
        if endpoint not in RATES:
            raise ValueError(f"{endpoint!r} is no endpoint; there are {', '.join(RATES)}")
        try:
            _parsed(rate)
        except ValueError:
            raise ValueError(f"{endpoint}: {rate!r} is no rate; write one like 30/minute") from None
    return {endpoint: changed.get(endpoint, rate) for endpoint, rate in RATES.items()}


def _parsed(rate: str) -> RateLimitItem | None:
    return parse(rate) if rate else None


class TooMany(Exception):
    """An endpoint was called too often.

    Attributes:
        retry_after: seconds to wait.
    """

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__("too many requests")


class EndpointLimits:
    """Counts calls in this process's memory.

    Args:
        rates: other limits than `RATES`.

    Attributes:
        rates: endpoint → most calls; empty for any number.
    """

    def __init__(self, rates: Mapping[str, str] | None = None) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self.rates = rates_of(rates or {})
        self._items = {endpoint: _parsed(rate) for endpoint, rate in self.rates.items()}

    def hit(self, endpoint: Endpoint, *caller: str) -> None:
        """Count a call.

        Args:
            endpoint: what was called.
            caller: address, or id of the app and address.

        Raises:
            TooMany: it was one too many.
        """
        item = self._items[endpoint]
        caller = tuple(map(caller_of, caller))
        if item is not None and not self._limiter.hit(item, endpoint, *caller):
            raise self._too_many(item, endpoint, caller)

    def check(self, endpoint: Endpoint, *caller: str) -> None:
        """Refuse a call where too many were counted, without counting it.

        Raises:
            TooMany: there were too many.
        """
        item = self._items[endpoint]
        caller = tuple(map(caller_of, caller))
        if item is not None and not self._limiter.test(item, endpoint, *caller):
            raise self._too_many(item, endpoint, caller)

    def _too_many(
        self, item: RateLimitItem, endpoint: Endpoint, caller: tuple[str, ...]
    ) -> TooMany:
        window = self._limiter.get_window_stats(item, endpoint, *caller)
        return TooMany(max(1, math.ceil(window.reset_time - time.time())))
