"""Developers' accounts: sign-in, profile, settings; and whose forms are taken."""

import pytest

from tests.integration.portal.conftest import browser

SIGN_IN = {"email": "dana@lens.example"}


def test_who_opens_the_link_is_signed_in_and_led_on(visitor, sandbox):
    link = visitor.ask_link(sandbox, way="/apps/new")
    assert visitor.get("/apps/new").status_code == 303
    assert visitor.send(link, {}).headers["location"] == "/apps/new"
    assert visitor.get("/apps/new").status_code == 200


@pytest.mark.parametrize("email", ["", "no", "a b@lens.example", "dana@lens.example\r\nBcc: x@y.z"])
def test_a_wrong_address_says_what_is_wrong_beside_it(reader, email):
    answer = reader.send("/sign-in", {"email": email})
    assert answer.status_code == 422
    assert 'id="email-error"' in answer.text
    assert 'href="#email"' in answer.text
    assert 'aria-invalid="true"' in answer.text


def test_one_comes_back_to_the_same_account(sandbox):
    browser(sandbox).sign_in(sandbox).register()
    again = browser(sandbox).sign_in(sandbox, "DANA")
    assert "Claim Lens" in again.get("/apps").text
    assert len(sandbox.services.developers.all()) == 1


def test_signing_out_ends_the_session_on_the_server(developer):
    cookies = dict(developer.client.cookies)
    assert developer.send("/sign-out", {}, page="/profile").headers["location"] == "/"
    for name, value in cookies.items():  # a thief kept them
        developer.client.cookies.set(name, value, domain="api.example")
    assert developer.get("/profile").headers["location"].startswith("/sign-in")


@pytest.mark.parametrize(
    "target",
    ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)",
     "/apps?x=//evil", "/a//evil.example"],
)  # fmt: skip
def test_a_sign_in_leads_to_no_other_host(visitor, sandbox, target):
    answer = visitor.send(visitor.ask_link(sandbox, way=target), {})
    assert answer.headers["location"] == "/apps"
    assert visitor.client.get("/sign-in", params={"next": target}).headers["location"] == "/apps"


@pytest.mark.parametrize("path", ["/profile", "/settings", "/settings/delete", "/apps/new"])
def test_a_page_of_ones_own_asks_to_sign_in_first(reader, path):
    answer = reader.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in?next=")


@pytest.mark.parametrize("path", ["/sign-in", "/sign-in/x", "/sign-out"])
def test_a_form_that_is_not_from_our_page_is_refused(visitor, path):
    visitor.get("/sign-in")
    for token in ("", "0" * 64):
        answer = visitor.client.post(path, data={**SIGN_IN, "csrf": token})
        assert answer.status_code == 403
        assert "That form is too old" in answer.text


def test_a_token_of_another_browser_is_no_use(sandbox):
    token = browser(sandbox).token("/sign-in")
    visitor = browser(sandbox)
    visitor.get("/sign-in")
    assert visitor.client.post("/sign-in", data={**SIGN_IN, "csrf": token}).status_code == 403


def test_a_token_from_before_the_sign_in_is_no_use_after_it(developer):
    token = developer.token("/profile")
    developer.send("/sign-out", {}, page="/profile")
    answer = developer.client.post("/sign-in", data={"csrf": token})
    assert answer.status_code == 403


def test_a_form_from_another_site_is_refused_though_it_has_the_token(developer):
    token = developer.token("/profile")
    answer = developer.client.post(
        "/profile", data={"csrf": token, "name": "X"}, headers={"sec-fetch-site": "cross-site"}
    )
    assert answer.status_code == 403


def test_the_profile_is_changed(developer):
    fields = {"name": "Dana D.", "organization": "Lens"}
    answer = developer.send("/profile", fields)
    assert answer.headers["location"] == "/profile?saved=yes"
    page = developer.get("/profile?saved=yes").text
    assert 'value="Dana D."' in page
    assert 'value="Lens"' in page
    assert "Saved." in page


def test_deleting_the_account_takes_the_apps_with_it(sandbox, developer):
    developer.register()
    assert developer.send("/settings/delete", {}).headers["location"] == "/"
    assert developer.get("/profile").status_code == 303
    assert sandbox.services.apps.all() == ()


def test_a_form_that_is_too_large_is_refused(developer):
    answer = developer.client.post("/profile", content=b"name=" + b"a" * 70_000)
    assert answer.status_code == 413


def test_pages_of_ones_own_are_kept_nowhere(developer):
    for path in ("/profile", "/settings", "/apps", "/apps/new", "/"):
        assert developer.get(path).headers["cache-control"] == "no-store"


def test_who_only_reads_is_given_no_cookie(visitor):
    for path in ("/", "/patient-access", "/sandbox", "/contact", "/apps"):
        assert "set-cookie" not in visitor.get(path).headers
    given = visitor.get("/sign-in").headers["set-cookie"]
    assert given.startswith("__Host-")
    for part in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"):
        assert part in given
