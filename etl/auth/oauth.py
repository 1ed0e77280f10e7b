"""OAuth 2.0 and OpenID Connect by Authlib, over this server's database: clients, tokens, grants.

Authlib is synchronous: its calls run in a thread. Request URIs are built from the configured base
URL, never from the socket. What comes in is checked for shape first, since Authlib repeats some
parameters in its error descriptions and fails on characters that are not allowed there.

Clients authenticate by a secret (Basic or in the body), a signed assertion (RFC 7523,
`private_key_jwt`), or, if they are public, by nothing but their id. There are two grants:
authorization code with PKCE, and refresh. RFC 6749, RFC 7636, RFC 9700, SMART App Launch 2.2.0.
"""

from __future__ import annotations

import base64
import json
import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from authlib.common.urls import add_params_to_uri
from authlib.oauth2 import AuthorizationServer, OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749 import (
    ClientMixin,
    InvalidClientError,
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
    OAuth2Payload,
)
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, RefreshTokenGrant
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from authlib.oidc.core.grants import OpenIDCode
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from etl.auth.apps import Apps
from etl.auth.configuration import AuthConfiguration, Clock, Randomness, present_second, seconds
from etl.auth.consents import Consents
from etl.auth.database import Database, changed
from etl.auth.database_tables import App, AssertionRow, CodeRow, Consent, RefreshRow
from etl.auth.records import Action, Happening, NoSuchApp, Note
from etl.auth.registration import is_registered
from etl.auth.scopes import ScopeRefused, beyond, granted, is_long_lived, names_patient
from etl.auth.secrets import hash_of, new_token
from etl.auth.signing_keys import ALGORITHM, Keys
from etl.auth.verifier import AccessToken, LocalVerifier
from etl.smart.grants import TokenRefused

# At its debug level Authlib writes tokens into the log.
logging.getLogger("authlib").setLevel(logging.WARNING)

LONGEST_PARAMETER: Final = 4096
LONGEST_ASSERTION: Final = 8192

METHODS: Final = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"]
"""Authentication methods of the token endpoint, in the order in which they are tried."""

CONFIDENTIAL_METHODS: Final = METHODS[:3]

ASSERTION_ALGORITHMS: Final = ["RS256", "RS384", "ES256", "ES384"]
"""SMART App Launch 2.2.0 asks for RS384 and ES384; none of them is symmetric or `none`."""

LONGEST_ASSERTION_SECONDS: Final = 300
"""SMART App Launch 2.2.0, "Client Authentication: Asymmetric": `exp` at most five minutes ahead."""

_LEEWAY_SECONDS: Final = 60


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
        return is_registered(redirect_uri, self.app.draft.redirect_uris)

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
        if len(assertion) > LONGEST_ASSERTION:
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
        now = seconds(self._clock)
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
        now = seconds(self._clock)
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


ID_TOKEN_SECONDS: Final = 3600


class AccessTokens(JWTBearerTokenGenerator):  # type: ignore[misc]
    """Access tokens as signed JWTs (RFC 9068), and refresh tokens where the scope has them."""

    def __init__(
        self, configuration: AuthConfiguration, keys: Keys, *, clock: Clock, randomness: Randomness
    ) -> None:
        super().__init__(
            issuer=configuration.base_url,
            alg=ALGORITHM["access"],
            refresh_token_generator=lambda **_: new_token(randomness),
            # Authlib's default lifetime is ten days, whatever its response says.
            expires_generator=configuration.access_seconds,
        )
        self._configuration = configuration
        self._keys = keys
        self._clock = clock
        self._randomness = randomness

    def generate(
        self,
        grant_type: str,
        client: Client,
        user: Consent | None = None,
        scope: str | None = None,
        expires_in: int | None = None,
        include_refresh_token: bool = True,
    ) -> dict[str, Any]:
        """Return the token response, without what OpenID Connect and SMART add to it."""
        del expires_in
        if user is None:
            raise InvalidGrantError()
        is_longer = include_refresh_token and is_long_lived(user.scopes)
        token: dict[str, Any] = super().generate(
            grant_type, client, user, scope, self._seconds(user), is_longer
        )
        return token

    def get_jwks(self) -> KeySet:
        """Return the key to sign with; in a set, so that its `kid` goes into the header."""
        return KeySet([self._keys.signing("access")])

    def get_audiences(self, client: Client, user: Consent, scope: str) -> str:
        """Return the audience: the FHIR base, never the app."""
        del client, user, scope
        return self._configuration.fhir_base

    def get_jti(self, client: Client, grant_type: str, user: Consent, scope: str) -> str:
        """Return the token's id."""
        del client, grant_type, user, scope
        return new_token(self._randomness, 16)

    def get_auth_time(self, user: Consent) -> int:
        """Return when the member signed in."""
        return user.auth_time

    def get_extra_claims(
        self, client: Client, grant_type: str, user: Consent, scope: str
    ) -> dict[str, Any]:
        """Return patient and consent; and the lifetime, by this server's clock."""
        del client, grant_type, scope
        now = seconds(self._clock)
        return {
            "iat": now,
            "exp": now + self._seconds(user),
            "patient": user.patient,
            "grant_id": user.id,
        }

    def _seconds(self, user: Consent) -> int:
        """Return how long: as configured, and no longer than the consent."""
        left = int(user.expires.timestamp()) - seconds(self._clock)
        return max(1, min(self._configuration.access_seconds, left))


class IdTokens(OpenIDCode):  # type: ignore[misc]
    """ID tokens (OpenID Connect Core), RS256, with SMART's `fhirUser`."""

    def __init__(self, configuration: AuthConfiguration, keys: Keys, *, clock: Clock) -> None:
        super().__init__(require_nonce=False)
        self._configuration = configuration
        self._keys = keys
        self._clock = clock

    def exists_nonce(self, nonce: str, request: Any) -> bool:
        """Return False: a nonce is the app's to check; codes cannot be replayed here anyway."""
        del nonce, request
        return False

    def resolve_client_private_key(self, client: Client) -> Any:
        """Return the key to sign with."""
        del client
        return self._keys.signing("id")

    def get_client_algorithm(self, client: Client) -> str:
        """Return RS256, for every app."""
        del client
        return ALGORITHM["id"]

    def get_encode_header(self, client: Client) -> dict[str, str]:
        """Return the header, which names the key."""
        del client
        return {"alg": ALGORITHM["id"], "kid": str(self._keys.signing("id").kid)}

    def get_client_claims(self, client: Client) -> dict[str, Any]:
        """Return issuer, audience and lifetime."""
        now = seconds(self._clock)
        return {
            "iss": self._configuration.base_url,
            "aud": client.get_client_id(),
            "iat": now,
            "exp": now + ID_TOKEN_SECONDS,
        }

    def generate_user_info(self, user: Consent, scope: str) -> dict[str, str]:
        """Return the claims of a member's identity: the subject, and the URL of the Patient."""
        claims = {"sub": user.get_user_id()}
        if "fhirUser" in scope.split():
            claims["fhirUser"] = f"{self._configuration.fhir_base}/Patient/{user.patient}"
        return claims


class AlreadyUsed(Exception):
    """Another request used the refresh token first."""


class RefreshTokens:
    """Refresh tokens in the database: each is used once, and references its consent."""

    def __init__(self, database: Database, configuration: AuthConfiguration, clock: Clock) -> None:
        self._database = database
        self._idle = timedelta(days=configuration.refresh_idle_days)
        self._clock = clock

    def keep(
        self,
        token: str | None,
        consent: Consent,
        *,
        scope: str,
        replacing: RefreshRow | None = None,
    ) -> None:
        """Keep a new refresh token, and that the consent was used.

        The old token is invalidated in the same transaction: of several requests with it only one
        gets new tokens, and where that fails, the old one stays valid.

        Args:
            token: the token; None where the scope has none.
            consent: what the member agreed to.
            scope: what the token stands for: never less than the one it replaces.
            replacing: the token it replaces; None for the first of a consent.

        Raises:
            AlreadyUsed: another request was first; nothing was stored.
            InvalidGrantError: the consent has ended meanwhile; nothing was stored.
        """
        now = present_second(self._clock)
        with self._database.write() as session:
            if replacing is not None:
                _take_out_of_use(session, replacing, int(now.timestamp()))
            used = session.execute(
                update(Consent)
                .where(Consent.id == consent.id, Consent.revoked.is_(None), Consent.expires > now)
                .values(last_used=now)
            )
            if changed(used) != 1:
                raise InvalidGrantError("The consent has ended.")
            if token is not None:
                session.add(
                    RefreshRow(
                        hash=hash_of(token),
                        consent_id=consent.id,
                        client_id=consent.client_id,
                        scope=scope,
                        issued=int(now.timestamp()),
                        expires=int(min(now + self._idle, consent.expires).timestamp()),
                        used=None,
                    )
                )

    def take_back(self, token: str | None, replaced: RefreshRow) -> None:
        """Undo `keep` of a token that was not delivered: the one it replaced is valid again.

        Args:
            token: the new token; None where there was none.
            replaced: the token that it replaced.
        """
        with self._database.write() as session:
            if token is not None:
                session.execute(delete(RefreshRow).where(RefreshRow.hash == hash_of(token)))
            session.execute(
                update(RefreshRow).where(RefreshRow.hash == replaced.hash).values(used=None)
            )

    def find(self, token: str) -> RefreshRow | None:
        """Return a refresh token, used and expired ones included."""
        with self._database.read() as session:
            return session.get(RefreshRow, hash_of(token))


def _take_out_of_use(session: Session, row: RefreshRow, now: int) -> None:
    claimed = session.execute(
        update(RefreshRow)
        .where(
            RefreshRow.hash == row.hash,
            RefreshRow.used.is_(None),
            RefreshRow.expires > now,
        )
        .values(used=now)
    )
    if changed(claimed) != 1:
        raise AlreadyUsed


CONCURRENT_SECONDS: Final = 10
"""Two workers of one confidential app may refresh at once: the second is refused, not punished."""

LONGEST_STATE: Final = 1024


@dataclass(frozen=True, slots=True)
class Approval:
    """A member's decision on the consent page; Authlib's `grant_user`.

    Attributes:
        patient: logical id of the member's Patient.
        scopes: granted scopes.
        expires: when the consent ends.
        signed_in: when the member signed in.
        address: where the request came from.
    """

    patient: str
    scopes: tuple[str, ...]
    expires: datetime
    signed_in: datetime
    address: str


@dataclass(frozen=True, slots=True)
class GrantContext:
    """Dependencies of the grants."""

    configuration: AuthConfiguration
    database: Database
    consents: Consents
    refresh_tokens: RefreshTokens
    clock: Clock
    note: Note

    def now(self) -> int:
        """Return the present second."""
        return seconds(self.clock)

    def open_consent(self, consent_id: str) -> Consent | None:
        """Return a consent that holds; None if it has ended."""
        with self.database.read() as session:
            consent = session.get(Consent, consent_id)
        return consent if consent is not None and consent.holds(self.clock()) else None

    def say(
        self, action: Action, row: CodeRow | RefreshRow, address: str, *, succeeded: bool = True
    ) -> None:
        """Record an event of a code or a token in the audit trail."""
        self.note(
            Happening(
                self.clock(),
                action,
                succeeded,
                client=row.client_id,
                consent=row.consent_id,
                by="app",
                address=address,
            )
        )

    def punish(self, action: Action, row: CodeRow | RefreshRow, address: str) -> None:
        """End the consent behind a code or token that was used a second time."""
        self.say(action, row, address, succeeded=False)
        self.consents.revoke(row.consent_id, by="server", address=address, detail=action)


class RedeemedCode:
    """A redeemed authorization code, as Authlib reads it."""

    def __init__(self, row: CodeRow, consent: Consent | None) -> None:
        self.row = row
        self.consent = consent
        self.code_challenge = row.code_challenge

    def get_redirect_uri(self) -> str:
        """Return the redirect URI of the authorization request."""
        return self.row.redirect_uri

    def get_scope(self) -> str:
        """Return what was granted."""
        return self.row.scope

    def get_nonce(self) -> str | None:
        """Return the nonce of the authorization request."""
        return self.row.nonce or None

    def get_auth_time(self) -> int | None:
        """Return when the member signed in."""
        return None if self.consent is None else self.consent.auth_time

    def get_acr(self) -> None:
        """Return nothing: the identity provider's business."""
        return

    def get_amr(self) -> None:
        """Return nothing: the identity provider's business."""
        return


class S256(CodeChallenge):  # type: ignore[misc]
    """PKCE with S256; `plain` does not exist, and a method that is not named is none."""

    DEFAULT_CODE_CHALLENGE_METHOD = "S256"
    SUPPORTED_CODE_CHALLENGE_METHOD = ["S256"]  # noqa: RUF012 - Authlib's
    CODE_CHALLENGE_METHODS = {"S256": CodeChallenge.CODE_CHALLENGE_METHODS["S256"]}  # noqa: RUF012

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        """Demand a challenge of every app that is not exempt, and the method S256 of all."""
        data = grant.request.payload.data
        client: Client = grant.request.client
        challenge, method = data.get("code_challenge"), data.get("code_challenge_method")
        if not challenge and not method and client.app.is_plain:
            return
        if not challenge:
            raise InvalidRequestError("PKCE is required: 'code_challenge' is missing.")
        if method != "S256":
            raise InvalidRequestError("'code_challenge_method' has to be S256.")
        super().validate_code_challenge(grant, redirect_uri)

    def get_authorization_code_challenge_method(self, authorization_code: RedeemedCode) -> str:
        """Return S256, the only one there is."""
        del authorization_code
        return "S256"


class CodeGrant(AuthorizationCodeGrant):  # type: ignore[misc]
    """Authorization code: exact redirect URI, `state`, `aud`, PKCE; redeemed once, in a minute."""

    RESPONSE_TYPES = {"code"}  # noqa: RUF012 - Authlib's
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    tools: GrantContext

    @staticmethod
    def validate_authorization_redirect_uri(request: Any, client: Client) -> str:
        """Return the redirect URI where it is registered; the error never repeats it."""
        uri = request.payload.redirect_uri
        if not uri or not client.check_redirect_uri(uri):
            raise InvalidRequestError("'redirect_uri' is missing, or not registered for the app.")
        return str(uri)

    @staticmethod
    def validate_no_multiple_request_parameter(request: Any) -> None:
        """Refuse repeated parameters (RFC 6749 section 3.1)."""
        if any(len(values) > 1 for values in request.payload.datalist.values()):
            raise InvalidRequestError("A parameter is there more than once.")

    def validate_authorization_request(self) -> str:
        """Return the redirect URI of a request that may be put to the member."""
        redirect_uri = str(super().validate_authorization_request())
        problem = _smart_problem(
            self.request.payload.data, self.request.client, self.tools.configuration
        )
        if problem:
            raise InvalidRequestError(problem, redirect_uri=redirect_uri)
        return redirect_uri

    def generate_authorization_code(self) -> str:
        """Return a new code: 48 random letters and digits, from the system's randomness."""
        return str(super().generate_authorization_code())

    def save_authorization_code(self, code: str, request: Any) -> None:
        """Keep what the member agreed to, and the hash of the code that stands for it."""
        approval: Approval = request.user
        tools, data = self.tools, request.payload.data
        client_id = request.client.get_client_id()
        consent = tools.consents.give(
            client_id=client_id,
            patient=approval.patient,
            scopes=approval.scopes,
            expires=approval.expires,
            signed_in=approval.signed_in,
            address=approval.address,
        )
        row = CodeRow(
            hash=hash_of(code),
            consent_id=consent,
            client_id=client_id,
            redirect_uri=request.payload.redirect_uri,
            scope=" ".join(approval.scopes),
            code_challenge=data.get("code_challenge") or "",
            nonce=data.get("nonce") or "",
            expires=tools.now() + tools.configuration.code_seconds,
            used=None,
        )
        with tools.database.write() as session:
            session.add(row)
        tools.say("code-issued", row, approval.address)

    def query_authorization_code(self, code: str, client: Client) -> RedeemedCode | None:
        """Redeem a code: one request with it succeeds, any other ends the consent behind it."""
        tools, now = self.tools, self.tools.now()
        with tools.database.write() as session:
            claimed = session.execute(
                update(CodeRow)
                .where(
                    CodeRow.hash == hash_of(code),
                    CodeRow.client_id == client.get_client_id(),
                    CodeRow.used.is_(None),
                    CodeRow.expires > now,
                )
                .values(used=now)
            )
            row = session.get(CodeRow, hash_of(code))
        if row is not None and changed(claimed) == 1:
            return RedeemedCode(row, tools.open_consent(row.consent_id))
        if row is not None and row.used is not None:
            tools.punish("code-replayed", row, self.request.address)
        return None

    def delete_authorization_code(self, authorization_code: RedeemedCode) -> None:
        """Keep the row, so that a second use is detected. It is deleted a day after."""

    def authenticate_user(self, authorization_code: RedeemedCode) -> Consent | None:
        """Return the member behind a code; None where the consent has ended meanwhile."""
        return authorization_code.consent

    def save_token(self, token: dict[str, Any]) -> None:
        """Keep the refresh token and say so."""
        code: RedeemedCode = self.request.authorization_code
        super().save_token(token)
        self.tools.refresh_tokens.keep(
            token.get("refresh_token"), self.request.user, scope=code.get_scope()
        )
        self.tools.say("token-issued", code.row, self.request.address)


class RotatingRefreshGrant(RefreshTokenGrant):  # type: ignore[misc]
    """Refresh: a new refresh token each time; a second use of an old one ends the family."""

    INCLUDE_NEW_REFRESH_TOKEN = True
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    tools: GrantContext

    def authenticate_refresh_token(self, refresh_token: str) -> Any:
        """Return a refresh token of this app that was not used yet."""
        row = self.tools.refresh_tokens.find(refresh_token)
        if row is None or row.client_id != self.request.client.get_client_id():
            return None
        if row.used is not None:
            self._replayed(row)
            return None
        return None if row.expires <= self.tools.now() else row

    def _validate_token_scope(self, token: RefreshRow) -> None:
        scopes = (self.request.payload.scope or "").split()
        wider = beyond(token.scope.split(), scopes)
        if wider:
            raise InvalidScopeError(f"The scope is wider than what was granted: {wider}.")

    def authenticate_user(self, refresh_token: RefreshRow) -> Consent:
        """Return the member behind a refresh token."""
        consent = self.tools.open_consent(refresh_token.consent_id)
        if consent is None:
            raise InvalidGrantError("The consent has ended.")
        return consent

    def save_token(self, token: dict[str, Any]) -> None:
        """Put the new refresh token in the place of the old one, for its scope (RFC 6749 6)."""
        old: RefreshRow = self.request.refresh_token
        new, tokens = token.get("refresh_token"), self.tools.refresh_tokens
        super().save_token(token)
        try:
            tokens.keep(new, self.request.user, scope=old.scope, replacing=old)
        except AlreadyUsed:
            self._replayed(tokens.find(self.request.form["refresh_token"]))
            raise InvalidGrantError() from None
        try:
            self.tools.say("token-refreshed", old, self.request.address)
        except Exception:
            # The app gets no new token and will retry with the old one, which is no replay.
            tokens.take_back(new, old)
            raise

    def revoke_old_credential(self, refresh_token: RefreshRow) -> None:
        """Do nothing: it was invalidated when the new one was stored."""

    def _replayed(self, row: RefreshRow | None) -> None:
        if row is None or row.used is None:
            return
        is_public = self.request.client.app.draft.client_type == "public"
        is_late = self.tools.now() - row.used > CONCURRENT_SECONDS
        if is_public or is_late:
            self.tools.punish("refresh-replayed", row, self.request.address)


def _smart_problem(data: dict[str, str], client: Client, configuration: AuthConfiguration) -> str:
    """Return what an authorization request lacks by SMART App Launch; empty for nothing.

    An app with the plain authorize URL may leave `state` and `aud` out.
    """
    state, aud = data.get("state", ""), data.get("aud", "")
    problem = ""
    if "request" in data or "request_uri" in data:
        problem = "Request objects are not supported."
    elif data.get("response_mode", "query") != "query":
        problem = "'response_mode' has to be query."
    elif len(state) > LONGEST_STATE:
        problem = "'state' is too long."
    elif not state and not client.app.is_plain:
        problem = "'state' is missing."
    elif not aud and not client.app.is_plain:
        problem = "'aud' is missing: it has to be the FHIR base URL."
    elif aud and aud.rstrip("/") != configuration.fhir_base:
        problem = "'aud' is not the FHIR base URL of this server."
    return problem


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request to an OAuth endpoint, read to its end.

    Attributes:
        method: HTTP method.
        path: path at this server.
        parameters: names and values of the query or the body, in their order.
        headers: HTTP headers; names in any case.
        address: where the request came from.
    """

    method: str
    path: str
    parameters: tuple[tuple[str, str], ...]
    headers: Mapping[str, str] = field(repr=False)
    address: str

    @property
    def claimed_client(self) -> str:
        """The client id that the request states; empty where it states none."""
        for name, value in self.parameters:
            if name == "client_id":
                return value
        pair = _basic(self.headers.get("authorization", ""))
        return pair.partition(":")[0] if pair else ""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A response, before it is converted to Starlette's.

    Attributes:
        status: HTTP status.
        body: the JSON body; None for none.
        headers: HTTP headers.
    """

    status: int
    body: Mapping[str, Any] | None
    headers: tuple[tuple[str, str], ...]

    @property
    def location(self) -> str:
        """Target of a redirect; empty where it is none."""
        return dict(self.headers).get("Location", "")


class _Payload(OAuth2Payload):  # type: ignore[misc]
    def __init__(self, parameters: tuple[tuple[str, str], ...]) -> None:
        self._lists: defaultdict[str, list[str]] = defaultdict(list)
        for name, value in parameters:
            self._lists[name].append(value)
        self._data = {name: values[0] for name, values in self._lists.items()}

    @property
    def data(self) -> dict[str, str]:
        return self._data

    @property
    def datalist(self) -> defaultdict[str, list[str]]:
        return self._lists


class _Request(OAuth2Request):  # type: ignore[misc]
    def __init__(self, incoming: Incoming, base_url: str) -> None:
        super().__init__(incoming.method, base_url + incoming.path, headers=incoming.headers)
        self.payload = _Payload(incoming.parameters)
        self.address = incoming.address

    @property
    def args(self) -> dict[str, str]:
        return self.payload.data

    @property
    def form(self) -> dict[str, str]:
        return self.payload.data


class Protocol(AuthorizationServer):  # type: ignore[misc]
    """The authorization server's protocol. Its functions wait for the database."""

    def __init__(
        self,
        tools: GrantContext,
        apps: Apps,
        access_tokens: AccessTokens,
        id_tokens: IdTokens,
        verifier: LocalVerifier,
    ) -> None:
        super().__init__()
        self._tools = tools
        self._apps = apps
        self.register_client_auth_method(
            "private_key_jwt", SignedAssertion(tools.configuration, tools.database, tools.clock)
        )
        self.register_token_generator("default", access_tokens)
        code = type("_CodeGrant", (CodeGrant,), {"tools": tools})
        refresh = type("_RefreshGrant", (RotatingRefreshGrant,), {"tools": tools})
        self.register_grant(code, [S256(required=True), id_tokens])
        self.register_grant(refresh)
        self.register_endpoint(Introspection(self, tools, verifier))
        self.register_endpoint(Revocation(self, tools, verifier))

    def consider(self, incoming: Incoming) -> tuple[Client, tuple[str, ...], str]:
        """Return app, grantable scopes and redirect URI of an authorization request.

        Raises:
            OAuth2Error: it cannot be put to a member; `redirect_uri` is set where the error may
                be returned to the app.
        """
        check_shape(incoming)
        grant = self.get_consent_grant(incoming)
        return grant.request.client, tuple(grant.request.scope.split()), grant.redirect_uri

    def approve(self, incoming: Incoming, approval: Approval | None) -> Outgoing:
        """Return the answer to an authorization request that a member decided on.

        Args:
            incoming: the request, checked once more.
            approval: what was agreed to; None where it was refused.
        """
        request = self.create_oauth2_request(incoming)
        try:
            check_shape(incoming)
            grant = self.get_authorization_grant(request)
            grant.validate_no_multiple_request_parameter(request)
        except OAuth2Error as error:
            return self.refused(incoming, error)
        answer: Outgoing = self.create_authorization_response(request, approval, grant)
        return self._identified(answer)

    def refused(self, incoming: Incoming, error: Any) -> Outgoing:
        """Return the answer to an authorization request that cannot be put to a member."""
        error.state = dict(incoming.parameters).get("state")
        return self._identified(self.handle_response(*error(None)))

    def token(self, incoming: Incoming) -> Outgoing:
        """Return the answer of the token endpoint."""
        try:
            check_shape(incoming, longest=LONGEST_ASSERTION)
            _check_methods(incoming)
        except OAuth2Error as error:
            return self.handle_response(*error(None))
        answer: Outgoing = self.create_token_response(incoming)
        return answer

    def endpoint(self, name: str, incoming: Incoming) -> Outgoing:
        """Return the answer of the endpoint `introspection` or `revocation`."""
        try:
            check_shape(incoming, longest=LONGEST_ASSERTION)
            _check_methods(incoming)
        except OAuth2Error as error:
            return self.handle_response(*error(None))
        answer: Outgoing = self.create_endpoint_response(name, incoming)
        return answer

    # Authlib's integration interface:

    def query_client(self, client_id: str) -> Client | None:
        """Return an app that is allowed to work."""
        if not (client_id.isascii() and client_id.isprintable()):
            return None  # PostgreSQL takes no NUL
        try:
            app = self._apps.get(client_id)
        except NoSuchApp:
            return None
        return Client(app, self._apps) if app.is_active else None

    def authenticate_client(
        self, request: _Request, methods: list[str], endpoint: str = "token"
    ) -> Client:
        """Return the app that a request comes from.

        Raises:
            InvalidClientError: authentication failed, or `client_id` names another app.
        """
        named = request.payload.client_id
        is_named = named or "client_assertion" in request.form or "authorization" in request.headers
        if not is_named:
            public_app = self._public_app_of(request) if endpoint == "token" else None
            if public_app is not None:
                return public_app
            raise InvalidClientError(status_code=401, description="'client_id' is missing.")
        client: Client = super().authenticate_client(request, methods, endpoint)
        if named and named != client.get_client_id():
            raise InvalidClientError(description="The client_id is not the authenticated one.")
        return client

    def _public_app_of(self, request: _Request) -> Client | None:
        """Return the public app that a refresh token was issued to; None for any other request.

        RFC 6749 section 6 asks a public client for no `client_id`, and some libraries send none.
        The token is bound to its app, and a second use of it ends the consent's tokens.
        """
        if request.payload.grant_type != "refresh_token":
            return None
        row = self._tools.refresh_tokens.find(request.form.get("refresh_token", ""))
        client = None if row is None else self.query_client(row.client_id)
        if client is None or not client.check_endpoint_auth_method("none", "token"):
            return None
        request.auth_method = "none"
        return client

    def get_authorization_grant(self, request: _Request) -> Any:
        """Return the grant for an authorization request: `code` is the only response type.

        Raises:
            OAuth2Error: `unsupported_response_type`; returned to the app where its redirect
                URI is registered.
        """
        if request.payload.response_type == "code":
            return super().get_authorization_grant(request)
        client = self.query_client(request.payload.client_id or "")
        uri = request.payload.redirect_uri
        is_known = client is not None and bool(uri) and client.check_redirect_uri(uri)
        raise OAuth2Error(
            error="unsupported_response_type",
            description="'response_type' has to be code.",
            redirect_uri=uri if is_known else None,
        )

    def save_token(self, token: dict[str, Any], request: _Request) -> None:
        """Add SMART's launch context to the token response; the grants keep the token."""
        if names_patient(str(token.get("scope", "")).split()):
            token["patient"] = request.user.patient

    def create_oauth2_request(self, request: Incoming) -> _Request:
        """Return the request as Authlib reads it."""
        return _Request(request, self._tools.configuration.base_url)

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> Outgoing:
        """Return an answer."""
        if isinstance(body, list):
            body = dict(body)
        return Outgoing(status, body or ({} if status == 200 else None), tuple(headers))

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Do nothing: events are recorded in the audit trail."""

    def _identified(self, answer: Outgoing) -> Outgoing:
        """Add the issuer to a redirect (RFC 9207), errors included."""
        if not answer.location:
            return answer
        issuer = self._tools.configuration.base_url
        location = add_params_to_uri(answer.location, [("iss", issuer)])
        others = [pair for pair in answer.headers if pair[0] != "Location"]
        return Outgoing(answer.status, None, (*others, ("Location", location)))


class _AboutTokens:
    """Token lookup, shared by introspection and revocation."""

    def __init__(self, server: Protocol, tools: GrantContext, verifier: LocalVerifier) -> None:
        super().__init__(server)  # type: ignore[call-arg]
        self._tools = tools
        self._verifier = verifier

    def query_token(self, token_string: str, token_type_hint: str | None) -> Any:
        """Return an active token of any kind; the hint is not needed."""
        del token_type_hint
        return _active(token_string, self._tools, self._verifier)


class Introspection(_AboutTokens, IntrospectionEndpoint):  # type: ignore[misc]
    """RFC 7662: an app asks about its own tokens, a configured one about all."""

    CLIENT_AUTH_METHODS = CONFIDENTIAL_METHODS

    def check_permission(self, token: _Active, client: Client, request: Any) -> bool:
        """Return whether an app may ask about a token."""
        del request
        asking = client.get_client_id()
        return asking == token.client_id or asking in self._tools.configuration.introspectors

    def introspect_token(self, token: _Active) -> dict[str, Any]:
        """Return the introspection response (SMART App Launch 2.2.0, "Token Introspection")."""
        return token.facts(self._tools.configuration.base_url, self._tools.configuration.fhir_base)


class Revocation(_AboutTokens, RevocationEndpoint):  # type: ignore[misc]
    """RFC 7009: a refresh token takes the whole consent with it, an access token itself."""

    CLIENT_AUTH_METHODS = METHODS

    def revoke_token(self, token: _Active, request: _Request) -> None:
        """End a token."""
        if token.access is None:
            self._tools.consents.revoke(
                token.consent, by="app", address=request.address, detail="token-revoked"
            )
            return
        self._tools.consents.revoke_token(
            token.access.id, token.client_id, token.consent, address=request.address
        )


@dataclass(frozen=True, slots=True)
class _Active:
    """A token that may be used, of either kind."""

    client_id: str
    consent: str
    scope: str
    patient: str
    expires: int
    issued: int
    access: AccessToken | None

    def check_client(self, client: Client) -> bool:
        return client.get_client_id() == self.client_id

    def is_expired(self) -> bool:
        return False

    def is_revoked(self) -> bool:
        return False

    def facts(self, issuer: str, fhir_base: str) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "active": True,
            "iss": issuer,
            "aud": fhir_base,
            "client_id": self.client_id,
            "scope": self.scope,
            "sub": self.patient,
            "exp": self.expires,
            "iat": self.issued,
            "patient": self.patient,
        }
        if self.access is not None:
            facts["token_type"] = "Bearer"  # noqa: S105 - RFC 6750
            facts["jti"] = self.access.id
        if "fhirUser" in self.scope.split():
            facts["fhirUser"] = f"{fhir_base}/Patient/{self.patient}"
        return facts


def _active(token: str, tools: GrantContext, verifier: LocalVerifier) -> _Active | None:
    if token.count(".") == 2:
        try:
            active = verifier.active(token)
        except TokenRefused:
            return None
        grant = active.grant
        return _Active(
            grant.client,
            grant.grant,
            " ".join(grant.scopes),
            grant.patient,
            int(grant.expires.timestamp()),
            active.issued,
            active,
        )
    row = tools.refresh_tokens.find(token)
    consent = None if row is None else tools.open_consent(row.consent_id)
    is_over = row is None or row.used is not None or row.expires <= tools.now()
    if row is None or consent is None or is_over:
        return None
    return _Active(
        row.client_id,
        row.consent_id,
        row.scope,
        consent.patient,
        row.expires,
        row.issued,
        None,
    )


def check_shape(incoming: Incoming, *, longest: int = LONGEST_PARAMETER) -> None:
    """Refuse parameters that are repeated, too long, or hold characters RFC 6749 does not allow.

    Raises:
        InvalidRequestError: never returned by a redirect.
    """
    names = [name for name, _ in incoming.parameters if name != "resource"]
    if len(names) != len(set(names)):
        raise InvalidRequestError("A parameter is there more than once.")
    for name, value in incoming.parameters:
        is_printable = value.isascii() and (value.isprintable() or not value)
        if not is_printable or len(value) > longest or not name.isascii():
            raise InvalidRequestError("A parameter is too long, or holds characters it may not.")


def read_json(body: bytes) -> tuple[tuple[str, str], ...]:
    """Return the parameters of a JSON body: an object of texts.

    Raises:
        ValueError: the body is not such an object.
    """
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("no object")
    pairs = [(name, value) for name, value in document.items() if value is not None]
    if any(not isinstance(value, str) for _, value in pairs):
        raise ValueError("no texts")
    return tuple(pairs)


def origin_of(uri: str) -> str:
    """Return scheme and host of a URI; for an app's own scheme the scheme alone."""
    parts = urlsplit(uri)
    if parts.scheme in ("https", "http"):
        return f"{parts.scheme}://{parts.netloc}"
    return f"{parts.scheme}:"


def _check_methods(incoming: Incoming) -> None:
    """Refuse two ways of authenticating in one request (RFC 6749 section 2.3).

    Raises:
        InvalidRequestError: there are two.
        InvalidClientError: the header cannot be read.
    """
    names = {name for name, value in incoming.parameters if value}
    header = incoming.headers.get("authorization", "")
    used = bool(header) + ("client_secret" in names) + ("client_assertion" in names)
    if used > 1:
        raise InvalidRequestError("The client authenticates in more than one way.")
    if header and _basic(header) is None:
        raise InvalidClientError(status_code=401, description="The header is not HTTP Basic.")


def _basic(header: str) -> str | None:
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(text.strip(), validate=True).decode()
    except ValueError:
        return None
    return pair if ":" in pair and "\x00" not in pair else None
