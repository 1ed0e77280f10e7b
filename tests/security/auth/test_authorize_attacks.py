"""Attacks on the authorize URL, the sign-in and the consent. One test for each."""

import re
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest

from etl.auth.configuration import ACCESS_SECONDS
from etl.auth.database_tables import App
from etl.auth.records import InvalidForm
from etl.auth.registration import redirect_uri_problem
from tests.given.drafts import draft_like
from tests.given.tables import table
from tests.integration.auth import standing as acting
from tests.integration.auth.standing import ANA, BASE, BEN, CALLBACK, DRAFT, PUBLIC


@pytest.mark.parametrize("draft", [DRAFT, PUBLIC], ids=["confidential", "public"])
@pytest.mark.parametrize(*table(__file__, "requests"))
def test_a_changed_authorization_request_brings_no_code(
    standing, browser, draft, change, without, error
):
    issued = standing.register(draft)
    parameters = acting.asking(issued.app.client_id, **dict.fromkeys(without)) | change
    answer = browser.get("/oauth/authorize", params=parameters)
    if error == "page":
        assert (answer.status_code, "location" in answer.headers) == (400, False)
        assert "evil" not in answer.text
        return
    back = acting.returned(answer)
    assert back["error"] == error
    assert not {"code", "access_token", "id_token"} & back.keys()


@pytest.mark.parametrize(*table(__file__, "loopback"))
def test_the_port_of_a_loopback_address_may_differ_and_nothing_else(standing, browser, uri, status):
    issued = standing.register(PUBLIC, redirect_uris=("http://127.0.0.1:8765/done",))
    answer = acting.ask(browser, issued.app.client_id, redirect_uri=uri)
    assert answer.status_code == status


@pytest.mark.parametrize(*table(__file__, "leaking"))
def test_redirect_uris_that_leak_codes_cannot_be_registered(standing, uri):
    assert redirect_uri_problem(uri)
    with pytest.raises(InvalidForm):
        standing.register(redirect_uris=(uri,))


def test_a_verifier_without_a_challenge_is_refused(standing, browser):
    """PKCE downgrade (RFC 9700 section 4.8.2): the attacker took the challenge out."""
    issued = standing.register(plain_launch=True)
    back = acting.launched(
        browser, issued.app.client_id, code_challenge=None, code_challenge_method=None
    )
    answer = acting.redeem(browser, issued, back["code"])
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_request"


def test_only_an_app_that_the_payer_exempted_may_leave_pkce_state_and_aud_out(standing, browser):
    plain = standing.register(plain_launch=True)
    other = standing.register()
    bare = {"response_type": "code", "redirect_uri": CALLBACK}
    fine = browser.get("/oauth/authorize", params={**bare, "client_id": plain.app.client_id})
    refused = browser.get("/oauth/authorize", params={**bare, "client_id": other.app.client_id})
    assert fine.status_code == 200
    assert acting.returned(refused)["error"] in ("invalid_scope", "invalid_request")
    with pytest.raises(InvalidForm):
        standing.register(PUBLIC, plain_launch=True)


def test_a_request_without_response_type_is_told_what_is_missing(issued, browser):
    back = acting.returned(acting.ask(browser, issued.app.client_id, response_type=None))
    page = acting.ask(browser, "nobody", response_type=None)
    assert back["error"] == "unsupported_response_type"
    assert back["error_description"] == "'response_type' must be code."
    assert (page.status_code, "location" in page.headers) == (400, False)
    assert "unsupported_response_type: &#39;response_type&#39; must be code." in page.text


def test_an_app_gets_no_scope_that_it_is_not_registered_for(standing, browser):
    issued = standing.register(scopes=("launch/patient", "patient/Coverage.rs"))
    body = acting.tokens(
        browser,
        issued,
        scope="launch/patient openid offline_access patient/*.rs user/Patient.rs",
    )
    assert body["scope"] == "launch/patient patient/Coverage.rs"
    assert "refresh_token" not in body


def test_the_consent_form_cannot_widen_what_was_asked_for(standing, issued, browser):
    body = acting.tokens(
        browser,
        issued,
        scope="patient/Coverage.rs",
        form={
            "kind": ["coverage", "you", "claims", "*", "Patient"],
            "identity": "yes",
            "long_lived": "yes",
            "days": "99999",
            "scope": "patient/*.rs",
            "patient": BEN.patient,
        },
    )
    assert body["scope"] == "patient/Coverage.rs"
    assert body["patient"] == ANA.patient
    (consent,) = standing.services.consents.of_patient(ANA.patient)
    configuration = standing.services.configuration
    term = timedelta(seconds=ACCESS_SECONDS + configuration.code_seconds)
    assert consent.expires - consent.given <= term


def test_a_term_that_is_not_offered_is_not_taken(standing, issued, browser):
    acting.tokens(browser, issued, form={"days": "99999"})
    (consent,) = standing.services.consents.of_patient(ANA.patient)
    assert (consent.expires - consent.given).days == 90


def test_who_answers_stands_in_every_redirect_so_that_servers_cannot_be_mixed_up(issued, browser):
    error = acting.ask(browser, issued.app.client_id, scope="nonsense")
    assert acting.returned(error)["iss"] == BASE
    assert acting.launched(browser, issued.app.client_id)["iss"] == BASE


@pytest.mark.parametrize("status", ["pending", "disabled", "deleted", "unknown"])
def test_an_app_that_may_not_work_gets_as_far_as_an_unknown_one(standing, issued, browser, status):
    apps, client_id = standing.services.apps, issued.app.client_id
    if status == "disabled":
        apps.disable(client_id)
    elif status == "deleted":
        apps.delete(client_id)
    elif status == "pending":
        with standing.services.database.write() as session:
            session.get_one(App, client_id).status = "pending"
    else:
        client_id = "unknown"
    answer = acting.ask(browser, client_id)
    assert answer.status_code == 400
    assert "location" not in answer.headers


def test_pages_cannot_be_framed_scripted_cached_or_told_on(issued, browser):
    page = acting.ask(browser, issued.app.client_id)
    consent = acting.sign_in(browser, page)
    answer = acting.decide(browser, consent)
    member = browser.get("/member")
    for one in (page, consent, answer, member):
        policy = one.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "script-src" not in policy
        assert one.headers["x-frame-options"] == "DENY"
        assert one.headers["referrer-policy"] == "no-referrer"
        assert one.headers["cache-control"] == "no-store"
        assert one.headers["strict-transport-security"].startswith("max-age=31536000")
        assert one.headers["x-content-type-options"] == "nosniff"
        assert "<script" not in one.text
        assert "style=" not in one.text
    assert "https://app.example" in consent.headers["content-security-policy"]


def test_the_members_own_page_runs_one_script_of_this_server_that_calls_nobody(issued, browser):
    acting.tokens(browser, issued)
    fields = acting.hidden(browser.get("/member"))
    member = {"username": "ana", "password": acting.PASSWORD}
    assert browser.post("/member/sign-in", data={**fields, **member}).status_code == 303
    page = browser.get("/member?lang=en%22><script>&next=%22><script>alert(1)")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src" in policy
    assert "connect-src" not in policy
    assert re.findall("<script.*", page.text) == ['<script src="/static/times.js" defer></script>']


def test_after_a_form_with_a_password_the_redirect_forgets_the_body(issued, browser):
    """RFC 9700 section 4.12: 303, so that no browser sends the password on."""
    page = acting.ask(browser, issued.app.client_id)
    answer = acting.send_sign_in(browser, page)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/oauth/consent"


def test_what_an_app_says_of_itself_is_shown_as_text(standing, browser):
    issued = standing.register(
        name="<script>alert(1)</script>", description='"><img src=x onerror=alert(1)>'
    )
    page = acting.ask(browser, issued.app.client_id)
    consent = acting.sign_in(browser, page)
    assert "<script>" not in page.text + consent.text
    assert "<img" not in consent.text


def test_another_site_cannot_sign_a_member_in(standing, issued):
    """CSRF on the sign-in: the victim would act in the attacker's account."""
    with standing.client() as attacker, standing.client() as victim:
        page = acting.ask(attacker, issued.app.client_id)
        acting.ask(victim, issued.app.client_id)
        answer = acting.send_sign_in(victim, page)
        bare = victim.post("/member/sign-in", data={"username": "ana", "password": acting.PASSWORD})
    assert answer.status_code in (400, 403)
    assert bare.status_code == 403


def test_another_site_cannot_consent_for_a_member(standing, issued):
    """CSRF on the consent: with the victim's cookies, yet without a token of the page."""
    evil = standing.register(name="Evil")
    with standing.client() as victim, standing.client() as attacker:
        consent = acting.open_consent(victim, issued.app.client_id)
        theirs = acting.ask(attacker, evil.app.client_id)
        everything = {**acting.ticked(consent), "decision": "allow"}
        own = acting.hidden(consent)
        no_token = victim.post("/oauth/consent", data={**everything, "request": own["request"]})
        their_request = victim.post(
            "/oauth/consent",
            data={
                **everything,
                "form_token": own["form_token"],
                "request": acting.hidden(theirs)["request"],
            },
        )
        cross = victim.post(
            "/oauth/consent", data={**everything, **own}, headers={"sec-fetch-site": "cross-site"}
        )
    assert no_token.status_code == 403
    assert cross.status_code == 403
    assert their_request.status_code == 403
    assert standing.services.consents.of_patient(ANA.patient) == ()


def test_a_forged_authorization_request_is_no_use(issued, browser):
    consent = acting.open_consent(browser, issued.app.client_id)
    sealed = acting.hidden(consent)["request"]
    changed = sealed[:-4] + ("AAAA" if not sealed.endswith("AAAA") else "BBBB")
    answer = acting.decide(browser, consent, request=changed)
    assert answer.status_code == 403


def test_without_a_fresh_sign_in_there_is_no_consent(issued, browser):
    acting.tokens(browser, issued)
    acting.ask(browser, issued.app.client_id)
    again = browser.get("/oauth/consent")
    member = browser.get("/member")
    assert "Sign in" in member.text
    assert again.status_code in (400, 403)


def test_a_sign_in_is_good_for_the_request_that_it_was_for_alone(standing, browser):
    """Another app's page sends the browser to its own request while the member is deciding."""
    issued, other = standing.register(), standing.register(name="Another One")
    consent = acting.open_consent(browser, issued.app.client_id)
    theirs = acting.ask(browser, other.app.client_id)
    sealed = acting.hidden(theirs)["request"]
    forced = acting.decide(browser, consent, request=sealed)
    name = standing.services.browsers.name("request")
    cookies = {one.name: one.value for one in browser.cookies.jar} | {name: sealed}
    header = "; ".join(f"{one}={value}" for one, value in cookies.items())
    shown = browser.get("/oauth/consent", headers={"cookie": header})
    fine = acting.decide(browser, consent)
    assert forced.status_code == shown.status_code == 403
    assert "code" in acting.returned(fine)


def test_cookies_are_for_this_host_tls_and_http_alone(issued, browser):
    page = acting.ask(browser, issued.app.client_id)
    signed_in = acting.send_sign_in(browser, page)
    cookies = [
        *page.headers.get_list("set-cookie"),
        *signed_in.headers.get_list("set-cookie"),
    ]
    assert len(cookies) >= 3
    for cookie in cookies:
        assert cookie.startswith("__Host-cpcds-")
        lowered = cookie.lower()
        for attribute in ("secure", "httponly", "samesite=lax", "path=/"):
            assert attribute in lowered
        assert "domain=" not in lowered


def test_a_code_goes_nowhere_but_into_the_redirect(issued, browser):
    answer = acting.decide(browser, acting.open_consent(browser, issued.app.client_id))
    parts = urlsplit(answer.headers["location"])
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == CALLBACK
    assert sorted(dict(parse_qsl(parts.query))) == ["code", "iss", "state"]
    assert not parts.fragment
    assert answer.text == ""


def test_a_redirect_uri_with_a_query_keeps_it(standing, browser):
    uri = f"{CALLBACK}?tenant=7"
    issued = standing.register(redirect_uris=(uri,))
    back = acting.launched(browser, issued.app.client_id, redirect_uri=uri)
    assert back["tenant"] == "7"


def test_no_other_site_may_read_the_authorize_page(issued, browser):
    page = browser.get(
        "/oauth/authorize",
        params=acting.asking(issued.app.client_id),
        headers={"origin": "https://app.example"},
    )
    assert "access-control-allow-origin" not in page.headers


def test_prompt_none_shows_no_page(issued, browser):
    answer = acting.ask(browser, issued.app.client_id, prompt="none")
    assert acting.returned(answer)["error"] == "login_required"


def test_in_production_an_app_waits_and_what_changes_waits_again(tmp_path):
    with acting.stand_up(tmp_path, sandbox=False) as standing:
        apps = standing.services.apps
        issued = standing.register(plain_launch=True)
        client_id = issued.app.client_id
        assert issued.app.status == "pending"
        assert not issued.app.is_plain
        with standing.client() as browser:
            asking = acting.asking(client_id)
            assert browser.get("/oauth/authorize", params=asking).status_code == 400
            assert apps.approve(client_id, apps.get(client_id).revision).is_plain
            assert browser.get("/oauth/authorize", params=asking).status_code == 200
            body = acting.tokens(browser, issued)
            evil = draft_like(issued.app.draft, redirect_uris=("https://evil.example/x",))
            assert apps.edit(client_id, evil).app.status == "pending"
            assert browser.get("/oauth/authorize", params=asking).status_code == 400
            assert acting.refresh(browser, issued, body["refresh_token"]).status_code == 401
