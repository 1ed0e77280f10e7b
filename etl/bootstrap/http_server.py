"""The socket, the workers and the signals around the served application."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from uvicorn import Config, Server
from uvicorn.supervisors import Multiprocess

from etl.bootstrap.connection_limits import ConnectionBounds
from etl.bootstrap.gc_policy import gc_disabled
from etl.bootstrap.served_app import application, opened, prepared, served_by_worker
from etl.bootstrap.settings import Settings
from etl.errors import StoreError, UsageError
from etl.gateway.http.monitoring import FOLDER
from etl.gateway.release.served_releases import OtherModel, ServedRelease
from etl.publish.manifest import changed_ids, id_facts

HEADER_SECONDS: Final = 10.0

IDLE_SECONDS: Final = 75
"""How long a connection is kept between two requests: longer than load balancers keep one, so that
none is closed during a request."""
"""How long URL and headers of a request may take to come."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A server that has its address, and does not serve yet.

    Attributes:
        settings: the settings of all workers.
        socket: listens on the address.
        served: the release served at the start; None where none could be read.
        trouble: the error of reading it; empty without one.
        other_ids: settings that give signed-in members other ids than those of the tree.
    """

    settings: Settings
    socket: socket.socket
    served: ServedRelease | None
    trouble: str
    other_ids: tuple[str, ...] = ()


def bind(settings: Settings) -> Bound:
    """Bind the address, and read the published release once.

    Raises:
        UsageError: the target is invalid, or the address cannot be bound.
        MappingError: a setting is invalid; see `etl.bootstrap.served_app.prepared`.
    """
    for target in filter(None, (settings.target, settings.serve.directory)):
        if "://" not in target and not Path(target).is_dir():
            raise UsageError(
                f"{target}: there is no such folder; publish to it with cpcds run --to"
            )
    with gc_disabled():
        settings = prepared(settings)  # before binding: errors in settings are reported first
    settings = _alone(settings)
    named = bool(settings.serve.port)
    listening = _listen(settings.serve.host, settings.serve.port)
    if not named:
        port = listening.getsockname()[1]
        base = settings.serve.base_url
        if base.endswith(":0"):
            base = f"{base[:-1]}{port}"
        serve = settings.serve.model_copy(update={"port": port, "base_url": base})
        settings = settings.model_copy(update={"serve": serve})
    try:
        served = asyncio.run(_looked(settings))
    except StoreError as error:
        return Bound(settings, listening, None, str(error))
    except BaseException:
        listening.close()
        raise
    return Bound(settings, listening, served, "", _other_ids(settings, served))


def run(bound: Bound, announce: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; requests under way are finished first.

    Args:
        bound: the server.
        announce: called once when every setting has proved valid, before the first request.

    Raises:
        MappingError: a setting of the authorization server, portal or brand is invalid.
    """
    serve = bound.settings.serve
    bounds = ConnectionBounds(
        head_bytes=32 * 1024,
        headers=100,
        head_seconds=HEADER_SECONDS,
        body_seconds=serve.request_seconds + HEADER_SECONDS,  # the application's is first
        idle_seconds=IDLE_SECONDS,
    )
    config = Config(
        partial(served_by_worker, bound.settings),
        factory=True,
        workers=serve.workers,
        loop="uvloop",
        http=bounds.protocol(),
        ws="none",
        lifespan="on",
        interface="asgi3",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(serve.trusted_proxies),
        forwarded_allow_ips=list(serve.trusted_proxies),
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=20,
    )
    with closing(bound.socket), _quietly_stopped():
        application(bound.settings)  # finds mistakes; each worker makes its own
        announce()
        if serve.workers == 1:
            Server(config).run(sockets=[bound.socket])
        else:
            with tempfile.TemporaryDirectory(prefix="cpcds-metrics-") as folder:
                os.environ[FOLDER] = folder  # inherited by the workers, which count into it
                Multiprocess(config, sockets=[bound.socket]).run()


def _alone(settings: Settings) -> Settings:
    """Return settings that serve a directory alone, where the one target named holds one.

    Raises:
        UsageError: it does, and members could sign in.
    """
    if settings.serve.directory:
        return settings
    try:
        asyncio.run(_looked(settings))
    except OtherModel:
        if settings.auth.mode != "off":
            raise
        serve = settings.serve.model_copy(update={"directory": settings.target})
        return settings.model_copy(update={"target": "", "serve": serve})
    except StoreError:
        return settings  # read and reported again when the server looks
    return settings


async def _looked(settings: Settings) -> ServedRelease:
    service = opened(settings)
    for target in service.targets:
        await target.releases.refresh()
    return service.releases.served


def _other_ids(settings: Settings, served: ServedRelease) -> tuple[str, ...]:
    """Return the settings that differ from those of the published ids, where members sign in."""
    if settings.auth.mode == "off" or not served.ids:
        return ()
    names = {"payer": "payer.id", "key": "CPCDS_ID_KEY"}
    configured = id_facts(settings.payer.id, settings.id_key_bytes())
    return tuple(names[field] for field in changed_ids(served.ids, configured))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        reason = os.strerror(error.errno).lower() if error.errno else "it is no address"
        raise UsageError(f"cannot listen on {host}, port {port}: {reason}") from None
    listening.setblocking(False)
    listening.set_inheritable(True)
    return listening


@contextmanager
def _quietly_stopped() -> Iterator[None]:
    """Exit with 0 after a signal that stopped the server, not as killed by it."""
    before = {number: signal.signal(number, _nothing) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _nothing(number: int, frame: object) -> None:
    """Do nothing: uvicorn raises again the signal that it stopped for."""
