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

from etl.auth.configuration import AuthConfiguration
from etl.auth.oauth import Incoming, Outgoing, origin_of, read_json
from etl.auth.pages import PageRenderer
from etl.auth.services import Services
from etl.web.bodies import BodyTooLarge, ClientGone, read_body
from etl.web.cors import OPEN_TO_ALL, CorsPolicy
from etl.web.headers import api_headers, page_headers
from etl.web.rate_limits import TooMany

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
    """A body is too long, or is not what its content type says; the message is for developers.

    Attributes:
        status: HTTP status for a page of the portal; the endpoints answer 400 (RFC 6749).
    """

    def __init__(self, text: str, *, status: int = 400) -> None:
        self.status = status
        super().__init__(text)


def address_of(request: Request) -> str:
    """Return a request's client address, as trusted proxies give it."""
    return request.client.host if request.client is not None else ""


async def read_form(request: Request) -> tuple[tuple[str, str], ...]:
    """Return the fields of a form (`application/x-www-form-urlencoded`), in their order.

    Raises:
        BadBody: the body is too long or not a form.
    """
    body = await _read_bounded(request)
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
        raise BadBody("The body is not a form.") from None


async def _read_bounded(request: Request) -> bytes:
    try:
        return await read_body(request.receive, LONGEST_BODY)
    except BodyTooLarge:
        raise BadBody("The body is too long.", status=413) from None
    except ClientGone:
        raise BadBody("The body is incomplete.") from None


async def read_parameters(request: Request) -> tuple[tuple[str, str], ...]:
    """Return the parameters of a body: a form (RFC 6749), or a JSON object of texts.

    Raises:
        BadBody: the body is neither.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return await read_form(request)
    try:
        return read_json(await _read_bounded(request))
    except (ValueError, RecursionError):
        raise BadBody("The body is not a JSON object of strings.") from None


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
    headers = page_headers(services.configuration.base_url)
    return RedirectResponse(location, 303, headers)


def with_json_errors(handler: Handler) -> Handler:
    """Return the handler, with errors answered as JSON (RFC 6749 section 5.2)."""

    def error_response(status: int, detail: str) -> Response:
        error = "invalid_request" if status == 400 else "temporarily_unavailable"
        text = "Too many requests." if status == 429 else detail or "Please try again later."
        return json_answer(Outgoing(status, {"error": error, "error_description": text}, ()))

    return _catch_errors(handler, error_response)


def with_error_pages(pages: PageRenderer) -> Callable[[Handler], Handler]:
    """Return a decorator that answers a handler's errors with pages."""
    texts = {
        400: "problem.form",
        429: "problem.too-many",
        503: "problem.later",
    }

    def error_response(status: int, detail: str) -> Response:
        return pages.problem(texts[status], status=status, detail=detail)

    return lambda handler: pages.in_readers_language(_catch_errors(handler, error_response))


def _catch_errors(handler: Handler, error_response: Callable[[int, str], Response]) -> Handler:
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except BadBody as error:
            return error_response(400, str(error))
        except TooMany as error:
            response, retry_after = error_response(429, ""), str(error.retry_after)
        except (SQLAlchemyError, OSError) as error:
            _LOG.error("authorization server: %s", type(error).__name__)
            response, retry_after = error_response(503, ""), RETRY_AFTER
        response.headers["Retry-After"] = retry_after
        return response

    return answer


class CrossOrigin:
    """CORS of the token endpoint: the origins of active apps are allowed.

    Cookies are never read there. The authorize URL and all pages are for navigation only and
    reveal nothing to other sites (RFC 9700 section 2.6).
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._policy = CorsPolicy(())
        self._read_at = 0.0

    async def allow(self, request: Request, response: Response) -> Response:
        """Let the calling site read an answer, if it may."""
        origin = _origin_header(request)
        policy = await self._current_policy(origin)
        response.raw_headers.extend(policy.headers(origin))
        return response

    async def preflight(self, request: Request) -> Response:
        """Return the answer to a CORS preflight request."""
        response = await self.allow(request, Response(status_code=204))
        if self._policy.allows(_origin_header(request)):
            response.raw_headers.extend(CorsPolicy.preflight(("POST",)))
        return response

    async def _current_policy(self, origin: bytes | None) -> CorsPolicy:
        now = self._services.clock().timestamp()
        max_age = _ORIGINS_SECONDS if self._policy.allows(origin) else _UNKNOWN_SECONDS
        if origin is not None and not 0 <= now - self._read_at < max_age:
            apps = await run_in_threadpool(self._services.apps.all)
            self._policy = CorsPolicy(
                origin_of(uri) for app in apps if app.is_active for uri in app.draft.redirect_uris
            )
            self._read_at = now
        return self._policy


def _origin_header(request: Request) -> bytes | None:
    return request.headers["origin"].encode() if "origin" in request.headers else None


def public_json(body: object, configuration: AuthConfiguration) -> Response:
    """Return a JSON document that every site may read."""
    headers = api_headers(configuration.base_url) | OPEN_TO_ALL
    headers["cache-control"] = "public, max-age=300"
    return Response(json.dumps(body), headers=headers, media_type="application/json")
