"""Caller identity for limits by address."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network
from typing import Final

_PREFIX: Final = 64
"""The bits of an IPv6 address that a customer is given at least; those behind are theirs to choose
(RFC 6177), for each call another if they like."""


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
    return str(IPv6Network((int(parsed), _PREFIX), strict=False))
