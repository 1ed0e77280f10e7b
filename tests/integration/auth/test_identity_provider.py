"""Members sign in at the payer's OpenID Connect provider, which runs here as a real server."""

import asyncio
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

from etl.auth.audit import AuditTrail
from etl.auth.configuration import IdentityProvider
from etl.errors import StoreError
from tests.given.tables import read_tables
from tests.integration.auth import standing as acting
from tests.integration.auth.provider import MEMBER, provider
from tests.integration.auth.standing import BASE, stand_up
from tests.ports import free_port

PATIENT = f"patient-of-{MEMBER}"


@pytest.fixture(scope="module")
def idp():
    with provider() as base:
        yield base


def beside(folder, issuer, *, is_published=None, **changes):
    settings = {"client_id": "gateway", "client_secret": "of tests only", **changes}
    return stand_up(
        folder,
        is_published=is_published,
        demo=None,
        identity_provider=IdentityProvider(issuer=issuer, **settings),
    )


def answer_of(location):
    """Return where the provider sends the browser, as path and query."""
    with httpx2.Client() as browser:
        back = browser.get(location).headers["location"]
    assert back.startswith(f"{BASE}/oauth/callback?")
    return str(back.removeprefix(BASE))


def answer_for(browser, standing):
    """Ask for access as a registered app; return where the provider sends the browser."""
    away = acting.ask(browser, standing.register().app.client_id)
    return answer_of(away.headers["location"])


def test_a_member_signs_in_there_and_consents_here(idp, tmp_path):
    with beside(tmp_path, f"{idp}/honest") as standing, standing.client() as browser:
        issued = standing.register()
        away = acting.ask(browser, issued.app.client_id)
        assert away.headers["location"].startswith(f"{idp}/honest/authorize?")
        asked = dict(parse_qsl(urlsplit(away.headers["location"]).query))
        assert asked["code_challenge_method"] == "S256"
        assert asked["redirect_uri"] == f"{BASE}/oauth/callback"
        assert {"state", "nonce"} <= set(asked)
        back = browser.get(answer_of(away.headers["location"]))
        assert back.status_code == 303
        consent = browser.get(back.headers["location"])
        assert "Sandbox." not in consent.text
        code = acting.returned(acting.decide(browser, consent))["code"]
        body = acting.redeem(browser, issued, code).json()
    assert body["patient"] == PATIENT


def test_the_page_of_grants_asks_the_provider_too(idp, tmp_path):
    with beside(tmp_path, f"{idp}/honest") as standing, standing.client() as browser:
        away = browser.get("/member")
        back = browser.get(answer_of(away.headers["location"]))
        assert back.headers["location"] == "/member"
        assert "No app has access" in browser.get("/member").text


@pytest.mark.parametrize("way", ["honest", "wrong-nonce"])
def test_no_happening_is_written_on_the_event_loop_where_a_disk_could_hold_up_all(
    idp, tmp_path, monkeypatch, way
):
    on_loop = []
    note = AuditTrail.note

    def noticed(trail, happening):
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            on_loop.append(False)
        else:
            on_loop.append(True)
        note(trail, happening)

    monkeypatch.setattr(AuditTrail, "note", noticed)
    with beside(tmp_path, f"{idp}/{way}") as standing, standing.client() as browser:
        issued = standing.register()
        on_loop.clear()  # what stands here registers where it stands
        away = acting.ask(browser, issued.app.client_id)
        back = browser.get(answer_of(away.headers["location"]))
        if way == "honest":
            consent = browser.get(back.headers["location"])
            code = acting.returned(acting.decide(browser, consent))["code"]
            acting.redeem(browser, issued, code)
    assert on_loop
    assert not any(on_loop)


@pytest.mark.parametrize("fault", read_tables(__file__)["faults"])
def test_an_answer_that_does_not_prove_who_it_is_signs_nobody_in(idp, tmp_path, fault):
    with beside(tmp_path, f"{idp}/{fault}") as standing, standing.client() as browser:
        back = browser.get(answer_for(browser, standing))
        assert back.status_code == 400, back.headers
        assert browser.get("/oauth/consent").status_code in (400, 403)
        assert MEMBER not in back.text


def test_an_answer_to_another_browser_signs_nobody_in(idp, tmp_path):
    """Login CSRF: the attacker's own answer is slipped to the victim."""
    with beside(tmp_path, f"{idp}/honest") as standing:
        issued = standing.register()
        with standing.client() as attacker, standing.client() as victim:
            asking = acting.asking(issued.app.client_id)
            away = attacker.get("/oauth/authorize", params=asking)
            victim.get("/oauth/authorize", params=asking)
            slipped = answer_of(away.headers["location"])
            assert victim.get(slipped).status_code == 400
            with standing.client() as fresh:
                assert fresh.get(slipped).status_code == 400


def test_an_answer_is_taken_once(idp, tmp_path):
    with beside(tmp_path, f"{idp}/honest") as standing, standing.client() as browser:
        answer = answer_for(browser, standing)
        assert browser.get(answer).status_code == 303
        assert browser.get(answer).status_code == 400


def test_a_provider_that_does_not_answer_is_said_so(tmp_path):
    issuer = f"http://127.0.0.1:{free_port()}"
    with beside(tmp_path, issuer) as standing, standing.client() as browser:
        issued = standing.register()
        page = acting.ask(browser, issued.app.client_id)
    assert page.status_code == 503
    assert "sign-in service" in page.text


def test_a_provider_that_describes_another_issuer_is_asked_again(idp, tmp_path):
    with beside(tmp_path, f"{idp}/another-at-first") as standing, standing.client() as browser:
        asking = acting.asking(standing.register().app.client_id)
        refused = browser.get("/oauth/authorize", params=asking)
        assert refused.status_code == 503
        assert "sign-in service" in refused.text
        away = browser.get("/oauth/authorize", params=asking)
        back = browser.get(answer_of(away.headers["location"]))
        assert back.status_code == 303
        assert browser.get(back.headers["location"]).status_code == 200


def test_someone_of_whom_nothing_is_published_reads_so_and_is_not_asked_for_consent(idp, tmp_path):
    asked = []

    async def nobody(patient):
        asked.append(patient)
        return False

    with (
        beside(tmp_path, f"{idp}/honest", is_published=nobody) as standing,
        standing.client() as browser,
    ):
        page = browser.get(answer_for(browser, standing))
        assert browser.get("/oauth/consent").status_code == 403
    assert asked == [PATIENT]
    assert page.status_code == 404
    assert "no claims or coverage of yours" in page.text
    assert "Alder Health Plan" in page.text


def test_where_the_published_tree_cannot_be_read_a_sign_in_can_be_tried_again(idp, tmp_path):
    async def unreadable(patient):
        raise StoreError("s3://bucket/prefix", "does not answer")

    with (
        beside(tmp_path, f"{idp}/honest", is_published=unreadable) as standing,
        standing.client() as browser,
    ):
        page = browser.get(answer_for(browser, standing))
    assert page.status_code == 503
    assert "try again" in page.text


def test_with_a_provider_nobody_signs_in_with_a_password_here(idp, tmp_path):
    with stand_up(
        tmp_path,
        identity_provider=IdentityProvider(f"{idp}/honest", "gateway", "of tests only"),
    ) as standing, standing.client() as browser:  # fmt: skip
        assert standing.services.demo is None
        posted = browser.post(
            "/member/sign-in", data={"username": "ana", "password": acting.PASSWORD}
        )
    assert posted.status_code == 403
