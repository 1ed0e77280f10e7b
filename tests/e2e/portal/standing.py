"""The whole served process on a loopback address: samples, gateway, authorization server, portal."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from pydantic import SecretStr

from etl.auth.configuration import Configuration, DemoDirectory
from etl.auth.database import migrate, open_database
from etl.auth.endpoints import endpoints_of
from etl.auth.server import open_authorization, routes_of
from etl.auth.services import Services
from etl.auth.values import DemoMember
from etl.bootstrap.portal import portal_room
from etl.bootstrap.serving import Authorization, Room, application, opened, prepared
from etl.bootstrap.settings import Payer, Portal, Serve, Settings
from etl.publish.reader import Release, open_current
from etl.storage.local import LocalStore
from tests.e2e.commands import NO_SUITES, SAMPLES, cpcds, done

PASSWORD = "sandbox"  # noqa: S105 - public, and on the page


@dataclass(frozen=True, slots=True)
class Standing:
    """A server that answers.

    Attributes:
        base: its base URL.
        services: its authorization server.
        members: who can be signed in as, those with most claims first.
    """

    base: str
    services: Services
    members: tuple[DemoMember, ...]


def publish(folder: Path) -> Path:
    """Return a target with the samples in it."""
    target = folder / "target"
    done(cpcds("run", SAMPLES, "--to", target, "--workers", "1", **NO_SUITES))
    return target


def members_of(target: Path) -> tuple[DemoMember, ...]:
    """Return who is in a published tree, those with most claims first."""
    release = open_current(LocalStore(target)).release
    assert release is not None
    units = [unit for unit in release.all_units() if unit.block is not None]
    units.sort(key=lambda unit: -unit.counts.get("ExplanationOfBenefit", 0))
    return tuple(
        DemoMember(f"member{number}", _name(release, unit.id), unit.id)
        for number, unit in enumerate(units, 1)
    )


def _name(release: Release, patient: str) -> str:
    line = json.loads(release.patient_resource(patient, "Patient", patient))
    name = line["name"][0]
    return " ".join([*name.get("given", ()), name.get("family", "")]) or name.get("text", "")


@contextmanager
def stand_up(target: Path, folder: Path, *, sandbox: bool = True) -> Iterator[Standing]:
    """Serve a target until the block ends."""
    listening = socket.create_server(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listening.getsockname()[1]}"
    settings = prepared(
        Settings(
            target=str(target),
            payer=Payer(name="Alder Health Plan"),
            serve=Serve(base_url=base, log="off", cursor_key=SecretStr("c" * 32)),
            portal=Portal(
                contact_name="API team",
                contact_email="api@alder.example",
                contact_hours="Monday to Friday, 9 to 5 Eastern",
                security_email="security@alder.example",
            ),
        )
    )
    members = members_of(target)
    database = open_database(f"sqlite:///{folder / 'auth.db'}")
    migrate(database)
    configuration = Configuration(
        base_url=base,
        payer=settings.payer.name,
        secret=b"of tests only",
        sandbox=sandbox,
        demo=DemoDirectory(members, PASSWORD) if sandbox else None,
    )
    services = open_authorization(
        configuration,
        database,
        folder / "audit",
        clock=lambda: datetime.now(UTC),
        randomness=secrets.token_bytes,
        patient_of=str,
        rates={"sign-up": "1000/hour", "register": "1000/hour"},
    )
    service = opened(settings)
    app = application(
        settings,
        service=service,
        authorized=Authorization(
            services.verifier,
            services.trail,
            endpoints_of(configuration),
            Room(tuple(routes_of(services))),
        ),
        rooms=lambda settings, told: (portal_room(settings, told, services, service.releases),),
    )
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on")
    )
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve(sockets=[listening])), daemon=True
    )
    thread.start()
    try:
        _wait(server)
        yield Standing(base, services, members)
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
        services.trail.close()
        database.close()


def _wait(server: uvicorn.Server) -> None:
    until = time.monotonic() + 20
    while not server.started:
        if time.monotonic() > until:
            raise TimeoutError("the server did not start")
        time.sleep(0.05)
