"""The two grants: authorization code with PKCE, and refresh. Authlib's flow, this server's policy.

RFC 6749, RFC 7636, RFC 9700, SMART App Launch 2.2.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from authlib.oauth2.rfc6749 import (
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
)
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, RefreshTokenGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from sqlalchemy import update

from etl.auth.clients import METHODS, Client
from etl.auth.configuration import AuthConfiguration, Clock
from etl.auth.consents import Consents
from etl.auth.database import Database, changed
from etl.auth.database_tables import CodeRow, ConsentRow, RefreshRow
from etl.auth.records import Action, Happening, Note
from etl.auth.scopes import beyond
from etl.auth.secrets import hash_of
from etl.auth.tokens import AlreadyUsed, Holder, RefreshTokens

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
        return int(self.clock().timestamp())

    def holder(self, consent_id: str) -> Holder | None:
        """Return the member behind a consent that holds; None where it has ended."""
        with self.database.read() as session:
            row = session.get(ConsentRow, consent_id)
        if row is None or row.revoked is not None or row.expires <= self.now():
            return None
        return Holder(row)

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

    def __init__(self, row: CodeRow, holder: Holder | None) -> None:
        self.row = row
        self.holder = holder
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
        return None if self.holder is None else self.holder.consent.auth_time

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
            return RedeemedCode(row, tools.holder(row.consent_id))
        if row is not None and row.used is not None:
            tools.punish("code-replayed", row, self.request.address)
        return None

    def delete_authorization_code(self, authorization_code: RedeemedCode) -> None:
        """Keep the row, so that a second use is detected. It is deleted a day after."""

    def authenticate_user(self, authorization_code: RedeemedCode) -> Holder | None:
        """Return the member behind a code; None where the consent has ended meanwhile."""
        return authorization_code.holder

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
        return None if row.expires <= self.tools.now() else _Refresh(row)

    def _validate_token_scope(self, token: _Refresh) -> None:
        scopes = (self.request.payload.scope or "").split()
        wider = beyond(token.row.scope.split(), scopes)
        if wider:
            raise InvalidScopeError(f"The scope is wider than what was granted: {wider}.")

    def authenticate_user(self, refresh_token: _Refresh) -> Holder:
        """Return the member behind a refresh token."""
        holder = self.tools.holder(refresh_token.row.consent_id)
        if holder is None:
            raise InvalidGrantError("The consent has ended.")
        return holder

    def save_token(self, token: dict[str, Any]) -> None:
        """Put the new refresh token in the place of the old one, for its scope (RFC 6749 6)."""
        old: _Refresh = self.request.refresh_token
        new, tokens = token.get("refresh_token"), self.tools.refresh_tokens
        super().save_token(token)
        try:
            tokens.keep(new, self.request.user, scope=old.row.scope, replacing=old.row)
        except AlreadyUsed:
            self._replayed(tokens.find(self.request.form["refresh_token"]))
            raise InvalidGrantError() from None
        try:
            self.tools.say("token-refreshed", old.row, self.request.address)
        except Exception:
            # The app gets no new token and will retry with the old one, which is no replay.
            tokens.take_back(new, old.row)
            raise

    def revoke_old_credential(self, refresh_token: _Refresh) -> None:
        """Do nothing: it was invalidated when the new one was stored."""

    def _replayed(self, row: RefreshRow | None) -> None:
        if row is None or row.used is None:
            return
        is_public = self.request.client.app.draft.client_type == "public"
        is_late = self.tools.now() - row.used > CONCURRENT_SECONDS
        if is_public or is_late:
            self.tools.punish("refresh-replayed", row, self.request.address)


class _Refresh:
    """A refresh token, as Authlib reads it."""

    def __init__(self, row: RefreshRow) -> None:
        self.row = row

    def check_client(self, client: Client) -> bool:
        return self.row.client_id == client.get_client_id()

    def get_scope(self) -> str:
        return self.row.scope


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
