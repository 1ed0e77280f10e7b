"""An authorization server in a process of its own: `python -m … URL FOLDER PORT`.

It tells on standard output when it listens.
"""

import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from etl.auth.endpoints import routes_of
from etl.smart.grants import TokenRefused
from tests.integration.auth.standing import DRAFT, stand_up


def main(url, folder, port):
    base = f"http://127.0.0.1:{port}"
    with stand_up(
        Path(folder),
        url=url,
        clock=lambda: datetime.now(UTC),
        base_url=base,
        revocation_seconds=1,
    ) as standing:
        app = Starlette(routes=[*routes_of(standing.services), *doors(standing)])
        app.router.lifespan_context = _telling
        uvicorn.run(app, host="127.0.0.1", port=port, log_config=None, access_log=False)


def doors(standing):
    """Return what a test needs to get at from outside: a protected door, and registering."""

    async def protected(request):
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            grant = await standing.services.verifier.grant_of(token)
        except TokenRefused:
            return Response(status_code=401)
        return JSONResponse({"patient": grant.patient})

    async def register(request):
        name = request.query_params["client_id"]
        issued = standing.services.apps.register(DRAFT, client_id=name)
        return JSONResponse({"secret": issued.secret})

    return [
        Route("/fhir/Patient", protected),
        Route("/test/register", register, methods=["POST"]),
    ]


@asynccontextmanager
async def _telling(_):
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    yield


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
