"""Grants of OAuth 2.0 and OpenID Connect, by Authlib over this server's database.

Clients authenticate by a secret (Basic or in the body), a signed assertion (RFC 7523,
`private_key_jwt`), or, if they are public, by nothing but their id. There are two grants:
authorization code with PKCE, and refresh. RFC 6749, RFC 7636, RFC 9700, SMART App Launch 2.2.0.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from authlib.oauth2.rfc6749 import (
    ClientMixin,
    InvalidClientError,
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
)
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, RefreshTokenGrant
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from authlib.oidc.core.grants import OpenIDCode
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from etl.auth.configuration import ACCESS_SECONDS, REFRESH_IDLE_DAYS, AuthConfiguration
from etl.auth.consents import Consents
from etl.auth.context import AuthContext, hash_of, is_same
from etl.auth.database import changed_rows
from etl.auth.database_tables import App, AssertionRow, CodeRow, Consent, RefreshRow
from etl.auth.records import Action, Approval
from etl.auth.registration import is_registered
from etl.auth.scopes import ScopeRefused, excess_scopes, grant_scopes, is_long_lived
from etl.auth.signing_keys import ALGORITHM, Keys

LONGEST_ASSERTION: Final = 8192

METHODS: Final = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"]
"""Authentication methods of the token endpoint, in the order in which they are tried."""

CONFIDENTIAL_METHODS: Final = METHODS[:3]

ASSERTION_ALGORITHMS: Final = ["RS256", "RS384", "ES256", "ES384"]
"""SMART App Launch 2.2.0 asks for RS384 and ES384; none of them is symmetric or `none`."""

LONGEST_ASSERTION_SECONDS: Final = 300
"""SMART App Launch 2.2.0, "Client Authentication: Asymmetric": `exp` at most five minutes ahead."""

_LEEWAY_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Client(ClientMixin):  # type: ignore[misc]
    """An app, as Authlib's client interface."""

    app: App

    def get_client_id(self) -> str:
        """Return its id."""
        return self.app.client_id

    def get_default_redirect_uri(self) -> None:
        """Return none: every request has to name its redirect URI."""

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
            return " ".join(grant_scopes(scopes, self.app.draft.scopes))
        except ScopeRefused as refused:
            raise InvalidScopeError(str(refused)) from None

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Return whether the redirect URI is one of those registered."""
        return is_registered(redirect_uri, self.app.draft.redirect_uris)

    def check_client_secret(self, client_secret: str) -> bool:
        """Return whether that is its secret, in constant time."""
        return is_same(client_secret, self.app.secret_hash)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """Return whether it authenticates by that method; the same at every endpoint."""
        methods = {
            "secret": ("client_secret_basic", "client_secret_post"),
            "private_key_jwt": ("private_key_jwt",),
            "none": ("none",),
        }
        return method in methods[self.app.draft.authentication]

    def check_response_type(self, response_type: str) -> bool:
        """Return whether the response type is `code`; there is no implicit grant (RFC 9700)."""
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        """Return whether the app may use a grant."""
        return grant_type in ("authorization_code", "refresh_token")


class SignedAssertion(JWTBearerClientAssertion):  # type: ignore[misc]
    """Client authentication by a signed assertion; each may be used once (RFC 7523, SMART)."""

    CLIENT_AUTH_METHOD = "private_key_jwt"

    def __init__(self, context: AuthContext) -> None:
        super().__init__(validate_jti=True, leeway=_LEEWAY_SECONDS)
        self._context = context

    def get_audiences(self) -> list[str]:
        """Return the accepted audiences of an assertion: the token endpoint, or the issuer."""
        configuration = self._context.configuration
        return [configuration.url("/oauth/token"), configuration.base_url]

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
        now = self._context.seconds()
        expires = claims.get("exp")
        if not isinstance(expires, int) or expires > now + LONGEST_ASSERTION_SECONDS + self.leeway:
            raise InvalidClientError(description="The assertion is valid for too long.")
        if expires <= now - self.leeway:
            raise InvalidClientError(description="The assertion has expired.")
        super().verify_claims(claims)

    def validate_jti(self, claims: dict[str, Any], jti: object) -> bool:
        """Return whether an assertion is used for the first time, and record it."""
        if not isinstance(jti, str) or not jti:
            return False
        expired_before = self._context.seconds() - 2 * self.leeway
        with self._context.database.write() as session:
            session.execute(delete(AssertionRow).where(AssertionRow.expires < expired_before))
            return self._context.database.add_if_missing(
                session,
                AssertionRow,
                client_id=str(claims["sub"]),
                jti_hash=hash_of(jti),
                expires=int(claims["exp"]),
            )


ID_TOKEN_SECONDS: Final = 3600


class AccessTokens(JWTBearerTokenGenerator):  # type: ignore[misc]
    """Access tokens as signed JWTs (RFC 9068), and refresh tokens if the scope asks for them."""

    def __init__(self, context: AuthContext, keys: Keys) -> None:
        super().__init__(
            issuer=context.configuration.base_url,
            alg=ALGORITHM["access"],
            refresh_token_generator=lambda **_: context.new_token(),
            # Authlib's default lifetime is ten days, whatever its response says.
            expires_generator=ACCESS_SECONDS,
        )
        self._context = context
        self._keys = keys

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
        if user is None:
            raise InvalidGrantError()
        has_refresh = include_refresh_token and is_long_lived(user.scopes)
        token: dict[str, Any] = super().generate(
            grant_type, client, user, scope, self._lifetime(user), has_refresh
        )
        return token

    def get_jwks(self) -> KeySet:
        """Return the key to sign with; in a set, so that its `kid` goes into the header."""
        return KeySet([self._keys.signing_key("access")])

    def get_audiences(self, client: Client, user: Consent, scope: str) -> str:
        """Return the audience: the FHIR base, never the app."""
        return self._context.configuration.fhir_base

    def get_jti(self, client: Client, grant_type: str, user: Consent, scope: str) -> str:
        """Return the token's id."""
        return self._context.new_token(16)

    def get_auth_time(self, user: Consent) -> int:
        """Return when the member signed in."""
        return user.auth_time

    def get_extra_claims(
        self, client: Client, grant_type: str, user: Consent, scope: str
    ) -> dict[str, Any]:
        """Return patient and consent; and the lifetime, by this server's clock."""
        now = self._context.seconds()
        return {
            "iat": now,
            "exp": now + self._lifetime(user),
            "patient": user.patient,
            "grant_id": user.id,
        }

    def _lifetime(self, user: Consent) -> int:
        """Return the token's lifetime; it never outlives the consent."""
        seconds_left = int(user.expires.timestamp()) - self._context.seconds()
        return max(1, min(ACCESS_SECONDS, seconds_left))


class IdTokens(OpenIDCode):  # type: ignore[misc]
    """ID tokens (OpenID Connect Core), RS256, with SMART's `fhirUser`."""

    def __init__(self, context: AuthContext, keys: Keys) -> None:
        super().__init__(require_nonce=False)
        self._context = context
        self._keys = keys

    def exists_nonce(self, nonce: str, request: Any) -> bool:
        """Return False: a nonce is the app's to check; codes cannot be replayed here anyway."""
        return False

    def resolve_client_private_key(self, client: Client) -> Any:
        """Return the key to sign with."""
        return self._keys.signing_key("id")

    def get_client_algorithm(self, client: Client) -> str:
        """Return RS256, for every app."""
        return ALGORITHM["id"]

    def get_encode_header(self, client: Client) -> dict[str, str]:
        """Return the header, which names the key."""
        return {"alg": ALGORITHM["id"], "kid": str(self._keys.signing_key("id").kid)}

    def get_client_claims(self, client: Client) -> dict[str, Any]:
        """Return issuer, audience and lifetime."""
        now = self._context.seconds()
        return {
            "iss": self._context.configuration.base_url,
            "aud": client.get_client_id(),
            "iat": now,
            "exp": now + ID_TOKEN_SECONDS,
        }

    def generate_user_info(self, user: Consent, scope: str) -> dict[str, str]:
        """Return the claims of a member's identity: the subject, and the URL of the Patient."""
        claims = {"sub": user.get_user_id()}
        if "fhirUser" in scope.split():
            claims["fhirUser"] = f"{self._context.configuration.fhir_base}/Patient/{user.patient}"
        return claims


CONCURRENT_SECONDS: Final = 10
"""Two workers of one confidential app may refresh at once: the second is refused, not punished."""

LONGEST_STATE: Final = 1024


class AlreadyUsed(Exception):
    """Another request used the refresh token first."""


@dataclass(frozen=True, slots=True)
class GrantStore:
    """Stores consents, codes and refresh tokens; a code or token is used once."""

    context: AuthContext
    consents: Consents

    def open_consent(self, consent_id: str) -> Consent | None:
        """Return a consent; None if it has ended."""
        with self.context.database.read() as session:
            consent = session.get(Consent, consent_id)
        return consent if consent is not None and consent.is_open(self.context.clock()) else None

    def find_refresh_token(self, token: str) -> RefreshRow | None:
        """Return a refresh token, used and expired ones included."""
        with self.context.database.read() as session:
            return session.get(RefreshRow, hash_of(token))

    def keep_refresh_token(
        self,
        token: str | None,
        consent: Consent,
        *,
        scope: str,
        replacing: RefreshRow | None = None,
    ) -> None:
        """Store a new refresh token, and when its consent was last used.

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
        now = self.context.now()
        idle = timedelta(days=REFRESH_IDLE_DAYS)
        with self.context.database.write() as session:
            if replacing is not None and not _mark_used(
                session, RefreshRow, replacing.hash, replacing.client_id, int(now.timestamp())
            ):
                raise AlreadyUsed
            updated = session.execute(
                update(Consent)
                .where(Consent.id == consent.id, Consent.revoked.is_(None), Consent.expires > now)
                .values(last_used=now)
            )
            if changed_rows(updated) != 1:
                raise InvalidGrantError("The consent has ended.")
            if token is not None:
                session.add(
                    RefreshRow(
                        hash=hash_of(token),
                        consent_id=consent.id,
                        client_id=consent.client_id,
                        scope=scope,
                        issued=int(now.timestamp()),
                        expires=int(min(now + idle, consent.expires).timestamp()),
                        used=None,
                    )
                )

    def undo_rotation(self, token: str | None, replaced: RefreshRow) -> None:
        """Delete a new refresh token that was not delivered; the one it replaced is valid again."""
        with self.context.database.write() as session:
            if token is not None:
                session.execute(delete(RefreshRow).where(RefreshRow.hash == hash_of(token)))
            session.execute(
                update(RefreshRow).where(RefreshRow.hash == replaced.hash).values(used=None)
            )

    def note(
        self, action: Action, row: CodeRow | RefreshRow, address: str, *, succeeded: bool = True
    ) -> None:
        """Record an event of a code or a token in the audit trail."""
        self.context.note(
            action,
            succeeded=succeeded,
            client=row.client_id,
            consent=row.consent_id,
            by="app",
            address=address,
        )

    def punish(self, action: Action, row: CodeRow | RefreshRow, address: str) -> None:
        """End the consent behind a code or token that was used a second time."""
        self.note(action, row, address, succeeded=False)
        self.consents.revoke(row.consent_id, by="server", address=address, detail=action)


def _mark_used(
    session: Session, table: type[CodeRow | RefreshRow], token_hash: str, client_id: str, now: int
) -> bool:
    """Mark an app's code or refresh token as used; return whether this request was the first."""
    updated = session.execute(
        update(table)
        .where(
            table.hash == token_hash,
            table.client_id == client_id,
            table.used.is_(None),
            table.expires > now,
        )
        .values(used=now)
    )
    return changed_rows(updated) == 1


class S256(CodeChallenge):  # type: ignore[misc]
    """PKCE with S256 only; a request without a method is refused, not read as `plain`."""

    DEFAULT_CODE_CHALLENGE_METHOD = "S256"
    SUPPORTED_CODE_CHALLENGE_METHOD = ["S256"]  # noqa: RUF012 - Authlib's
    CODE_CHALLENGE_METHODS = {"S256": CodeChallenge.CODE_CHALLENGE_METHODS["S256"]}  # noqa: RUF012

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        """Require PKCE with S256; an app with the plain authorize URL may leave it out."""
        data = grant.request.payload.data
        client: Client = grant.request.client
        challenge, method = data.get("code_challenge"), data.get("code_challenge_method")
        if not challenge and not method and client.app.is_plain:
            return
        if not challenge:
            raise InvalidRequestError("PKCE is required: 'code_challenge' is missing.")
        if method != "S256":
            raise InvalidRequestError("'code_challenge_method' must be S256.")
        super().validate_code_challenge(grant, redirect_uri)

    def get_authorization_code_challenge_method(self, authorization_code: CodeRow) -> str:
        """Return S256, the only one there is."""
        return "S256"


class CodeGrant(AuthorizationCodeGrant):  # type: ignore[misc]
    """Authorization code: exact redirect URI, `state`, `aud`, PKCE; redeemed once, in a minute."""

    RESPONSE_TYPES = {"code"}  # noqa: RUF012 - Authlib's
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    store: GrantStore

    @staticmethod
    def validate_authorization_redirect_uri(request: Any, client: Client) -> str:
        """Return the redirect URI where it is registered; the error never repeats it."""
        uri = request.payload.redirect_uri
        if not uri or not client.check_redirect_uri(uri):
            raise InvalidRequestError("'redirect_uri' is missing, or not registered for the app.")
        return str(uri)

    def validate_authorization_request(self) -> str:
        """Return the redirect URI of a request that may be put to the member."""
        redirect_uri = str(super().validate_authorization_request())
        problem = _smart_problem(
            self.request.payload.data, self.request.client, self.store.context.configuration
        )
        if problem:
            raise InvalidRequestError(problem, redirect_uri=redirect_uri)
        return redirect_uri

    def save_authorization_code(self, code: str, request: Any) -> None:
        """Store the consent, and the hash of the code issued for it."""
        approval: Approval = request.user
        context, data = self.store.context, request.payload.data
        client_id = request.client.get_client_id()
        row = CodeRow(
            hash=hash_of(code),
            consent_id=self.store.consents.give(client_id, approval),
            client_id=client_id,
            redirect_uri=request.payload.redirect_uri,
            scope=" ".join(approval.scopes),
            code_challenge=data.get("code_challenge") or "",
            nonce=data.get("nonce") or "",
            expires=context.seconds() + context.configuration.code_seconds,
            used=None,
        )
        with context.database.write() as session:
            session.add(row)
        self.store.note("code-issued", row, approval.address)

    def query_authorization_code(self, code: str, client: Client) -> CodeRow | None:
        """Redeem a code once; a second use ends the consent behind it."""
        context = self.store.context
        with context.database.write() as session:
            is_first = _mark_used(
                session, CodeRow, hash_of(code), client.get_client_id(), context.seconds()
            )
            row = session.get(CodeRow, hash_of(code))
        if row is not None and is_first:
            return row
        if row is not None and row.used is not None:
            self.store.punish("code-replayed", row, self.request.address)
        return None

    def delete_authorization_code(self, authorization_code: CodeRow) -> None:
        """Keep the row, so that a second use is detected. It is deleted a day after."""

    def authenticate_user(self, authorization_code: CodeRow) -> Consent | None:
        """Return the member behind a code; None where the consent has ended meanwhile."""
        return self.store.open_consent(authorization_code.consent_id)

    def save_token(self, token: dict[str, Any]) -> None:
        """Store the refresh token, and record the event."""
        code: CodeRow = self.request.authorization_code
        super().save_token(token)
        self.store.keep_refresh_token(
            token.get("refresh_token"), self.request.user, scope=code.scope
        )
        self.store.note("token-issued", code, self.request.address)


class RotatingRefreshGrant(RefreshTokenGrant):  # type: ignore[misc]
    """Refresh with rotation: a second use of a refresh token ends the consent."""

    INCLUDE_NEW_REFRESH_TOKEN = True
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    store: GrantStore

    def authenticate_refresh_token(self, refresh_token: str) -> Any:
        """Return a refresh token of this app that was not used yet."""
        row = self.store.find_refresh_token(refresh_token)
        if row is None or row.client_id != self.request.client.get_client_id():
            return None
        if row.used is not None:
            self._punish_replay(row)
            return None
        return None if row.expires <= self.store.context.seconds() else row

    def _validate_token_scope(self, token: RefreshRow) -> None:
        scopes = (self.request.payload.scope or "").split()
        excess = excess_scopes(token.scope.split(), scopes)
        if excess:
            raise InvalidScopeError(f"The scope is wider than what was granted: {excess}.")

    def authenticate_user(self, refresh_token: RefreshRow) -> Consent:
        """Return the member behind a refresh token."""
        consent = self.store.open_consent(refresh_token.consent_id)
        if consent is None:
            raise InvalidGrantError("The consent has ended.")
        return consent

    def save_token(self, token: dict[str, Any]) -> None:
        """Replace the refresh token by a new one of the same scope (RFC 6749 section 6)."""
        row: RefreshRow = self.request.refresh_token
        new, store = token.get("refresh_token"), self.store
        super().save_token(token)
        try:
            store.keep_refresh_token(new, self.request.user, scope=row.scope, replacing=row)
        except AlreadyUsed:
            self._punish_replay(store.find_refresh_token(self.request.form["refresh_token"]))
            raise InvalidGrantError() from None
        try:
            store.note("token-refreshed", row, self.request.address)
        except Exception:
            # The app gets no new token and will retry with the old one, which is no replay.
            store.undo_rotation(new, row)
            raise

    def revoke_old_credential(self, refresh_token: RefreshRow) -> None:
        """Do nothing: it was invalidated when the new one was stored."""

    def _punish_replay(self, row: RefreshRow | None) -> None:
        """End the consent of a replayed token, unless two workers of an app just raced."""
        if row is None or row.used is None:
            return
        is_public = self.request.client.app.draft.client_type == "public"
        is_late = self.store.context.seconds() - row.used > CONCURRENT_SECONDS
        if is_public or is_late:
            self.store.punish("refresh-replayed", row, self.request.address)


def _smart_problem(data: dict[str, str], client: Client, configuration: AuthConfiguration) -> str:
    """Return why an authorization request violates SMART App Launch; empty if it is valid.

    An app with the plain authorize URL may leave `state` and `aud` out.
    """
    state, aud = data.get("state", ""), data.get("aud", "")
    is_strict = not client.app.is_plain
    problems = (
        ("request" in data or "request_uri" in data, "Request objects are not supported."),
        (data.get("response_mode", "query") != "query", "'response_mode' must be query."),
        (len(state) > LONGEST_STATE, "'state' is too long."),
        (is_strict and not state, "'state' is missing."),
        (is_strict and not aud, "'aud' is missing: it must be the FHIR base URL."),
        (
            aud and aud.rstrip("/") != configuration.fhir_base,
            "'aud' is not the FHIR base URL of this server.",
        ),
    )
    return next((text for is_wrong, text in problems if is_wrong), "")
