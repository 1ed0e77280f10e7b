"""Build the served process from settings: one Starlette application of several rooms.

| path | room |
|---|---|
| `/fhir` | the gateway: Patient Access, with a token |
| `/directory` | the gateway: Provider Directory, public, if a target with one is served |
| `/.well-known/…`, `/oauth`, … | the authorization server, where there is one |
| `/healthz`, `/readyz`, `/metrics` | the gateway |
| `/` | the developer portal, where there is one |

A room that is not the gateway is a `ServedRoom`: routes, and a lifespan. Each is put together in a
module of its own beside this one, and listed in `rooms_of`.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import (
    AsyncExitStack,
    asynccontextmanager,
)
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from multiprocessing.connection import wait
from secrets import token_hex
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import orjson
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from etl.bootstrap.brand import brand_document, brand_of
from etl.bootstrap.gc_policy import gc_disabled, relax_gc
from etl.bootstrap.served_rooms import ServedRoom, ServerDescription
from etl.bootstrap.setting_groups import ServeSettings
from etl.bootstrap.settings import Settings, store_options
from etl.errors import MappingError, Mistakes, StoreError
from etl.gateway.access import authentication
from etl.gateway.capability import (
    StatementFacts,
    capability_statement,
    openapi,
)
from etl.gateway.http.app import Document, Gateway
from etl.gateway.http.monitoring import (
    AccessLog,
    AccessLogMiddleware,
    JsonFormatter,
    LogWriter,
    Metrics,
    health_routes,
)
from etl.gateway.http.request import is_not_modified
from etl.gateway.public_api import PublicFiles
from etl.gateway.release.served_releases import Releases
from etl.gateway.service import PAGE_LIMIT, Service, ServiceOptions
from etl.gateway.startup import GatewayServices, ServedTarget, open_objects
from etl.gateway.supported_fhir import Api, api_of
from etl.model.data_models import CLAIMS, DATA_MODELS, DataModel
from etl.smart.brands import BRANDS
from etl.smart.grants import Recorder, Verifier
from etl.web.cors import OPEN_TO_ALL, CorsPolicy, Header
from etl.web.headers import api_headers
from etl.web.rate_limits import RateLimiter, parse_rate

if TYPE_CHECKING:
    from etl.auth.services import Services

REQUEST_SECONDS: Final = 30.0
"""Time limit of a request."""


class PrefixDispatcher(Starlette):
    """Routes paths under some bases to other applications, all others to Starlette.

    Those applications get every path under their base, and the base itself without a slash, which
    Starlette's `Mount` leaves out. They also avoid the cost of its routes and middleware, a tenth
    of that of a search.

    Args:
        bases: prefix of a path, without a slash at its end → the application below it.
        options: arguments of `Starlette`.
    """

    def __init__(self, bases: Sequence[tuple[str, ASGIApp]], **options: Any) -> None:
        super().__init__(**options)
        self._bases = tuple(bases)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            path: str = scope["path"]
            for base, app in self._bases:
                if path.startswith(base) and path[len(base) : len(base) + 1] in ("", "/"):
                    await app(scope, receive, send)
                    return
        await super().__call__(scope, receive, send)


def configure_logging() -> None:
    """Log to standard error as JSON lines, without members' data."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def end_with_parent() -> None:
    """Finish requests and end this process once its parent has ended.

    A parent that ends normally ends its workers before. One that is killed cannot: they would go on
    answering, at the address that the next server needs, with outdated settings.
    """
    parent = multiprocessing.parent_process()
    if parent is None:  # a single process
        return

    def watch(sentinel: int) -> None:
        wait([sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()


log = logging.getLogger(__name__)

WELL_KNOWN: Final = "/.well-known/smart-configuration"

METRIC_SECONDS: Final = 5.0
"""Time between two counts of what is served."""
_KEY_CHARACTERS: Final = 32
_PLAIN: Final = b"application/json"


@dataclass(frozen=True, slots=True)
class Authorization:
    """Authorization: token verification, audit, and the server behind them.

    Attributes:
        verifier: turns tokens into grants.
        recorder: records every access.
        smart: its SMART configuration; None if there is none.
        room: its pages and endpoints.
        services: its parts, for the portal; None where there is none.
    """

    verifier: Verifier
    recorder: Recorder
    smart: Mapping[str, Any] | None = None
    room: ServedRoom = field(default_factory=ServedRoom)
    services: Services | None = None


def prepared(settings: Settings) -> Settings:
    """Return settings with missing keys and the base URL filled in.

    It is called once, before workers start, so that all of them share the same settings.

    Raises:
        MappingError: `config-base-url`, `config-key`, `config-rate`, `config-paging`.
    """
    serve = settings.serve
    mistakes = Mistakes()
    for error in _config_mistakes(settings):
        mistakes.add(error)
    if settings.auth.mode != "off":
        from etl.bootstrap import auth  # as in `authorization`

        mistakes.report(auth.mistakes_of(settings))
        settings = auth.prepared(settings)
    mistakes.report()
    keys = {
        name: getattr(serve, name)
        if getattr(serve, name).get_secret_value()
        else SecretStr(token_hex(32))
        for name in ("cursor_key", "log_key")
    }
    changed = serve.model_copy(update={"base_url": serve.reached_at, **keys})
    return settings.model_copy(update={"serve": changed})


def _config_mistakes(settings: Settings) -> Iterator[MappingError]:
    serve = settings.serve
    parts = urlsplit(serve.base_url)
    if serve.base_url and (
        parts.scheme not in ("http", "https")
        or not parts.netloc
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        yield MappingError(
            settings.origin("serve", "base_url"),
            "config-base-url",
            "serve.base_url is no URL of scheme, host and port alone",
            hint="for instance https://fhir.example.org",
        )
    if not serve.base_url.rstrip("/") and not _is_loopback(serve.host):
        yield MappingError(
            "serve.base_url",
            "config-base-url",
            f"it must be given where the server listens on {serve.host}",
            hint="for instance https://fhir.example.org",
        )
    for name in ("cursor_key", "log_key"):
        key = getattr(serve, name).get_secret_value()
        if key and len(key) < _KEY_CHARACTERS:
            message = f"serve.{name} is shorter than {_KEY_CHARACTERS} characters"
            yield MappingError(settings.origin("serve", name), "config-key", message)
    for name in ("rate_limit", "refused_limit"):
        try:
            parse_rate(getattr(serve, name))
        except ValueError as error:
            message = f"serve.{name}: {error}"
            yield MappingError(settings.origin("serve", name), "config-rate", message)
    if serve.page_size > PAGE_LIMIT:
        message = f"serve.page_size is larger than {PAGE_LIMIT}"
        yield MappingError(settings.origin("serve", "page_size"), "config-paging", message)


def _is_loopback(host: str) -> bool:
    """Return whether an address can be reached from this machine only."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def served_targets(settings: Settings) -> list[tuple[DataModel, str]]:
    """Return the targets to serve, and their data models; that of claims is the first."""
    targets = [
        (model, settings.target if model is CLAIMS else getattr(settings.serve, model.path[1:]))
        for model in DATA_MODELS
    ]
    return [(model, target) for model, target in targets if target]


def opened(settings: Settings) -> GatewayServices:
    """Return the services of the targets. Nothing is read yet."""
    serve = settings.serve
    targets = [
        (model, open_objects(target, store_options(settings)))
        for model, target in served_targets(settings)
    ]
    options = ServiceOptions(cache_bytes=serve.cache_bytes, page_size=serve.page_size)
    key = serve.cursor_key.get_secret_value().encode()
    return GatewayServices(targets, (key,), options)


def authorization(settings: Settings, releases: Releases | None = None) -> Authorization:
    """Return the authorization server, or one that rejects every token.

    Args:
        settings: as `prepared` returns them.
        releases: the served releases; a member who is not in them is not asked for consent.
    """
    if settings.auth.mode == "off":
        return Authorization(authentication.ClosedVerifier(), authentication.NoTrail())
    # Imported here: a gateway without database and OAuth libraries starts in half the time.
    from etl.auth.endpoints import routes_of, smart_configuration
    from etl.bootstrap import auth

    services = auth.opened(settings, settings.serve.base_url, releases=releases)
    return Authorization(
        services.verifier,
        services.trail,
        smart_configuration(services.configuration),
        ServedRoom(tuple(routes_of(services)), lambda: auth.lifespan(services)),
        services,
    )


def rooms_of(
    settings: Settings,
    description: ServerDescription,
    authorized: Authorization,
    service: GatewayServices,
) -> tuple[ServedRoom, ...]:
    """Return the rooms besides gateway and authorization server, in routing order.

    The portal needs the authorization server, which has its accounts.
    """
    if authorized.services is None or not settings.portal.enabled:
        return ()
    # Imported here: a gateway alone needs no templates.
    from etl.bootstrap.portal import portal_room

    return (portal_room(settings, description, authorized.services, service),)


def application(
    settings: Settings,
    *,
    service: GatewayServices | None = None,
    authorized: Authorization | None = None,
    rooms: Callable[
        [Settings, ServerDescription, Authorization, GatewayServices], Sequence[ServedRoom]
    ] = rooms_of,
    write: Callable[[bytes], object] | None = None,
) -> Starlette:
    """Return the served process's application.

    Args:
        settings: as `prepared` returns them.
        service: the gateway's services; by default those of the settings.
        authorized: the authorization; by default that of the settings.
        rooms: gives the other rooms.
        write: writes a line of the log; to standard error where not given.
    """
    serve = settings.serve
    standard_error = LogWriter(2)
    service = service or opened(settings)
    if service.serving(CLAIMS) is None:
        authorized = Authorization(authentication.ClosedVerifier(), authentication.NoTrail())
    authorized = authorized or authorization(settings, service.releases)
    # Shared by all bases: log, metrics, limits, the documents that describe the server.
    lines = None if serve.log == "off" else write or standard_error
    request_log = AccessLog(lines, serve.log_key.get_secret_value().encode())
    metrics = Metrics()
    limits = RateLimiter({"member": serve.rate_limit, "refused": serve.refused_limit})
    description = describe_server(settings, authorized, service)
    origins = CorsPolicy(serve.cors_origins)

    def base(
        target: ServedTarget,
        authenticator: authentication.Authenticator,
        files: PublicFiles | None = None,
        documents: Mapping[str, Callable[[], Document]] = MappingProxyType({}),
    ) -> tuple[str, AccessLogMiddleware]:
        path = target.model.path
        url = f"{serve.base_url}{path}"
        described = _base_documents(
            api_of(target.model), url, description.statements[path], target.service
        )
        gateway = Gateway(
            target.service,
            target.releases,
            authenticator,
            {**described, **documents},
            origins,
            base=url,
            path=path,
            seconds=REQUEST_SECONDS,
            standing=_standing_headers(serve),
            log=request_log,
            metrics=metrics,
            files=files,
        )
        return path, AccessLogMiddleware(gateway, request_log, metrics)

    # The bases: members' data with a token, everything else without.
    bases = []
    for target in service.targets:
        if target.model.has_members:
            verifier, recorder = authorized.verifier, authorized.recorder
            member = authentication.TokenAuthenticator(verifier, recorder, limits)
            documents = {}
            if description.smart is not None:
                smart = Document(orjson.dumps(description.smart), _PLAIN)
                documents[WELL_KNOWN.strip("/")] = lambda smart=smart: smart
            bases.append(base(target, member, documents=documents))
        else:
            names = sorted(kind.name for kind in target.service.kinds())
            everybody = authentication.PublicAuthenticator(names, limits)
            url, cadence = f"{serve.base_url}{target.model.path}", settings.publish.cadence
            bases.append(base(target, everybody, PublicFiles(target.releases, url, cadence)))
    # Everything else goes through Starlette's routing, the portal's mount last.
    routes = health_routes(service, metrics, with_metrics=serve.metrics)
    if description.smart is not None:
        routes.append(_well_known(WELL_KNOWN, orjson.dumps(description.smart)))
    brand = brand_of(settings)
    if brand is not None:
        document = brand_document(settings, brand, [target.model for target in service.targets])
        routes.append(_well_known(BRANDS, document))
    app_rooms = (authorized.room, *rooms(settings, description, authorized, service))
    routes += [route for room in app_rooms for route in room.routes]
    lifespans = [room.lifespan for room in app_rooms if room.lifespan is not None]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.callback(standard_error.flush)
            await stack.enter_async_context(_watch_releases(service, metrics))
            for lifespan in lifespans:
                await stack.enter_async_context(lifespan())
            yield

    app = PrefixDispatcher(
        bases,
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(AccessLogMiddleware, request_log, metrics)],
    )
    # A redirect would use the address of the request's own Host header.
    app.router.redirect_slashes = False
    return app


def describe_server(
    settings: Settings, authorized: Authorization, service: GatewayServices
) -> ServerDescription:
    """Return the documents that the server publishes about itself."""
    serve = settings.serve

    def statement_of(target: ServedTarget) -> Callable[[], dict[str, Any]]:
        about = StatementFacts(
            base=f"{serve.base_url}{target.model.path}",
            publisher=settings.payer.name,
            version=_version(),
            date=datetime.now(UTC).date().isoformat(),
            smart=authorized.smart,
        )
        api = api_of(target.model)
        return lambda: capability_statement(api, about, target.service.kinds())

    return ServerDescription(
        base_url=serve.base_url,
        statements={target.model.path: statement_of(target) for target in service.targets},
        smart=_with_brand(settings, authorized.smart) if authorized.smart else None,
    )


def served_by_worker(settings: Settings) -> Starlette:
    """Return a worker's application; the function that each worker calls."""
    configure_logging()
    end_with_parent()
    with gc_disabled():
        app = application(settings)
    relax_gc()
    return app


def _base_documents(
    api: Api, base: str, statement: Callable[[], dict[str, Any]], service: Service
) -> dict[str, Callable[[], Document]]:
    """Return a base's CapabilityStatement and OpenAPI document by path."""

    def described() -> dict[str, Any]:
        return openapi(api, base, _version(), service.kinds())

    return {
        "metadata": _ReleaseDocument(service, statement),
        "openapi.json": _ReleaseDocument(service, described, _PLAIN),
    }


class _ReleaseDocument:
    """A document that is rebuilt when the search parameters of the served release change.

    Args:
        service: gives the present parameters.
        make: returns its JSON.
        media: its content type; None for the one that the client wants.
    """

    def __init__(
        self, service: Service, make: Callable[[], dict[str, Any]], media: bytes | None = None
    ) -> None:
        self._service, self._make, self._media = service, make, media
        self._kinds: object = None
        self._document = Document(b"{}")

    def __call__(self) -> Document:
        kinds = self._service.kinds()
        if kinds is not self._kinds:
            self._document = Document(orjson.dumps(self._make()), self._media)
            self._kinds = kinds
        return self._document


def _with_brand(settings: Settings, smart: Mapping[str, Any]) -> Mapping[str, Any]:
    brand = brand_of(settings)
    if brand is None:
        return smart
    bundle = f"{settings.serve.base_url}{BRANDS}"
    named = {"user_access_brand_bundle": bundle, "user_access_brand_identifier": brand.identifier}
    return {**smart, **named}


def _well_known(path: str, body: bytes) -> Route:
    etag = Document(body).etag
    headers = {
        **OPEN_TO_ALL,
        "cache-control": "public, max-age=300",
        "etag": etag,
    }

    async def document(request: Request) -> Response:
        if is_not_modified(dict(request.headers.raw), etag, None):
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type=_PLAIN.decode())

    return Route(path, document)


def _standing_headers(serve: ServeSettings) -> tuple[Header, ...]:
    headers = api_headers(serve.base_url)
    return tuple((name.encode(), value.encode()) for name, value in headers.items())


@asynccontextmanager
async def _watch_releases(service: GatewayServices, metrics: Metrics) -> AsyncIterator[None]:
    """Watch for new releases and update the metrics while the server runs."""
    stop = asyncio.Event()
    for target in service.targets:
        try:
            await target.releases.refresh()
        except StoreError as error:
            log.warning("nothing is served yet: %s", error)

    async def counting() -> None:
        while not stop.is_set():
            metrics.renew(service)
            try:
                async with asyncio.timeout(METRIC_SECONDS):
                    await stop.wait()
            except TimeoutError:
                continue

    watching = [target.releases.watch(stop) for target in service.targets]
    tasks = [asyncio.create_task(task) for task in (*watching, counting())]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)
        metrics.leave()


def _version() -> str:
    try:
        return version("cpcds-bluebutton")
    except PackageNotFoundError:
        return "0"
