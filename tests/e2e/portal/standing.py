"""The whole served process on a loopback address, with the samples in it."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import uvicorn

from etl.auth.rate_limits import RATES
from etl.auth.records import DemoMember
from etl.auth.registration import ATTESTATIONS, AppDraft
from etl.auth.services import Services
from etl.bootstrap.served_app import application, authorization, prepared
from etl.bootstrap.setting_groups import (
    AuthSettings,
    PayerSettings,
    PortalSettings,
    ServeSettings,
)
from etl.bootstrap.settings import Settings
from etl.portal.examples import LOOPBACK
from tests.e2e.commands import SAMPLES, cpcds, done
from tests.waiting import until

SITE_FILE = Path(__file__).with_name("portal.toml")


@dataclass(frozen=True, slots=True)
class Standing:
    """A server that answers.

    Attributes:
        base: its base URL.
        services: its authorization server.
        members: who can be signed in as, in the order of the samples.
    """

    base: str
    services: Services
    members: tuple[DemoMember, ...]


def registered(standing: Standing, *redirect_uris: str, public: bool = False) -> tuple[str, str]:
    """Register an app past the pages, for tests that are about something else."""
    issued = standing.services.apps.register(
        AppDraft(
            name="Claim Lens",
            organization="Lens LLC",
            client_type="public" if public else "confidential",
            authentication="none" if public else "secret",
            redirect_uris=redirect_uris or (f"{standing.base}/code", LOOPBACK),
            policy_uri="https://lens.example/privacy",
            contact_name="Dana Developer",
            contact_email="dana@lens.example",
            attestations=tuple(ATTESTATIONS),
        )
    )
    return issued.app.client_id, issued.secret or ""


def publish(folder: Path) -> Path:
    """Return a target with the samples in it, and their public numbers in `reports` beside it."""
    target = folder / "target"
    kept = {"CPCDS_PUBLISH__DELTAS": "true"}
    done(cpcds("run", SAMPLES, "--to", target, "--workers", "1", **kept))
    reports = folder / "reports"
    reports.mkdir()
    posted = {"CPCDS_PORTAL__REPORTS": str(reports)}
    done(cpcds("report", "prior-auth", target, "--year", "2024", "--post", **posted))
    return target


@contextmanager
def stand_up(
    target: Path, folder: Path, directory: Path | None = None, formulary: Path | None = None
) -> Iterator[Standing]:
    """Serve a target until the block ends, as `cpcds serve` does.

    Args:
        target: what is published; public numbers may be in `reports` beside it.
        folder: for the database and the audit trail.
        directory: target of a provider directory; None for none.
        formulary: target of a drug formulary; None for none.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    reports = target.with_name("reports")
    settings = prepared(
        Settings(
            target=str(target),
            payer=PayerSettings(name="Alder Health Plan"),
            serve=ServeSettings(
                base_url=base,
                port=port,
                log="off",
                directory=str(directory or ""),
                formulary=str(formulary or ""),
            ),
            auth=AuthSettings(
                database=f"sqlite:///{folder / 'auth.db'}",
                audit=folder / "audit",
                mode="sandbox",
                demo_members=SAMPLES / "member.csv",
            ),
            portal=PortalSettings(file=SITE_FILE, reports=reports if reports.is_dir() else None),
        )
    )
    # All tests come from one address; that forms are counted is tested where they are.
    with patch.dict(RATES, {"link": "10000/hour", "sign-in": "10000/hour"}):
        authorized = authorization(settings)
    services = authorized.services
    app = application(settings, authorized=authorized)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on")
    )
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve(sockets=[listening])), daemon=True
    )
    thread.start()
    try:
        until(lambda: server.started)
        demo = services.configuration.demo
        yield Standing(base, services, () if demo is None else demo.members)
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
