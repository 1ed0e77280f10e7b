"""The portal as a room of the served process: its settings, and the app behind `/try`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.concurrency import run_in_threadpool

from etl.auth.database_tables import App
from etl.auth.records import AppStatus
from etl.bootstrap import auth
from etl.bootstrap.portal import TRY_CLIENT, portal_room, site_of
from etl.bootstrap.served_app import authorization, opened, prepared
from etl.bootstrap.served_rooms import ServerDescription
from etl.bootstrap.setting_groups import AuthSettings, PortalSettings, ServeSettings
from etl.bootstrap.settings import Settings
from etl.errors import MappingError


def settings(folder: Path, base: str = "https://api.example", **auth: Any) -> Settings:
    return prepared(
        Settings(
            target=str(folder),
            serve=ServeSettings(base_url=base),
            auth=AuthSettings(
                **{
                    "mode": "sandbox",
                    "database": f"sqlite:///{folder / 'auth.db'}",
                    "audit": folder / "audit",
                    **auth,
                }
            ),
        )
    )


def started(known: Settings) -> tuple[App, ...]:
    """Start the portal's room and stop it; return the apps that there are then."""
    services = authorization(known).services
    assert services is not None
    description = ServerDescription(known.serve.base_url, dict, None, {})
    room = portal_room(known, description, services, opened(known))

    async def run() -> tuple[App, ...]:
        assert room.lifespan is not None
        async with room.lifespan(), auth.lifespan(services):
            return await run_in_threadpool(services.apps.all)

    return asyncio.run(run())


def test_a_sandbox_registers_the_app_behind_try_it_once(tmp_path: Path) -> None:
    for _ in range(2):
        (app,) = started(settings(tmp_path))
        assert app.client_id == TRY_CLIENT
        assert app.status is AppStatus.ACTIVE
        assert app.draft.client_type == "public"
        assert app.draft.redirect_uris == ("https://api.example/try",)


def test_the_app_behind_try_it_follows_the_servers_address(tmp_path: Path) -> None:
    started(settings(tmp_path))
    (app,) = started(settings(tmp_path, "https://other.example"))
    assert app.draft.redirect_uris == ("https://other.example/try",)
    assert app.status is AppStatus.ACTIVE


def test_production_registers_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPCDS_ID_KEY", "a key of the test, and long enough for one")
    assert started(settings(tmp_path, mode="production")) == ()


@pytest.mark.parametrize("name", ["stylesheet", "logo", "templates"])
def test_a_file_that_is_not_there_is_named_at_the_start(tmp_path: Path, name: str) -> None:
    known = settings(tmp_path).model_copy(
        update={"portal": PortalSettings(**{name: tmp_path / "missing"})}
    )
    with pytest.raises(MappingError, match=f"portal.{name}.*missing is not there"):
        site_of(known, sandbox=True)


def test_the_pages_say_what_the_settings_say(tmp_path: Path) -> None:
    known = settings(tmp_path)
    portal = PortalSettings(title="Acme for developers", contact_email="api@acme.example")
    payer = known.payer.model_copy(update={"name": "Acme"})
    site = site_of(known.model_copy(update={"portal": portal, "payer": payer}), sandbox=False)
    assert (site.title, site.payer, site.sandbox) == ("Acme for developers", "Acme", False)
    assert site.contact == replace(site.contact, email="api@acme.example", phone="")
