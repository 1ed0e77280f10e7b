"""The portal as a room of the served process: its settings, and the app behind `/try`."""

import asyncio

import pytest
from starlette.concurrency import run_in_threadpool

from etl.auth.records import AppStatus
from etl.bootstrap import auth
from etl.bootstrap.portal import TRY_CLIENT, portal_room, site_of
from etl.bootstrap.served_app import authorization, opened, prepared
from etl.bootstrap.served_rooms import ServerDescription
from etl.bootstrap.setting_groups import AuthSettings, PortalSettings, ServeSettings
from etl.bootstrap.settings import Settings
from etl.errors import MappingError
from etl.portal.site_file import Contact, colour_css
from etl.web.texts import TEXTS
from tests.given.tables import read_tables, table


def settings(folder, base="https://api.example", **auth):
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


def started(known):
    """Start the portal's room and stop it; return the apps that there are then."""
    services = authorization(known).services
    description = ServerDescription(known.serve.base_url, {"/fhir": dict}, {})
    room = portal_room(known, description, services, opened(known))

    async def run():
        async with room.lifespan(), auth.lifespan(services):
            return await run_in_threadpool(services.apps.all)

    return asyncio.run(run())


def test_a_sandbox_registers_the_app_behind_try_it_once(tmp_path):
    for _ in range(2):
        (app,) = started(settings(tmp_path))
        assert app.client_id == TRY_CLIENT
        assert app.status is AppStatus.ACTIVE
        assert app.draft.client_type == "public"
        assert app.draft.redirect_uris == ("https://api.example/try",)


def test_the_app_behind_try_it_follows_the_servers_address(tmp_path):
    started(settings(tmp_path))
    (app,) = started(settings(tmp_path, "https://other.example"))
    assert app.draft.redirect_uris == ("https://other.example/try",)
    assert app.status is AppStatus.ACTIVE


def test_production_registers_none(tmp_path, monkeypatch):
    monkeypatch.setenv("CPCDS_ID_KEY", "a key of the test, and long enough for one")
    assert started(settings(tmp_path, mode="production")) == ()


def site_said(tmp_path, text):
    """Return the site of a `portal.toml`."""
    (tmp_path / "portal.toml").write_text(text)
    portal = PortalSettings(file=tmp_path / "portal.toml")
    return site_of(settings(tmp_path).model_copy(update={"portal": portal}), sandbox=False)


@pytest.mark.parametrize(*table(__file__, "mistakes"))
def test_what_is_wrong_in_the_file_is_told_at_the_start(tmp_path, text, problem):
    with pytest.raises(MappingError) as told:
        site_said(tmp_path, text)
    assert f"portal.toml: {problem}" in str(told.value)


def test_the_pages_say_what_the_file_says(tmp_path):
    site = site_said(tmp_path, read_tables(__file__)["site_file"])
    assert (site.title, site.sandbox) == ("Acme for developers", False)
    assert site.file.contact == Contact(email="api@acme.example")
    assert site.text("home.lead") == f"Acme for developers: what {site.payer} paid."
    assert [(change.text, change.label) for change in site.changes] == [
        ("Displays.", "fixed"),
        ("Tests.", "changed"),
    ]
    assert site.text("home.title") == TEXTS["home"]["title"]
    assert "--pico-primary: light-dark(#7a1f5c, #f0a6d8);" in colour_css(site.file.look)
    assert "--pico-primary-inverse: light-dark(#ffffff, #000000);" in colour_css(site.file.look)
