"""Authentication: bearer tokens for members' data, none for public data.

Tokens are read from the Authorization header only: URLs end up in logs and histories. Source:
RFC 6750.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, TypeAlias

from etl.gateway.http.monitoring import RequestRecord
from etl.gateway.http.responses import FhirError, challenge
from etl.smart.grants import Access, Grant, Recorder, TokenRefused, Verifier
from etl.web.rate_limits import RateLimiter

LONGEST_TOKEN: Final = 8192

SECONDS_A_REQUEST: Final = 0.01
"""Processor time of a public search that counts as one more request."""

_TOKEN_CHARACTERS: Final = (string.ascii_letters + string.digits + "._~+/-").encode()
"""Characters of bearer tokens; they may end in `=`."""

_TOKEN_NAMES: Final = frozenset({"access_token", "token", "id_token", "refresh_token"})


class TokenAuthenticator:
    """Authenticates requests by the tokens of members' apps, and records each access.

    Args:
        verifier: checks the tokens.
        recorder: records every access.
        limits: rate limits `member` (by app and member) and `refused` (by address).
    """

    public = False
    """Whether the data is public, so that caches may keep it."""

    def __init__(self, verifier: Verifier, recorder: Recorder, limits: RateLimiter) -> None:
        self._verifier = verifier
        self._recorder = recorder
        self._limits = limits

    async def grant_of(
        self, headers: Mapping[bytes, bytes], address: str, record: RequestRecord
    ) -> Grant:
        """Return the grant of the token.

        Raises:
            FhirError: 401; 400, the header cannot be parsed.
            TooMany: the rate limit is exceeded.
        """
        try:
            grant = await self._verifier.grant_of(_bearer_token(headers))
        except TokenRefused as error:
            self.count_refused(address)
            text = f"{str(error).rstrip('.').capitalize()}."
            raise FhirError("token-invalid", text, (challenge("invalid_token"),)) from None
        except FhirError as error:
            if error.status == 401:
                self.count_refused(address)
            raise
        record.client = grant.client
        record.patient = grant.patient
        record.usage = self._limits.hit("member", grant.client, grant.patient)
        return grant

    def count_refused(self, address: str) -> None:
        """Count a request that was refused before authentication.

        Raises:
            TooMany: the rate limit is exceeded.
        """
        self._limits.hit("refused", address)

    def count_time(self, address: str, seconds: float) -> None:
        """Do nothing: the limit is by app and member."""

    async def record(self, access: Access) -> None:
        """Record an access before it is answered.

        Raises:
            FhirError: `audit-unavailable`: the access could not be recorded.
        """
        try:
            await self._recorder.record(access)
        except Exception as error:  # of any kind: no access is answered unrecorded
            text = "The access could not be recorded, so nothing is answered; try again."
            raise FhirError("audit-unavailable", text, ((b"retry-after", b"5"),)) from error


class PublicAuthenticator:
    """Gives every request the public grant: the provider directory needs no token.

    Args:
        types: the public resource types.
        limits: rate limit `member`, here by address.
    """

    public = True

    def __init__(self, types: Sequence[str], limits: RateLimiter) -> None:
        scopes = tuple(f"patient/{resource_type}.rs" for resource_type in types)
        self._grant = Grant("", "public", scopes, "", datetime(9999, 12, 31, tzinfo=UTC))
        self._limits = limits

    async def grant_of(
        self, headers: Mapping[bytes, bytes], address: str, record: RequestRecord
    ) -> Grant:
        """Return the public grant."""
        record.usage = self._limits.hit("member", "public", address)
        return self._grant

    def count_refused(self, address: str) -> None:
        """Count a request that was refused before authentication."""
        self._limits.hit("member", "public", address)

    def count_time(self, address: str, seconds: float) -> None:
        """Count the processor time of a request."""
        more_requests = int(seconds / SECONDS_A_REQUEST)
        if more_requests:
            self._limits.add("member", more_requests, "public", address)

    async def record(self, access: Access) -> None:
        """Do nothing: no member's data is returned."""


Authenticator: TypeAlias = TokenAuthenticator | PublicAuthenticator


class ClosedVerifier:
    """A verifier that refuses every token, for servers without authorization."""

    async def grant_of(self, token: str) -> Grant:
        """Refuse the token.

        Raises:
            TokenRefused: always.
        """
        raise TokenRefused("This server has no authorization configured; it accepts no token.")


class NoTrail:
    """A recorder for servers without members' data: records nothing."""

    async def record(self, access: Access) -> None:
        """Record nothing."""


def refuse_tokens(names: Sequence[tuple[str, str]]) -> None:
    """Refuse a request with a token among its parameters.

    Raises:
        FhirError: `token-in-url`.
    """
    if any(name.lower() in _TOKEN_NAMES for name, _ in names):
        text = "Send the token in the Authorization header only, and hold this one for disclosed."
        raise FhirError("token-in-url", text, (challenge("invalid_request"),))


def _bearer_token(headers: Mapping[bytes, bytes]) -> str:
    header = headers.get(b"authorization")
    if header is None:
        text = "Send an access token: Authorization: Bearer, then the token."
        raise FhirError("token-missing", text, (challenge(""),))
    scheme, _, rest = header.strip(b" ").partition(b" ")
    token = rest.lstrip(b" ")
    unpadded = token.rstrip(b"=")
    if (
        len(header) > LONGEST_TOKEN + 16
        or scheme.lower() != b"bearer"
        or not unpadded
        or unpadded.translate(None, _TOKEN_CHARACTERS)
    ):
        text = "The Authorization header holds no bearer token."
        raise FhirError("token-invalid", text, (challenge("invalid_token"),))
    return token.decode()
