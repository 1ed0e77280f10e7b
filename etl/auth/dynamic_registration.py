"""Dynamic registration (RFC 7591) and its management (RFC 7592), where the payer switches it on.

Nothing an app names is ever fetched: no logo, no policy, no keys behind a `jwks_uri`.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from etl.auth.authlib_server import Outgoing
from etl.auth.http import (
    BadBody,
    address_of,
    for_programs,
    json_answer,
    json_error,
    read_body,
)
from etl.auth.records import (
    ATTESTATIONS,
    DEFAULT_SCOPES,
    App,
    AppDraft,
    Authentication,
    InvalidForm,
    Issued,
    NoSuchApp,
)
from etl.auth.scopes import problem
from etl.auth.secrets import new_token
from etl.auth.services import Services

_METHODS: Final[dict[str, Authentication]] = {
    "client_secret_basic": "secret",
    "client_secret_post": "secret",
    "private_key_jwt": "private_key_jwt",
    "none": "none",
}


class DynamicRegistration:
    """The registration endpoint."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> list[Route]:
        """Return the routes; none where registration is off."""
        if self._services.configuration.registration == "off":
            return []
        return [
            Route("/oauth/register", for_programs(self.register), methods=["POST"]),
            Route("/oauth/register/{client_id}", for_programs(self.read), methods=["GET"]),
            Route("/oauth/register/{client_id}", for_programs(self.edit), methods=["PUT"]),
            Route("/oauth/register/{client_id}", for_programs(self.delete), methods=["DELETE"]),
        ]

    async def register(self, request: Request) -> Response:
        """Register an app."""
        services = self._services
        services.limits.hit("register", address_of(request))
        configuration = services.configuration
        if configuration.registration == "token":
            expected = configuration.registration_token
            given = _bearer(request)
            if not expected or not hmac.compare_digest(given.encode(), expected.encode()):
                return _no_token()
        token = new_token(services.randomness)
        try:
            draft = draft_of(await _metadata(request))
            issued = await run_in_threadpool(
                lambda: services.apps.register(
                    draft,
                    origin="dynamic",
                    registration_token=token,
                    address=address_of(request),
                )
            )
        except InvalidForm as error:
            return _invalid(error)
        return json_answer(Outgoing(201, self._document(issued, token), ()))

    async def read(self, request: Request) -> Response:
        """Return an app's registration."""
        app = await self._app(request)
        if app is None:
            return _no_token()
        return json_answer(Outgoing(200, self._document(Issued(app, None), ""), ()))

    async def edit(self, request: Request) -> Response:
        """Update an app's registration."""
        app = await self._app(request)
        if app is None:
            return _no_token()
        try:
            draft = draft_of(await _metadata(request))
            issued = await run_in_threadpool(
                lambda: self._services.apps.edit(
                    app.client_id, draft, by="dynamic", address=address_of(request)
                )
            )
        except InvalidForm as error:
            return _invalid(error)
        return json_answer(Outgoing(200, self._document(issued, ""), ()))

    async def delete(self, request: Request) -> Response:
        """Delete an app, and all consents with it."""
        app = await self._app(request)
        if app is None:
            return _no_token()
        await run_in_threadpool(
            lambda: self._services.apps.delete(
                app.client_id, by="dynamic", address=address_of(request)
            )
        )
        return Response(status_code=204)

    async def _app(self, request: Request) -> App | None:
        services, client_id = self._services, str(request.path_params["client_id"])
        # By address alone: the caller chooses the id, and each counter is kept for an hour.
        services.limits.hit("register", "managing", address_of(request))
        token = _bearer(request)
        if not await run_in_threadpool(services.apps.has_registration_token, client_id, token):
            return None
        try:
            return await run_in_threadpool(services.apps.get, client_id)
        except NoSuchApp:
            return None

    def _document(self, issued: Issued, token: str) -> dict[str, Any]:
        app, draft = issued.app, issued.app.draft
        methods = {"secret": "client_secret_basic"}
        document: dict[str, Any] = {
            "client_id": app.client_id,
            "client_id_issued_at": int(app.created.timestamp()),
            "client_name": draft.name,
            "redirect_uris": list(draft.redirect_uris),
            "token_endpoint_auth_method": methods.get(draft.authentication, draft.authentication),
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "scope": " ".join(draft.scopes),
            "client_uri": draft.website,
            "logo_uri": draft.logo_uri,
            "policy_uri": draft.policy_uri,
            "tos_uri": draft.terms_uri,
            "contacts": [draft.contact_email],
            "registration_client_uri": self._services.configuration.url(
                f"/oauth/register/{app.client_id}"
            ),
        }
        if issued.secret is not None:
            document["client_secret"] = issued.secret
            document["client_secret_expires_at"] = 0
        if token:
            document["registration_access_token"] = token
        if draft.jwks:
            document["jwks"] = json.loads(draft.jwks)
        return {name: value for name, value in document.items() if value != ""}


def draft_of(metadata: Mapping[str, Any]) -> AppDraft:
    """Return the draft that client metadata describe; unknown metadata are ignored.

    Registering in this way confirms the attestations, by the terms under which the payer switched
    it on.

    Raises:
        InvalidForm: a member has an invalid type, or a value that is not supported.
    """
    method = _METHODS.get(_text(metadata, "token_endpoint_auth_method") or "client_secret_basic")
    problems: dict[str, str] = {}
    if method is None:
        problems["token_endpoint_auth_method"] = "This method is not supported."  # noqa: S105
    if not set(_texts(metadata, "grant_types")) <= {"authorization_code", "refresh_token"}:
        problems["grant_types"] = "Only authorization_code and refresh_token are supported."
    if not set(_texts(metadata, "response_types")) <= {"code"}:
        problems["response_types"] = "Only code is supported."
    if "jwks_uri" in metadata:
        problems["jwks_uri"] = "Keys are given as jwks; nothing is fetched from here."
    if problems or method is None:
        raise InvalidForm(problems)
    contacts = _texts(metadata, "contacts")
    name = _text(metadata, "client_name")
    jwks = metadata.get("jwks")
    return AppDraft(
        name=name,
        organization=_text(metadata, "organization") or name,
        client_type="public" if method == "none" else "confidential",
        authentication=method,
        redirect_uris=_texts(metadata, "redirect_uris"),
        policy_uri=_text(metadata, "policy_uri"),
        contact_name=_text(metadata, "contact_name") or name,
        contact_email=contacts[0] if contacts else "",
        attestations=tuple(ATTESTATIONS),
        description=_text(metadata, "description"),
        website=_text(metadata, "client_uri"),
        logo_uri=_text(metadata, "logo_uri"),
        terms_uri=_text(metadata, "tos_uri"),
        scopes=_scopes(_text(metadata, "scope").split()),
        jwks=json.dumps(jwks) if jwks is not None else "",
    )


def _scopes(wanted: list[str]) -> tuple[str, ...]:
    """Return the scopes to register, without those granted to no app (RFC 7591, section 2)."""
    return tuple(scope for scope in wanted if not problem(scope)) or tuple(wanted) or DEFAULT_SCOPES


def _text(metadata: Mapping[str, Any], name: str) -> str:
    value = metadata.get(name, "")
    if not isinstance(value, str):
        raise InvalidForm({name: "This has to be a text."})
    return value


def _texts(metadata: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = metadata.get(name, [])
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise InvalidForm({name: "This has to be a list of texts."})
    return tuple(value)


async def _metadata(request: Request) -> Mapping[str, Any]:
    try:
        metadata = json.loads(await read_body(request))
    except (ValueError, RecursionError):
        raise BadBody("The body is no JSON.") from None
    if not isinstance(metadata, dict):
        raise BadBody("The body is no JSON object.")
    return metadata


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _no_token() -> Response:
    response = json_error(401, "invalid_token", "A registration token is needed.")
    response.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
    return response


def _invalid(error: InvalidForm) -> Response:
    kind = (
        "invalid_redirect_uri" if "redirect_uris" in error.problems else "invalid_client_metadata"
    )
    return json_error(400, kind, str(error))
