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

_ESSENTIAL: Final = ("exp", "iat", "jti", "sub", "client_id", "scope", "patient", "grant_id")
"""Claims that an access token has, beside issuer and audience."""

_REFUSED: Final = "the access token is not valid"


@dataclass(frozen=True, slots=True)
class ActiveToken:
    """A token that may be used.

    Attributes:
        grant: what it opens.
        id: `jti` of an access token; empty for a refresh token.
        issued: when it was issued, in seconds since 1970.
    """

    grant: Grant
    id: str
    issued: int

    def check_client(self, client: ClientMixin) -> bool:
        """Return whether it was issued to a client, as Authlib asks."""
        return bool(self.grant.client == client.get_client_id())


class LocalVerifier:
    """Checks the access tokens of this server; `etl.smart.grants.Verifier`."""

    def __init__(self, context: AuthContext, keys: Keys, revocations: Revocations) -> None:
        self._context = context
        self._keys = keys
        self._revocations = revocations
        self._checked: OrderedDict[str, ActiveToken] = OrderedDict()
        self._revoked: frozenset[tuple[str, str]] = frozenset()
        self._read_at: float | None = None
        self._change = object()
        """Marker of the last change that this process made; each change is a new object."""

        self._known: object = None
        """Marker of the last change that the list includes."""

        self._reading = asyncio.Lock()
        self._list = threading.Lock()
        revocations.listen(self._changed)

    async def grant_of(self, token: str) -> Grant:
        """Return what an access token opens.

        Raises:
            TokenRefused: it is malformed, forged, expired, revoked, or for another audience.
        """
        now = self._context.clock()
        if self._is_old(now):
            async with self._reading:
                if self._is_old(self._context.clock()):
                    await run_in_threadpool(self._read)
            now = self._context.clock()
        key = hash_of(token)
        checked = self._checked.get(key)
        if checked is None:
            checked = await run_in_threadpool(self.decode, token)
            self._checked[key] = checked
            while len(self._checked) > CACHED_TOKENS:
                self._checked.popitem(last=False)
            now = self._context.clock()
        self._refuse_what_is_over(checked, now)
        return checked.grant

    def active(self, token: str) -> ActiveToken:
        """Return a token that may be used at this moment, by the database's present state.

        Raises:
            TokenRefused: see `grant_of`.
        """
        self._read()
        claims = self.decode(token)
        self._refuse_what_is_over(claims, self._context.clock())
        return claims

    def decode(self, token: str) -> ActiveToken:
        """Return the claims of a token issued here, whether revoked or not.

        Raises:
            TokenRefused: it was not issued here, or it has expired.
        """
        if len(token) > LONGEST_TOKEN:
            raise TokenRefused(_REFUSED)
        try:
            kid = jws.extract_compact(token.encode()).headers().get("kid")
            if not isinstance(kid, str):
                raise TokenRefused(_REFUSED)
            decoded = jwt.decode(token, self._keys.verifying(kid), [ALGORITHM["access"]])
            _claims(self._context.configuration, self._context.seconds()).validate(decoded.claims)
        except (JoseError, ValueError, TypeError):
            raise TokenRefused(_REFUSED) from None
        if decoded.header.get("typ") != TOKEN_TYPE:
            raise TokenRefused(_REFUSED)
        return _token(decoded.claims)

    def _refuse_what_is_over(self, token: ActiveToken, now: datetime) -> None:
        grant = token.grant
        if grant.expires <= now:
            raise TokenRefused("the access token has expired")
        revoked = self._revoked
        names = (("consent", grant.grant), ("app", grant.client), ("token", token.id))
        if revoked and not revoked.isdisjoint(names):
            raise TokenRefused("the access token was revoked")

    def _changed(self) -> None:
        self._change = object()

    def _is_old(self, now: datetime) -> bool:
        if self._known is not self._change or self._read_at is None:
            return True
        age = now.timestamp() - self._read_at
        return not 0 <= age < self._context.configuration.revocation_seconds

    def _read(self) -> None:
        with self._list:  # so that an older list never replaces a newer one
            timestamp, change = self._context.clock().timestamp(), self._change
            try:
                self._revoked = self._revocations.present()
            except SQLAlchemyError:
                age = None if self._read_at is None else timestamp - self._read_at
                if age is None or age >= LONGEST_REVOCATION_SECONDS:
                    raise TokenRefused("tokens cannot be checked at the moment") from None
                return
            self._read_at, self._known = timestamp, change


def _claims(configuration: AuthConfiguration, now: int) -> jwt.JWTClaimsRegistry:
    essential: Any = {name: {"essential": True} for name in _ESSENTIAL}
    return jwt.JWTClaimsRegistry(
        now=now,
        leeway=0,
        iss={"essential": True, "value": configuration.base_url},
        aud={"essential": True, "value": configuration.fhir_base},
        **essential,
    )


def _token(claims: dict[str, Any]) -> ActiveToken:
    grant = Grant(
        patient=str(claims["patient"]),
        client=str(claims["client_id"]),
        scopes=tuple(str(claims["scope"]).split()),
        grant=str(claims["grant_id"]),
        expires=datetime.fromtimestamp(int(claims["exp"]), UTC),
    )
    return ActiveToken(grant, str(claims["jti"]), int(claims["iat"]))
