"""Apps as Authlib clients, and client authentication.

Secrets by Basic or in the body, signed assertions (RFC 7523, `private_key_jwt`), or, for public
apps, nothing but their id.
"""

from __future__ import annotations

import json
from typing import Any, Final

from authlib.oauth2.rfc6749 import ClientMixin, InvalidClientError, InvalidScopeError
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy import delete

from etl.auth import registration
from etl.auth.apps import Apps
from etl.auth.configuration import AuthConfiguration, Clock
from etl.auth.database import Database
from etl.auth.database_tables import AssertionRow
from etl.auth.records import App, NoSuchApp
from etl.auth.scopes import ScopeRefused, granted
from etl.auth.secrets import hash_of

METHODS: Final = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"]
"""Authentication methods of the token endpoint, in the order in which they are tried."""

CONFIDENTIAL_METHODS: Final = METHODS[:3]

ASSERTION_ALGORITHMS: Final = ["RS256", "RS384", "ES256", "ES384"]
"""SMART App Launch 2.2.0 asks for RS384 and ES384; none of them is symmetric or `none`."""

LONGEST_ASSERTION_SECONDS: Final = 300
"""SMART App Launch 2.2.0, "Client Authentication: Asymmetric": `exp` at most five minutes ahead."""

_LEEWAY_SECONDS: Final = 60
_LONGEST_ASSERTION: Final = 8192


class Client(ClientMixin):  # type: ignore[misc]
    """An app, as Authlib's client interface."""

    def __init__(self, app: App, apps: Apps) -> None:
        self.app = app
        self._apps = apps

    def get_client_id(self) -> str:
        """Return its id."""
        return self.app.client_id

    def get_default_redirect_uri(self) -> None:
        """Return none: every request has to name its redirect URI."""
        return

    def get_allowed_scope(self, scope: str | None) -> str:
        """Return the requested scopes that it can be granted.

        An app with the plain authorize URL requests none and gets its registered scopes.

        Raises:
            InvalidScopeError: there are none; the message gives the reason for each scope.
        """
        scopes = (scope or "").split()
        if not scopes and self.app.is_plain:
            scopes = list(self.app.draft.scopes)
        try:
            return " ".join(granted(scopes, self.app.draft.scopes))
        except ScopeRefused as refused:
            raise InvalidScopeError(str(refused)) from None

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Return whether the redirect URI is one of those registered."""
        return registration.is_registered(redirect_uri, self.app.draft.redirect_uris)

    def check_client_secret(self, client_secret: str) -> bool:
        """Return whether that is its secret, in constant time."""
        return self._apps.has_secret(self.app.client_id, client_secret)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """Return whether it authenticates by that method; the same at every endpoint."""
        del endpoint
        by = {
            "secret": ("client_secret_basic", "client_secret_post"),
            "private_key_jwt": ("private_key_jwt",),
            "none": ("none",),
        }
        return method in by[self.app.draft.authentication]

    def check_response_type(self, response_type: str) -> bool:
        """Return whether the response type is `code`; there is no implicit grant (RFC 9700)."""
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        """Return whether the app may use a grant."""
        return grant_type in ("authorization_code", "refresh_token")


class Clients:
    """Finds apps for Authlib."""

    def __init__(self, apps: Apps) -> None:
        self._apps = apps

    def query(self, client_id: str) -> Client | None:
        """Return an active app; None for every other id."""
        if not (client_id.isascii() and client_id.isprintable()):
            return None  # PostgreSQL takes no NUL
        try:
            app = self._apps.get(client_id)
        except NoSuchApp:
            return None
        return Client(app, self._apps) if app.is_active else None


class SignedAssertion(JWTBearerClientAssertion):  # type: ignore[misc]
    """Client authentication by a signed assertion; each may be used once (RFC 7523, SMART)."""

    CLIENT_AUTH_METHOD = "private_key_jwt"

    def __init__(self, configuration: AuthConfiguration, database: Database, clock: Clock) -> None:
        super().__init__(validate_jti=True, leeway=_LEEWAY_SECONDS)
        self._configuration = configuration
        self._database = database
        self._clock = clock

    def get_audiences(self) -> list[str]:
        """Return the accepted audiences of an assertion: the token endpoint, or the issuer."""
        return [self._configuration.url("/oauth/token"), self._configuration.base_url]

    def resolve_client_public_key(self, client: Client) -> KeySet:
        """Return the keys that the app registered."""
        if client.app.draft.authentication != "private_key_jwt":
            raise InvalidClientError(description="The client has registered no keys.")
        return KeySet.import_key_set(json.loads(client.app.draft.jwks))

    def extract_assertion(self, assertion: str) -> Any:
        """Return header and claims of an assertion that is not checked yet."""
        if len(assertion) > _LONGEST_ASSERTION:
            raise InvalidClientError(description="Invalid JWT assertion.")
        return super().extract_assertion(assertion)

    def process_assertion_claims(self, assertion: str, resolve_key: KeySet) -> Any:
        """Check signature and claims; the algorithm is one of ours, whatever the header says."""
        try:
            token = jwt.decode(assertion, resolve_key, ASSERTION_ALGORITHMS)
        except (JoseError, ValueError):
            raise InvalidClientError(description="The assertion is not signed by a key.") from None
        self.verify_claims(token.claims)
        return token.claims

    def verify_claims(self, claims: dict[str, Any]) -> None:
        """Check the claims, and that the assertion does not live too long."""
        now = int(self._clock().timestamp())
        expires = claims.get("exp")
        if not isinstance(expires, int) or expires > now + LONGEST_ASSERTION_SECONDS + self.leeway:
            raise InvalidClientError(description="The assertion is valid for too long.")
        if expires <= now - self.leeway:
            raise InvalidClientError(description="The assertion is over.")
        super().verify_claims(claims)

    def validate_jti(self, claims: dict[str, Any], jti: object) -> bool:
        """Return whether an assertion is used for the first time, and record it."""
        if not isinstance(jti, str) or not jti:
            return False
        key = (str(claims["sub"]), hash_of(jti))
        now = int(self._clock().timestamp())
        with self._database.write() as session:
            session.execute(
                delete(AssertionRow).where(AssertionRow.expires < now - 2 * self.leeway)
            )
            return self._database.add_if_missing(
                session,
                AssertionRow,
                client_id=key[0],
                jti_hash=key[1],
                expires=int(claims["exp"]),
            )
