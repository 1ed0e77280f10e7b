"""Rate limits of the endpoints that take credentials. Each process counts by itself.

Invalid passwords are counted across processes, in `etl.auth.lockout`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from etl.web.rate_limits import parse_rate

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


def rates_of(changed: Mapping[str, str]) -> dict[str, str]:
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
            parse_rate(rate)
        except ValueError as error:
            raise ValueError(f"{endpoint}: {error}") from None
    return {endpoint: changed.get(endpoint, rate) for endpoint, rate in RATES.items()}
