"""Liveness, readiness and metrics endpoints.

They need no token, and hold no member's data.
"""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from etl.gateway.access_log import record_of
from etl.gateway.metrics import CONTENT_TYPE, Metrics
from etl.gateway.negotiation import moment_of
from etl.gateway.startup import GatewayServices

_NO_STORE = {"cache-control": "no-store"}


def health_routes(
    opened: GatewayServices, metrics: Metrics, *, with_metrics: bool
) -> list[BaseRoute]:
    """Return `/healthz`, `/readyz` and, where wanted, `/metrics`.

    Args:
        opened: the service.
        metrics: what is counted.
        with_metrics: whether `/metrics` is there.
    """

    async def healthz(request: Request) -> Response:
        record_of(request.scope).route = "/healthz"
        return _json(200, {"status": "ok"})

    async def readyz(request: Request) -> Response:
        record_of(request.scope).route = "/readyz"
        return _json(*readiness(opened))

    async def exposition(request: Request) -> Response:
        record_of(request.scope).route = "/metrics"
        renew(opened, metrics)
        return Response(
            metrics.text(), headers={**_NO_STORE, "content-type": CONTENT_TYPE.decode()}
        )

    routes: list[BaseRoute] = [Route("/healthz", healthz), Route("/readyz", readyz)]
    if with_metrics:
        routes.append(Route("/metrics", exposition))
    return routes


def readiness(opened: GatewayServices) -> tuple[int, dict[str, object]]:
    """Return status and body of `/readyz`.

    A process is ready when it has a release to answer from. Where storage fails later it stays
    ready, and reports the failure: its cache is still valid, and another process would not help.
    """
    served = opened.releases.served
    if served.release is None:
        return 503, {"status": "nothing published yet", "failures": served.failures}
    of_directory: dict[str, object] = {}
    if opened.has_claims and opened.has_directory:
        of_directory["directory"] = opened.directory_releases.served.release
    return 200, {
        "status": "ready" if served.failures == 0 else "ready, but storage does not answer",
        "release": served.release,
        "created": served.created,
        "seen_seconds_ago": None if served.seen is None else round(served.seen, 1),
        "failures": served.failures,
        **of_directory,
    }


def renew(opened: GatewayServices, metrics: Metrics) -> None:
    """Update the metrics of storage, cache and release."""
    served = opened.releases.served
    created = None if served.created is None else moment_of(served.created)
    metrics.renew(opened.counts(), served, 0.0 if created is None else created.timestamp())


def _json(status: int, body: dict[str, object]) -> Response:
    return Response(orjson.dumps(body), status, _NO_STORE, "application/json")
