"""A verified grant, and the two interfaces between authorization server and gateway."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, Protocol

from etl.smart import scopes as smart_scopes


@dataclass(frozen=True, slots=True)
class Grant:
    """A verified access token's grant.

    Attributes:
        patient: logical id of the one Patient that it gives access to.
        client: id of the app.
        scopes: granted scopes, as they were granted.
        grant: id of the member's consent behind the token; revoking it ends the token.
        expires: when the token ends; with its zone.
    """

    patient: str
    client: str
    scopes: tuple[str, ...]
    grant: str
    expires: datetime

    def may(self, resource_type: str, interaction: smart_scopes.Interaction) -> bool:
        """Return whether the scopes open an interaction with a resource type."""
        return smart_scopes.allows(self.scopes, resource_type, interaction)


class TokenRefused(Exception):
    """An access token is invalid: malformed, forged, expired, revoked, for another audience.

    The message is for the app's developer and says nothing of the token's content.
    """


class Verifier(Protocol):
    """Turns an access token into the grant behind it. One for each served process."""

    async def grant_of(self, token: str) -> Grant:
        """Return the grant.

        Raises:
            TokenRefused: RFC 6750 section 3.1 `invalid_token`.
        """


class Access(NamedTuple):
    """One access to a member's data, for the audit trail.

    A tuple, since each request makes one: a frozen dataclass takes three times as long.

    Attributes:
        when: instant at which it was answered; with its zone.
        request: the request's id, as returned to the app and in the log.
        client: id of the app; empty where no token was accepted.
        grant: id of the consent; empty likewise.
        patient: logical id of the Patient; empty likewise.
        interaction: `read`, `vread`, `search`, `everything`.
        what: resource type, `Type/id` where one resource was read, `Patient/id/Type` where the
            type was searched in that Patient's compartment.
        query: the search as requested, for the audit trail only; never for a log.
        outcome: HTTP status of the answer.
        address: client address, as far as proxies forward it.
        delivered: resource types in the answer: the requested one, and what was included.
    """

    when: datetime
    request: str
    client: str
    grant: str
    patient: str
    interaction: Literal["read", "vread", "search", "everything"]
    what: str
    query: str
    outcome: int
    address: str
    delivered: tuple[str, ...] = ()


class Recorder(Protocol):
    """Records every access before it is answered."""

    async def record(self, access: Access) -> None:
        """Record one access.

        Raises:
            Exception: recording failed; the request is then answered 503, without data.
        """
