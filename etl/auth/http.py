"""HTTP with Starlette: bounded bodies, responses, errors, CORS."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import parse_qsl

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from etl.auth.authlib_server import Incoming, Outgoing, origin_of, read_json
from etl.auth.configuration import Clock
from etl.auth.pages import HSTS, PageRenderer, protect
from etl.auth.rate_limits import TooMany
from etl.auth.services import Services

LONGEST_BODY: Final = 65_536
MOST_FIELDS: Final = 100
RETRY_AFTER: Final = "2"
"""Retry-After in seconds where the database or the audit trail was not available."""

_ORIGINS_SECONDS: Final = 30
"""Age at which the list of apps is read again, so that a disabled one is excluded."""

_UNKNOWN_SECONDS: Final = 1
"""The same for an unknown origin, which may be that of an app just registered."""

_LOG = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]


class BadBody(Exception):
    """A body is too long, or is not what its content type says; the message is for developers."""


def address_of(request: Request) -> str:
    """Return a request's client address, as trusted proxies give it."""
    return request.client.host if request.client is not None else ""


async def read_body(request: Request) -> bytes:
    """Return the body.

    Raises:
        BadBody: it is too long.
    """
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > LONGEST_BODY:
            raise BadBody("The body is too long.")
        parts.append(part)
    return b"".join(parts)


async def read_form(request: Request) -> tuple[tuple[str, str], ...]:
    """Return the fields of a form, in their order.

    Raises:
        BadBody: it is too long or no form.
    """
    body = await read_body(request)
    try:
        return tuple(
            parse_qsl(
                body.decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=MOST_FIELDS,
            )
        )
    except ValueError:
        raise BadBody("The body is no form.") from None


async def read_parameters(request: Request) -> tuple[tuple[str, str], ...]:
    """Return the parameters of a body: a form (RFC 6749), or a JSON object of texts.

    Raises:
        BadBody: it is neither.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return await read_form(request)
    try:
        return read_json(await read_body(request))
    except (ValueError, RecursionError):
        raise BadBody("The body is no JSON object of texts.") from None


async def incoming_of(request: Request, parameters: tuple[tuple[str, str], ...]) -> Incoming:
    """Return a request as the protocol takes it."""
    return Incoming(
        request.method, request.url.path, parameters, request.headers, address_of(request)
    )


def json_answer(answer: Outgoing) -> Response:
    """Return the JSON answer of an endpoint that is not for browsers' pages."""
    response = JSONResponse(answer.body, answer.status, dict(answer.headers))
    response.headers["Cache-Control"] = "no-store"
    response.headers["Pragma"] = "no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def redirect(services: Services, location: str) -> Response:
    """Return a redirect that drops the body of a POST (303; RFC 9700 section 4.12)."""
    response = RedirectResponse(location, status_code=303)
    protect(response, services.configuration)
    return response


def json_error(status: int, error: str, description: str) -> Response:
    """Return an error in the form of RFC 6749 section 5.2."""
    body = {"error": error, "error_description": description}
    return json_answer(Outgoing(status, body, ()))


def for_programs(handler: Handler) -> Handler:
    """Return a handler with errors as JSON."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except TooMany as error:
            response = json_error(429, "temporarily_unavailable", "Too many requests.")
            response.headers["Retry-After"] = str(error.retry_after)
            return response
        except BadBody as error:
            return json_error(400, "invalid_request", str(error))
        except (SQLAlchemyError, OSError) as error:
            _LOG.error("authorization server: %s", type(error).__name__)
            response = json_error(503, "temporarily_unavailable", "Please try again later.")
            response.headers["Retry-After"] = RETRY_AFTER
            return response

    return answer


def for_people(pages: PageRenderer) -> Callable[[Handler], Handler]:
    """Return what gives a handler errors that are pages."""

    def wrap(handler: Handler) -> Handler:
        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except TooMany as error:
                response: Response = pages.problem(
                    "Too many requests. Please wait a little, then try again.", status=429
                )
                response.headers["Retry-After"] = str(error.retry_after)
                return response
            except BadBody as error:
                return pages.problem("The form could not be read.", detail=str(error))
            except (SQLAlchemyError, OSError) as error:
                _LOG.error("authorization server: %s", type(error).__name__)
                response = pages.problem("Please try again later.", status=503)
                response.headers["Retry-After"] = RETRY_AFTER
                return response

        return answer

    return wrap


class CrossOrigin:
    """CORS policy of the token endpoint: the origins of active apps.

    Cookies are never read there. The authorize URL and all pages are for navigation only and
    reveal nothing to other sites (RFC 9700 section 2.6).
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._clock: Clock = services.clock
        self._known: frozenset[str] = frozenset()
        self._read_at = 0.0

    async def allow(self, request: Request, response: Response) -> Response:
        """Let the calling site read an answer, where it may."""
        origin = request.headers.get("origin", "")
        if origin:
            response.headers.append("Vary", "Origin")
        if origin and await self._is_known(origin):
            response.headers["Access-Control-Allow-Origin"] = origin
        return response

    async def preflight(self, request: Request) -> Response:
        """Return the answer to a CORS preflight request."""
        response = await self.allow(request, Response(status_code=204))
        if "Access-Control-Allow-Origin" in response.headers:
            response.headers["Access-Control-Allow-Methods"] = "POST"
            response.headers["Access-Control-Allow-Headers"] = "authorization, content-type"
            response.headers["Access-Control-Max-Age"] = "600"
        return response

    async def _is_known(self, origin: str) -> bool:
        now = self._clock().timestamp()
        longest = _ORIGINS_SECONDS if origin in self._known else _UNKNOWN_SECONDS
        if not 0 <= now - self._read_at < longest:
            apps = await run_in_threadpool(self._services.apps.all)
            self._known = frozenset(
                origin_of(uri) for app in apps if app.is_active for uri in app.draft.redirect_uris
            )
            self._read_at = now
        return origin in self._known


def open_to_all(body: object, configuration_is_secure: bool) -> Response:
    """Return a JSON document that every site may read."""
    response = Response(json.dumps(body), media_type="application/json")
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Cache-Control"] = "public, max-age=300"
    response.headers["X-Content-Type-Options"] = "nosniff"
    if configuration_is_secure:
        response.headers["Strict-Transport-Security"] = HSTS
    return response
