"""What is answered while the database or the audit trail is out, and that it ends by itself."""

import asyncio
from contextlib import contextmanager

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from tests.integration.auth import standing as acting
from tests.integration.auth.standing import ANA, DRAFT, PUBLIC


@contextmanager
def without(standing, *tables):
    def rename(before, after):
        with standing.services.database.write() as session:
            for table in tables:
                old, new = before.format(table), after.format(table)
                session.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))

    rename("{}", "{}_gone")
    try:
        yield
    finally:
        rename("{}_gone", "{}")


@contextmanager
def full_disk(monkeypatch):
    def full(*_):
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("etl.auth.audit.os.write", full)
        yield


def test_without_the_database_programs_and_people_are_told_to_come_back(
    standing, issued, browser, caplog
):
    asking = acting.asking(issued.app.client_id)
    browser.cookies.set("__Host-cpcds-member", "x", domain="api.example")
    with without(standing, "app", "session"):
        page = browser.get("/oauth/authorize", params=asking)
        member = browser.get("/member")
        token = acting.refresh(browser, issued, "x")
    assert browser.get("/oauth/authorize", params=asking).status_code == 200
    assert page.status_code == member.status_code == token.status_code == 503
    assert token.json()["error"] == "temporarily_unavailable"
    written = page.text + token.text + caplog.text
    assert "no such table" not in written
    assert "SELECT" not in written
    assert issued.app.client_id not in caplog.text


def test_a_consent_that_cannot_be_taken_down_is_not_answered_with_a_code(
    issued, browser, monkeypatch
):
    consent = acting.open_consent(browser, issued.app.client_id)
    with full_disk(monkeypatch):
        answer = acting.decide(browser, consent)
    assert answer.status_code == 503
    assert "location" not in answer.headers


def test_a_token_that_cannot_be_taken_down_is_not_given(issued, browser, monkeypatch):
    code = acting.launched(browser, issued.app.client_id)["code"]
    with full_disk(monkeypatch):
        answer = acting.redeem(browser, issued, code)
    assert answer.status_code == 503
    assert "access_token" not in answer.text


def test_members_are_shown_every_type_that_an_app_was_given(standing):
    client_id = standing.register().app.client_id
    claims = acting.access(1, "consent", client_id)
    included = claims._replace(delivered=("Coverage", "ExplanationOfBenefit"))
    page = claims._replace(what="_page", delivered=("ExplanationOfBenefit", "Practitioner"))
    for access in (claims, included, page):
        asyncio.run(standing.services.trail.record(access))
    standing.services.trail.flush()
    days = standing.services.consents.history(ANA.patient)
    assert {day.what: day.count for day in days} == {
        "Coverage": 1,
        "ExplanationOfBenefit": 3,
        "Practitioner": 1,
    }


def test_a_refresh_that_fails_half_way_leaves_the_old_token_good(standing, browser, monkeypatch):
    def broken(**_):
        raise OperationalError("INSERT", {}, Exception("the connection was lost"))

    issued = standing.register(PUBLIC)
    token = acting.tokens(browser, issued)["refresh_token"]
    with monkeypatch.context() as patched:
        patched.setattr("etl.auth.grants.RefreshRow.__init__", lambda _, **each: broken(**each))
        assert acting.refresh(browser, issued, token).status_code == 503
    assert acting.refresh(browser, issued, token).status_code == 200
    assert acting.refresh(browser, issued, token).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("draft", [DRAFT, PUBLIC], ids=["confidential", "public"])
def test_a_refresh_that_cannot_be_taken_down_leaves_the_old_token_good_however_long_it_takes(
    standing, browser, monkeypatch, draft
):
    issued = standing.register(draft)
    token = acting.tokens(browser, issued)["refresh_token"]
    with full_disk(monkeypatch):
        for _ in range(3):
            refused = acting.refresh(browser, issued, token)
            assert refused.status_code == 503
            assert refused.headers["retry-after"]
            standing.clock.move(minutes=1)
    assert acting.refresh(browser, issued, token).status_code == 200
    assert acting.refresh(browser, issued, token).json()["error"] == "invalid_grant"
