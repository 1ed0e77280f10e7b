"""OAuth 2.0 by Authlib: a request of an app, and the answer to it.

Authlib is synchronous: its calls run in a thread. Request URIs are built from the configured base
URL, never from the socket. What comes in is checked for shape first, since Authlib repeats some
parameters in its error descriptions and fails on characters that are not allowed there.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from authlib.common.urls import add_params_to_uri
from authlib.oauth2 import AuthorizationServer, OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749 import InvalidClientError, InvalidRequestError
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint

from etl.auth import grants
from etl.auth.apps import Apps
from etl.auth.consents import Consents
from etl.auth.context import AuthContext
from etl.auth.grants import Client, GrantStore
from etl.auth.records import Approval, NoSuchApp
from etl.auth.scopes import names_patient
from etl.auth.signing_keys import Keys
from etl.auth.verifier import ActiveToken, LocalVerifier
from etl.smart.grants import Grant, TokenRefused

# At its debug level Authlib writes tokens into the log.
logging.getLogger("authlib").setLevel(logging.WARNING)

LONGEST_PARAMETER: Final = 4096


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
        pair = _basic_credentials(self.headers.get("authorization", ""))
        return pair.partition(":")[0] if pair else ""


@dataclass(frozen=True, slots=True)
class ConsentRequest:
    """A valid authorization request, for the consent page; `scopes` are the grantable ones."""

    incoming: Incoming
    client: Client
    scopes: tuple[str, ...]
    redirect_uri: str


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


class _Request(OAuth2Request):  # type: ignore[misc]
    def __init__(self, incoming: Incoming, base_url: str) -> None:
        super().__init__(incoming.method, base_url + incoming.path, headers=incoming.headers)
        self.payload = BasicOAuth2Payload(dict(incoming.parameters))
        self.address = incoming.address

    @property
    def args(self) -> Any:
        return self.payload.data

    @property
    def form(self) -> Any:
        return self.payload.data


class Protocol(AuthorizationServer):  # type: ignore[misc]
    """The authorization server's protocol. Its functions wait for the database."""

    def __init__(
        self,
        context: AuthContext,
        apps: Apps,
        consents: Consents,
        keys: Keys,
        verifier: LocalVerifier,
    ) -> None:
        super().__init__()
        self._configuration = context.configuration
        self._apps = apps
        self._store = GrantStore(context, consents)
        self.register_client_auth_method("private_key_jwt", grants.SignedAssertion(context))
        self.register_token_generator("default", grants.AccessTokens(context, keys))
        code = type("_CodeGrant", (grants.CodeGrant,), {"store": self._store})
        refresh = type("_RefreshGrant", (grants.RotatingRefreshGrant,), {"store": self._store})
        self.register_grant(code, [grants.S256(required=True), grants.IdTokens(context, keys)])
        self.register_grant(refresh)
        self.register_endpoint(Introspection(self, self._store, verifier))
        self.register_endpoint(Revocation(self, self._store, verifier))

    def check_request(self, incoming: Incoming) -> ConsentRequest:
        """Check an authorization request; return it with the grantable scopes.

        Raises:
            OAuth2Error: the request is invalid; `redirect_uri` is set if the error may be
                returned to the app.
        """
        check_shape(incoming)
        grant = self.get_consent_grant(incoming)
        request = grant.request
        return ConsentRequest(
            incoming, request.client, tuple(request.scope.split()), grant.redirect_uri
        )

    def approve(self, incoming: Incoming, approval: Approval | None) -> Outgoing:
        """Return the answer to an authorization request that a member decided on.

        Args:
            incoming: the request, checked once more.
            approval: what the member agreed to; None if they refused.
        """
        request = self.create_oauth2_request(incoming)
        try:
            check_shape(incoming)
            grant = self.get_authorization_grant(request)
        except OAuth2Error as error:
            return self.error_answer(incoming, error)
        answer: Outgoing = self.create_authorization_response(request, approval, grant)
        return self._add_issuer(answer)

    def error_answer(self, incoming: Incoming, error: Any) -> Outgoing:
        """Return the answer to an invalid authorization request."""
        error.state = dict(incoming.parameters).get("state")
        return self._add_issuer(self.handle_response(*error(None)))

    def answer(self, endpoint: str, incoming: Incoming) -> Outgoing:
        """Return the answer of the endpoint `token`, `introspect` or `revoke`."""
        try:
            check_shape(incoming, longest=grants.LONGEST_ASSERTION)
            _check_one_method(incoming)
        except OAuth2Error as error:
            return self.handle_response(*error(None))
        answer: Outgoing = (
            self.create_token_response(incoming)
            if endpoint == "token"
            else self.create_endpoint_response(endpoint, incoming)
        )
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
        return Client(app) if app.is_active else None

    def authenticate_client(
        self, request: _Request, methods: list[str], endpoint: str = "token"
    ) -> Client:
        """Return the app that a request comes from.

        Raises:
            InvalidClientError: authentication failed, or `client_id` names another app.
        """
        client_id, form, headers = request.payload.client_id, request.form, request.headers
        has_id = client_id or "client_assertion" in form or "authorization" in headers
        if not has_id:
            public_app = self._public_app_of(request) if endpoint == "token" else None
            if public_app is not None:
                return public_app
            raise InvalidClientError(status_code=401, description="'client_id' is missing.")
        client: Client = super().authenticate_client(request, methods, endpoint)
        if client_id and client_id != client.get_client_id():
            raise InvalidClientError(description="The client_id is not the authenticated one.")
        return client

    def _public_app_of(self, request: _Request) -> Client | None:
        """Return the public app that a refresh token was issued to; None for any other request.

        RFC 6749 section 6 asks a public client for no `client_id`, and some libraries send none.
        The token is bound to its app, and a second use of it ends the consent's tokens.
        """
        if request.payload.grant_type != "refresh_token":
            return None
        row = self._store.find_refresh_token(request.form.get("refresh_token", ""))
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
        is_registered = client is not None and bool(uri) and client.check_redirect_uri(uri)
        raise OAuth2Error(
            error="unsupported_response_type",
            description="'response_type' must be code.",
            redirect_uri=uri if is_registered else None,
        )

    def save_token(self, token: dict[str, Any], request: _Request) -> None:
        """Add SMART's launch context to the token response; the grants keep the token."""
        if names_patient(str(token.get("scope", "")).split()):
            token["patient"] = request.user.patient

    def create_oauth2_request(self, request: Incoming) -> _Request:
        """Return the request as Authlib reads it."""
        return _Request(request, self._configuration.base_url)

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> Outgoing:
        """Return an answer."""
        if isinstance(body, list):
            body = dict(body)
        return Outgoing(status, body or ({} if status == 200 else None), tuple(headers))

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Do nothing: events are recorded in the audit trail."""

    def _add_issuer(self, answer: Outgoing) -> Outgoing:
        """Add the issuer to a redirect (RFC 9207), errors included."""
        if not answer.location:
            return answer
        location = add_params_to_uri(answer.location, [("iss", self._configuration.base_url)])
        headers = [pair for pair in answer.headers if pair[0] != "Location"]
        return Outgoing(answer.status, None, (*headers, ("Location", location)))


class _TokenLookup:
    """Token lookup, shared by introspection and revocation."""

    def __init__(self, server: Protocol, store: GrantStore, verifier: LocalVerifier) -> None:
        super().__init__(server)  # type: ignore[call-arg]
        self._store = store
        self._verifier = verifier

    def query_token(self, token_string: str, token_type_hint: str | None) -> ActiveToken | None:
        """Return an active token of any kind; the hint is not needed."""
        if token_string.count(".") == 2:
            try:
                return self._verifier.active(token_string)
            except TokenRefused:
                return None
        row = self._store.find_refresh_token(token_string)
        if row is None or row.used is not None or row.expires <= self._store.context.seconds():
            return None
        consent = self._store.open_consent(row.consent_id)
        if consent is None:
            return None
        scopes, expires = tuple(row.scope.split()), datetime.fromtimestamp(row.expires, UTC)
        grant = Grant(consent.patient, row.client_id, scopes, row.consent_id, expires)
        return ActiveToken(grant, "", row.issued)


class Introspection(_TokenLookup, IntrospectionEndpoint):  # type: ignore[misc]
    """RFC 7662: an app asks about its own tokens, a configured one about all."""

    ENDPOINT_NAME = "introspect"
    CLIENT_AUTH_METHODS = grants.CONFIDENTIAL_METHODS

    def check_permission(self, token: ActiveToken, client: Client, request: Any) -> bool:
        """Return whether an app may ask about a token."""
        introspectors = self._store.context.configuration.introspectors
        return client.get_client_id() in (token.grant.client, *introspectors)

    def create_introspection_payload(self, token: ActiveToken | None) -> dict[str, Any]:
        """Return the introspection response (SMART App Launch 2.2.0, "Token Introspection")."""
        if token is None:
            return {"active": False}
        configuration, grant = self._store.context.configuration, token.grant
        payload: dict[str, Any] = {
            "active": True,
            "iss": configuration.base_url,
            "aud": configuration.fhir_base,
            "client_id": grant.client,
            "scope": " ".join(grant.scopes),
            "sub": grant.patient,
            "exp": int(grant.expires.timestamp()),
            "iat": token.issued,
            "patient": grant.patient,
        }
        if token.id:
            payload |= {"token_type": "Bearer", "jti": token.id}
        if "fhirUser" in grant.scopes:
            payload["fhirUser"] = f"{configuration.fhir_base}/Patient/{grant.patient}"
        return payload


class Revocation(_TokenLookup, RevocationEndpoint):  # type: ignore[misc]
    """RFC 7009: a refresh token ends its consent, an access token only itself."""

    ENDPOINT_NAME = "revoke"
    CLIENT_AUTH_METHODS = grants.METHODS

    def revoke_token(self, token: ActiveToken, request: _Request) -> None:
        """End a token."""
        consents, grant, address = self._store.consents, token.grant, request.address
        if token.id:
            consents.revoke_token(token.id, grant.client, grant.grant, address=address)
        else:
            consents.revoke(grant.grant, by="app", address=address, detail="token-revoked")


def check_shape(incoming: Incoming, *, longest: int = LONGEST_PARAMETER) -> None:
    """Refuse parameters that are repeated, too long, or hold characters RFC 6749 does not allow.

    Raises:
        InvalidRequestError: never returned by a redirect.
    """
    names = [name for name, _ in incoming.parameters if name != "resource"]
    if len(names) != len(set(names)):
        raise InvalidRequestError("A parameter is repeated.")
    for name, value in incoming.parameters:
        is_printable = value.isascii() and (value.isprintable() or not value)
        if not is_printable or len(value) > longest or not name.isascii():
            raise InvalidRequestError(
                "A parameter is too long, or contains characters that are not allowed."
            )


def read_json(body: bytes) -> tuple[tuple[str, str], ...]:
    """Return the parameters of a JSON body: an object of strings.

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


def _check_one_method(incoming: Incoming) -> None:
    """Refuse two ways of authenticating in one request (RFC 6749 section 2.3).

    Raises:
        InvalidRequestError: the request has two.
        InvalidClientError: the header cannot be read.
    """
    names = {name for name, value in incoming.parameters if value}
    header = incoming.headers.get("authorization", "")
    method_count = bool(header) + ("client_secret" in names) + ("client_assertion" in names)
    if method_count > 1:
        raise InvalidRequestError("The client authenticates in more than one way.")
    if header and _basic_credentials(header) is None:
        raise InvalidClientError(status_code=401, description="The header is not HTTP Basic.")


def _basic_credentials(header: str) -> str | None:
    """Return `id:secret` of an HTTP Basic header; None if it is not one."""
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(text.strip(), validate=True).decode()
    except ValueError:
        return None
    return pair if ":" in pair and "\x00" not in pair else None
