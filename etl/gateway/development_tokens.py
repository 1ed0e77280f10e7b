"""Development mode: access tokens of the configuration. Off where there are none.

It is no authorization server: anyone with a token can read that member's data. So the mode is
reported at start, in every answer (`X-Development-Mode`) and in the capability statement, and the
server listens on loopback only unless configured otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from ipaddress import ip_address
from typing import Final

from etl.smart.grants import Access, Grant, TokenRefused

HEADER: Final = (b"x-development-mode", b"on")

_END: Final = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class DevelopmentToken:
    """One token of the configuration.

    Attributes:
        token: the access token.
        patient: logical id of the Patient that it opens.
        client: id of the app that it stands for.
        scopes: its granted scopes.
    """

    token: str
    patient: str
    client: str
    scopes: tuple[str, ...]


class DevelopmentVerifier:
    """A verifier that accepts the tokens of the configuration, and no others.

    Args:
        tokens: the tokens. Only their hashes are kept.
    """

    def __init__(self, tokens: Iterable[DevelopmentToken]) -> None:
        self._grants = {
            sha256(token.token.encode()).digest(): Grant(
                token.patient, token.client, token.scopes, "development", _END
            )
            for token in tokens
        }

    async def grant_of(self, token: str) -> Grant:
        """Return the grant of a token.

        Raises:
            TokenRefused: the token is not in the configuration.
        """
        grant = self._grants.get(sha256(token.encode()).digest())
        if grant is None:
            raise TokenRefused("The access token is not one of this development server's.")
        return grant


class ClosedVerifier:
    """A verifier that refuses every token, used where no authorization is configured."""

    async def grant_of(self, token: str) -> Grant:
        """Refuse.

        Raises:
            TokenRefused: always.
        """
        raise TokenRefused("This server has no authorization configured; it accepts no token.")


class NoTrail:
    """A recorder for development, where there is no audit trail."""

    async def record(self, access: Access) -> None:
        """Keep nothing."""


def is_loopback(host: str) -> bool:
    """Return whether an address to listen on can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
