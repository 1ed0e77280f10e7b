"""Attacks on members' sign-in and on sessions. One test for each."""

import pytest

from etl.auth.records import SignInRefused
from tests.integration.auth import standing as acting
from tests.integration.auth.standing import ANA, stand_up

WRONG = "wrong"


def try_member(browser, password, username="ana"):
    page = browser.get("/member")
    return browser.post(
        "/member/sign-in",
        data={**acting.hidden(page), "username": username, "password": password},
    )


def test_a_member_account_is_locked_after_five_wrong_passwords(standing, browser):
    wrong = [try_member(browser, "wrong").status_code for _ in range(5)]
    locked = try_member(browser, acting.PASSWORD)
    with standing.client() as another:
        other = try_member(another, acting.PASSWORD, "ben")
    assert wrong == [401] * 5
    assert locked.status_code == 429
    assert 0 < int(locked.headers["retry-after"]) <= 60
    assert other.status_code == 303
    standing.clock.move(seconds=60)
    assert try_member(browser, acting.PASSWORD).status_code == 303


def test_each_further_failure_locks_longer_up_to_a_quarter_of_an_hour(standing):
    lockout = standing.services.lockout
    waits = []
    for number in range(14):
        lockout.count_failure("jo@app.example", f"10.0.0.{number}")
        try:
            lockout.check("jo@app.example", "10.9.9.9")
        except SignInRefused as refused:
            waits.append(refused.retry_after)
    assert waits[:5] == [60, 120, 240, 480, 900]
    assert set(waits[5:]) == {900}
    standing.clock.move(seconds=900)
    lockout.check("jo@app.example", "10.9.9.9")
    standing.clock.move(hours=2)
    lockout.count_failure("jo@app.example", "10.9.9.9")
    lockout.check("jo@app.example", "10.9.9.9")


def test_lockout_holds_in_every_process(standing):
    url = str(standing.services.database.engine.url)
    with stand_up(standing.folder, url=url, clock=standing.clock) as other:
        for one in (standing, other, standing, other, standing):
            with one.client() as browser:
                assert try_member(browser, WRONG).status_code == 401
        with other.client() as browser:
            assert try_member(browser, acting.PASSWORD).status_code == 429


def test_an_address_that_tries_many_accounts_is_locked(standing):
    """Password spraying."""
    lockout = standing.services.lockout
    for number in range(30):
        lockout.count_failure(f"x{number}", "10.0.0.1")
    with pytest.raises(SignInRefused) as refused:
        lockout.check("ana", "10.0.0.1")
    assert refused.value.retry_after > 0
    lockout.check("ana", "10.0.0.2")


def test_all_addresses_of_one_ipv6_network_are_one_address(standing):
    for number in range(30):
        standing.services.lockout.count_failure(f"x{number}@app.example", f"2001:db8::{number:x}")
    with pytest.raises(SignInRefused):
        standing.services.lockout.check("jo@app.example", "2001:db8::aaaa:1")
    standing.services.lockout.check("jo@app.example", "2001:db8:0:1::1")


def test_an_office_whose_people_mistype_now_and_then_is_not_locked(standing):
    lockout = standing.services.lockout
    for number in range(200):
        standing.clock.move(minutes=5)
        lockout.count_failure(f"x{number}@app.example", "10.0.0.1")
    lockout.check("jo@app.example", "10.0.0.1")


def test_an_unknown_account_is_refused_in_the_same_words(standing):
    sentences = set()
    for username in ("ana", "nobody"):
        with pytest.raises(SignInRefused) as refused:
            standing.services.demo.sign_in(username, WRONG, "10.0.0.1")
        sentences.add(str(refused.value))
    assert len(sentences) == 1


def test_sign_ins_are_limited_in_number(tmp_path):
    rates = {"sign-in": "3/minute"}
    with stand_up(tmp_path, rates=rates) as standing, standing.client() as browser:
        codes = [try_member(browser, WRONG).status_code for _ in range(4)]
    assert codes == [401, 401, 401, 429]


def test_authorize_and_token_are_limited_in_number(tmp_path):
    with stand_up(tmp_path, rates={"authorize": "2/minute", "token": "2/minute"}) as standing:
        issued = standing.register()
        with standing.client() as browser:
            pages = [browser.get("/oauth/authorize", params={}) for _ in range(3)]
            answers = [acting.refresh(browser, issued, "x") for _ in range(3)]
    assert [one.status_code for one in pages] == [400, 400, 429]
    assert [one.status_code for one in answers] == [400, 400, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_a_session_is_new_with_each_sign_in_and_cannot_be_fixed_before(standing, browser):
    name = standing.services.browsers.name("member")
    browser.cookies.set(name, "chosen-by-the-attacker", domain="api.example")
    try_member(browser, acting.PASSWORD)
    values = [cookie.value for cookie in browser.cookies.jar if cookie.name == name]
    assert "chosen-by-the-attacker" not in values or len(values) > 1
    assert standing.services.sessions.find("member", "chosen-by-the-attacker") is None


def test_a_session_is_of_one_kind(standing):
    sessions = standing.services.sessions
    token = sessions.start("member", ANA.patient)
    assert sessions.find("member", token)
    assert sessions.find("authorize", token) is None
    assert sessions.find("developer", token) is None


def test_sessions_end_by_sign_out_idleness_and_age(standing):
    sessions = standing.services.sessions
    token = sessions.start("member", ANA.patient)
    sessions.end(token)
    assert sessions.find("member", token) is None
    idle = sessions.start("member", ANA.patient)
    standing.clock.move(minutes=15)
    assert sessions.find("member", idle) is None
    busy = sessions.start("member", ANA.patient)
    for _ in range(5):
        standing.clock.move(minutes=10)
        assert sessions.find("member", busy)
    standing.clock.move(minutes=10)
    assert sessions.find("member", busy) is None


def test_a_member_cannot_revoke_for_another_and_another_site_for_none(standing, issued):
    with standing.client() as browser:
        acting.tokens(browser, issued, username="ben")
    (consent,) = standing.services.consents.of_patient(acting.BEN.patient)
    with standing.client() as browser:
        try_member(browser, acting.PASSWORD)
        page = browser.get("/member")
        own = {**acting.hidden(page), "consent": consent.id}
        browser.post("/member/revoke", data=own)
        bare = browser.post("/member/revoke", data={"consent": consent.id})
        cross = browser.post("/member/sign-out", data=own, headers={"sec-fetch-site": "cross-site"})
    (after,) = standing.services.consents.of_patient(acting.BEN.patient)
    assert after.revoked is None
    assert bare.status_code == cross.status_code == 403


def test_without_a_demo_directory_and_a_provider_nobody_can_sign_in(tmp_path):
    with stand_up(tmp_path, demo=None) as standing:
        issued = standing.register()
        with standing.client() as browser:
            page = acting.ask(browser, issued.app.client_id)
            posted = browser.post("/oauth/sign-in", data={"username": "ana"})
    assert page.status_code == 503
    assert "Sandbox" not in page.text
    assert posted.status_code in (400, 403)


def test_every_page_of_the_sandbox_says_that_it_is_one(issued, browser):
    page = acting.ask(browser, issued.app.client_id)
    consent = acting.sign_in(browser, page)
    member = browser.get("/member")
    for one in (page, consent, member):
        assert "Sandbox." in one.text
