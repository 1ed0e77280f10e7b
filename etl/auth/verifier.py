"""Verification of access tokens, without a database query at each request.

Signature, type, issuer, audience and lifetime are checked locally. The list of revocations is read
again when it is older than `revocation_seconds`, and at once after a change that this process made.
Where it cannot be read and is older than half a minute, no token is accepted.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from authlib.oauth2.rfc6749 import ClientMixin
from joserfc import jws, jwt
from joserfc.errors import JoseError
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from etl.auth.configuration import LONGEST_REVOCATION_SECONDS, AuthConfiguration
from etl.auth.context import AuthContext, hash_of
from etl.auth.revocations import Revocations
from etl.auth.signing_keys import ALGORITHM, Keys
from etl.smart.grants import Grant, TokenRefused

TOKEN_TYPE: Final = "at+jwt"  # noqa: S105 - RFC 9068 section 2.1
LONGEST_TOKEN: Final = 8192
CACHED_TOKENS: Final = 2000

_REQUIRED: Final = ("exp", "iat", "jti", "sub", "client_id", "scope", "patient", "grant_id")
"""Claims that an access token has, beside issuer and audience."""

_REFUSED: Final = "the access token is not valid"


@dataclass(frozen=True, slots=True)
class ActiveToken:
    """A token that may be used.

    Attributes:
        grant: the consent's patient, app and scopes.
        id: `jti` of an access token; empty for a refresh token.
        issued: when it was issued, in seconds since 1970.
    """

    grant: Grant
    id: str
    issued: int

    def check_client(self, client: ClientMixin) -> bool:
        """Return whether the token was issued to a client (Authlib's interface)."""
        return bool(self.grant.client == client.get_client_id())


class LocalVerifier:
    """Checks the access tokens of this server; `etl.smart.grants.Verifier`."""

    def __init__(self, context: AuthContext, keys: Keys, revocations: Revocations) -> None:
        self._context = context
        self._keys = keys
        self._revocations = revocations
        self._cache: OrderedDict[str, ActiveToken] = OrderedDict()
        self._revoked: frozenset[tuple[str, str]] = frozenset()
        self._read_at: float | None = None
        self._change = object()
        """Marker of the last change that this process made; each change is a new object."""

        self._read_change: object = None
        """Marker of the last change that the list includes."""

        self._reload_lock = asyncio.Lock()
        self._read_lock = threading.Lock()
        revocations.listen(self._mark_changed)

    async def grant_of(self, token: str) -> Grant:
        """Return the grant of an access token.

        Raises:
            TokenRefused: the token is malformed, forged, expired, revoked, or for another audience.
        """
        now = self._context.clock()
        if self._is_stale(now):
            async with self._reload_lock:
                if self._is_stale(self._context.clock()):
                    await run_in_threadpool(self._read_revocations)
            now = self._context.clock()
        key = hash_of(token)
        active_token = self._cache.get(key)
        if active_token is None:
            active_token = await run_in_threadpool(self.decode, token)
            self._cache[key] = active_token
            while len(self._cache) > CACHED_TOKENS:
                self._cache.popitem(last=False)
            now = self._context.clock()
        self._refuse_ended(active_token, now)
        return active_token.grant

    def active(self, token: str) -> ActiveToken:
        """Return a token that is active by the database's current state.

        Raises:
            TokenRefused: see `grant_of`.
        """
        self._read_revocations()
        active_token = self.decode(token)
        self._refuse_ended(active_token, self._context.clock())
        return active_token

    def decode(self, token: str) -> ActiveToken:
        """Return the claims of a token issued here, whether revoked or not.

        Raises:
            TokenRefused: the token was not issued here, or has expired.
        """
        if len(token) > LONGEST_TOKEN:
            raise TokenRefused(_REFUSED)
        try:
            kid = jws.extract_compact(token.encode()).headers().get("kid")
            if not isinstance(kid, str):
                raise TokenRefused(_REFUSED)
            decoded = jwt.decode(token, self._keys.verification_keys(kid), [ALGORITHM["access"]])
            _rules(self._context.configuration, self._context.seconds()).validate(decoded.claims)
        except (JoseError, ValueError, TypeError):
            raise TokenRefused(_REFUSED) from None
        if decoded.header.get("typ") != TOKEN_TYPE:
            raise TokenRefused(_REFUSED)
        return _parse_claims(decoded.claims)

    def _refuse_ended(self, token: ActiveToken, now: datetime) -> None:
        grant = token.grant
        if grant.expires <= now:
            raise TokenRefused("the access token has expired")
        revoked = self._revoked
        subjects = (("consent", grant.grant), ("app", grant.client), ("token", token.id))
        if revoked and not revoked.isdisjoint(subjects):
            raise TokenRefused("the access token was revoked")

    def _mark_changed(self) -> None:
        self._change = object()

    def _is_stale(self, now: datetime) -> bool:
        if self._read_change is not self._change or self._read_at is None:
            return True
        age = now.timestamp() - self._read_at
        return not 0 <= age < self._context.configuration.revocation_seconds

    def _read_revocations(self) -> None:
        with self._read_lock:  # so that an older list never replaces a newer one
            timestamp, change = self._context.clock().timestamp(), self._change
            try:
                self._revoked = self._revocations.present()
            except SQLAlchemyError:
                age = None if self._read_at is None else timestamp - self._read_at
                if age is None or age >= LONGEST_REVOCATION_SECONDS:
                    raise TokenRefused("tokens cannot be checked at the moment") from None
                return
            self._read_at, self._read_change = timestamp, change


def _rules(configuration: AuthConfiguration, now: int) -> jwt.JWTClaimsRegistry:
    essential: Any = {name: {"essential": True} for name in _REQUIRED}
    return jwt.JWTClaimsRegistry(
        now=now,
        leeway=0,
        iss={"essential": True, "value": configuration.base_url},
        aud={"essential": True, "value": configuration.fhir_base},
        **essential,
    )


def _parse_claims(claims: dict[str, Any]) -> ActiveToken:
    grant = Grant(
        patient=str(claims["patient"]),
        client=str(claims["client_id"]),
        scopes=tuple(str(claims["scope"]).split()),
        grant=str(claims["grant_id"]),
        expires=datetime.fromtimestamp(int(claims["exp"]), UTC),
    )
    return ActiveToken(grant, str(claims["jti"]), int(claims["iat"]))
