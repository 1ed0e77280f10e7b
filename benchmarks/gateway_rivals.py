"""What the gateway is measured against: servers that parse a Bundle and serialise it again.

    python -m benchmarks.gateway_rivals bare|bytes|json|models FILE

Starlette and uvicorn set up as `cpcds serve` is. FILE holds the very Bundles that the gateway gave,
one a line; they lie in memory, so neither storage nor search nor a token costs anything here: what
is measured is parsing and serialising, and the HTTP that all share. The way `bytes` hands out what
lies there: it is the HTTP alone. The way `bare` does without Starlette, as the gateway's own path
does: what uvicorn and the kernel take, and no server in Python on uvicorn less.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import uvicorn
from fhir.resources.R4B.bundle import Bundle
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from etl.gateway.asgi import App, Receive, Scope, Send


def by_json(stored: bytes) -> bytes:
    """Return a Bundle, by the standard library."""
    return json.dumps(json.loads(stored)).encode()


def by_models(stored: bytes) -> bytes:
    """Return a Bundle, by fhir.resources: its models check it on the way."""
    return Bundle.model_validate_json(stored).model_dump_json().encode()


def by_bytes(stored: bytes) -> bytes:
    """Return a Bundle as it is."""
    return stored


WAYS: dict[str, Callable[[bytes], bytes]] = {
    "bytes": by_bytes,
    "json": by_json,
    "models": by_models,
}


def application(way: Callable[[bytes], bytes], bundles: list[bytes]) -> Starlette:
    """Return a server of Bundles by number: `/Bundle/[number]`."""

    async def answer(request: Request) -> Response:
        number = int(request.path_params["number"])
        return Response(way(bundles[number]), media_type="application/fhir+json")

    async def ready(_: Request) -> Response:
        return Response(b"ready")

    return Starlette(routes=[Route("/Bundle/{number}", answer), Route("/ready", ready)])


def bare(bundles: list[bytes]) -> App:
    """Return the same by hand: `/Bundle/[number]`, and the first one for every other path."""
    headers = [
        [(b"content-type", b"application/fhir+json"), (b"content-length", b"%d" % len(one))]
        for one in bundles
    ]

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError("there is no lifespan here")
        del receive
        path: str = scope["path"]
        number = int(path.removeprefix("/Bundle/")) if path.startswith("/Bundle/") else 0
        await send({"type": "http.response.start", "status": 200, "headers": headers[number]})
        await send({"type": "http.response.body", "body": bundles[number]})

    return answer


def main(name: str, file: str) -> None:
    """Serve on a free port of loopback, and print where."""
    bundles = Path(file).read_bytes().splitlines()
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}/", flush=True)
    config = uvicorn.Config(
        bare(bundles) if name == "bare" else application(WAYS[name], bundles),
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_config=None,
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main(*sys.argv[1:])
