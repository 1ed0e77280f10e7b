"""The authorization server's routes: pages, and endpoints for programs.

Those are token, introspection, revocation, keys and discovery.

SMART's own discovery document is answered under the FHIR base, by the gateway.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from etl.auth import http
from etl.auth.authorize import AuthorizePages
from etl.auth.configuration import AuthConfiguration
from etl.auth.grants import ASSERTION_ALGORITHMS, CONFIDENTIAL_METHODS, METHODS
from etl.auth.http import Handler
from etl.auth.member_pages import MemberPages
from etl.auth.rate_limits import Endpoint
from etl.auth.records import RESOURCE_TYPES
from etl.auth.services import Services
from etl.documents.packaged_toml import read_beside
from etl.smart.scopes import PLAIN

_DISCOVERY: Final = read_beside(__file__, "discovery.toml")
UNKNOWN_CLIENT: Final = "?"
"""Placeholder for all unknown client ids in the rate limits."""


def smart_configuration(configuration: AuthConfiguration) -> dict[str, Any]:
    """Return `.well-known/smart-configuration` (SMART App Launch 2.2.0, "Conformance")."""
    base = configuration.base_url
    document: dict[str, Any] = {
        name: value.format(base=base) if isinstance(value, str) else value
        for name, value in _DISCOVERY["smart"].items()
    }
    scopes = (
        f"{level}/{name}.{access}"
        for level in ("patient", "user")
        for access in ("rs", "read")
        for name in ("*", *RESOURCE_TYPES)
    )
    return document | {
        "scopes_supported": [*PLAIN, *scopes],
        "token_endpoint_auth_methods_supported": METHODS,
        "token_endpoint_auth_signing_alg_values_supported": ASSERTION_ALGORITHMS,
        "introspection_endpoint_auth_methods_supported": CONFIDENTIAL_METHODS,
        "revocation_endpoint_auth_methods_supported": METHODS,
    }


def openid_configuration(configuration: AuthConfiguration) -> dict[str, Any]:
    """Return `/.well-known/openid-configuration` (OpenID Connect Discovery; RFC 8414)."""
    document = smart_configuration(configuration)
    del document["capabilities"], document["management_endpoint"]
    document |= _DISCOVERY["openid"]
    return document


class ProgramEndpoints:
    """Endpoints for programs: token, revocation (RFC 7009), introspection (RFC 7662), keys."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._cross_origin = http.CrossOrigin(services)

    def routes(self) -> list[Route]:
        """Return the routes."""
        introspect = http.with_json_errors(partial(self._answer, "introspect"))
        document = self._serve_document(openid_configuration(self._services.configuration))
        return [
            *self._cross_origin_routes("/oauth/token", partial(self._answer, "token")),
            *self._cross_origin_routes("/oauth/revoke", partial(self._answer, "revoke")),
            Route("/oauth/introspect", introspect, methods=["POST"]),
            Route("/oauth/jwks", http.with_json_errors(self.keys), methods=["GET"]),
            *(
                Route(f"/.well-known/{name}", document, methods=["GET"])
                for name in ("openid-configuration", "oauth-authorization-server")
            ),
        ]

    async def keys(self, request: Request) -> Response:
        """Return the public keys (RFC 7517)."""
        document = await run_in_threadpool(self._services.keys.key_set)
        return http.public_json(document, self._services.configuration)

    async def _answer(self, endpoint: Endpoint, request: Request) -> Response:
        """Answer a request whose body is a form or JSON; count failed client authentication."""
        services = self._services
        incoming = await http.incoming_of(request, await http.read_parameters(request))
        client_id = incoming.claimed_client
        # Unknown ids share one counter: else each new id would get a limit of its own.
        is_known = bool(client_id) and await run_in_threadpool(
            lambda: services.protocol.query_client(client_id) is not None
        )
        caller = (client_id if is_known or not client_id else UNKNOWN_CLIENT, incoming.address)
        services.limits.hit(endpoint, *caller)
        services.limits.check("client-failure", *caller)
        answer = await run_in_threadpool(services.protocol.answer, endpoint, incoming)
        if answer.body is not None and answer.body.get("error") == "invalid_client":
            services.limits.hit("client-failure", *caller)
            await run_in_threadpool(
                services.context.note,
                "client-refused",
                succeeded=False,
                client=client_id[:100],
                by="app",
                address=caller[1],
                detail=endpoint,
            )
        return http.json_answer(answer)

    def _cross_origin_routes(self, path: str, handler: Handler) -> list[Route]:
        """Return the POST route of a handler, and its CORS preflight."""

        async def handle(request: Request) -> Response:
            return await self._cross_origin.allow(
                request, await http.with_json_errors(handler)(request)
            )

        return [
            Route(path, handle, methods=["POST"]),
            Route(path, self._cross_origin.preflight, methods=["OPTIONS"]),
        ]

    def _serve_document(self, document: dict[str, Any]) -> Handler:
        async def answer(request: Request) -> Response:
            return http.public_json(document, self._services.configuration)

        return answer


def routes_of(services: Services) -> list[Route]:
    """Return all routes of the authorization server, with absolute paths.

    `/oauth/*`, `/member*`, `/.well-known/openid-configuration` and
    `/.well-known/oauth-authorization-server`.
    """
    return [
        *ProgramEndpoints(services).routes(),
        *AuthorizePages(services).routes(),
        *MemberPages(services).routes(),
    ]


def quiet_logs() -> None:
    """Keep libraries from writing tokens or URLs into the log, whatever level is configured."""
    for name in ("authlib", "httpx", "httpx2", "httpcore", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
