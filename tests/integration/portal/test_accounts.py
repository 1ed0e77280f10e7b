"""Developers' accounts: sign-up, sign-in, profile, settings; and whose forms are taken."""

from __future__ import annotations

import re

import pytest

from etl.auth.records import NoSuchAccount
from tests.integration.portal.conftest import PASSWORD, Browser, browser
from tests.integration.portal.served import Standing

SIGN_UP = {"name": "Dana", "email": "dana@lens.example", "password": PASSWORD}


def test_who_signs_up_is_signed_in_and_led_on(visitor: Browser) -> None:
    answer = visitor.send("/sign-up", {**SIGN_UP, "next": "/apps/new"})
    assert answer.headers["location"] == "/apps/new"
    assert visitor.get("/apps/new").status_code == 200


def test_a_wrong_field_says_what_is_wrong_beside_it(reader: Browser) -> None:
    answer = reader.send("/sign-up", {"name": "", "email": "no", "password": "short"})
    assert answer.status_code == 422
    for field in ("name", "email", "password"):
        assert f'id="{field}-error"' in answer.text
        assert f'href="#{field}"' in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert "short" not in answer.text  # a password is never shown again


def test_signing_up_does_not_say_that_an_address_is_known(sandbox: Standing) -> None:
    """A second account with it looks like a first one, now, when signing in, and in its profile."""
    first = browser(sandbox).sign_up()
    second = browser(sandbox)
    other = {**SIGN_UP, "email": "DANA@lens.example", "password": f"{PASSWORD} too"}
    assert second.send("/sign-up", other).headers["location"] == "/apps"
    again = browser(sandbox)
    assert again.send("/sign-in", other).headers["location"] == "/apps"
    assert 'value="dana@lens.example"' in again.get("/profile").text
    page = again.send("/profile/verify", {}, page="/profile").text  # a sandbox shows the mail
    link = re.search(r"/profile/verify/[\w.-]+", page)
    assert link is not None
    assert again.send(link[0], {}).headers["location"] == "/profile?saved=verified"
    assert first.get("/profile").status_code == 200
    assert browser(sandbox).send("/sign-in", {**SIGN_UP}).status_code == 303
    assert len(sandbox.portal.developers.all()) == 2


def test_signing_out_ends_the_session_on_the_server(developer: Browser) -> None:
    cookies = dict(developer.client.cookies)
    assert developer.send("/sign-out", {}, page="/profile").headers["location"] == "/"
    for name, value in cookies.items():  # a thief kept them
        developer.client.cookies.set(name, value, domain="api.example")
    assert developer.get("/profile").headers["location"].startswith("/sign-in")


def test_one_comes_back_by_signing_in(sandbox: Standing) -> None:
    browser(sandbox).sign_up()
    visitor = browser(sandbox)
    wrong = visitor.send("/sign-in", {"email": "dana@lens.example", "password": "not this one"})
    assert wrong.status_code == 400
    right = visitor.send("/sign-in", {"email": "dana@lens.example", "password": PASSWORD})
    assert right.status_code == 303
    assert visitor.get("/profile").status_code == 200


def test_too_many_wrong_passwords_lock_the_account_for_a_while(sandbox: Standing) -> None:
    browser(sandbox).sign_up()
    visitor = browser(sandbox)
    answers = [
        visitor.send("/sign-in", {"email": "dana@lens.example", "password": f"wrong {number}"})
        for number in range(7)
    ]
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) > 0
    locked = visitor.send("/sign-in", {"email": "dana@lens.example", "password": PASSWORD})
    assert locked.status_code == 429


@pytest.mark.parametrize(
    "target",
    ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)",
     "/apps?x=//evil", "/a//evil.example"],
)  # fmt: skip
def test_a_sign_in_leads_to_no_other_host(visitor: Browser, target: str) -> None:
    answer = visitor.send("/sign-up", {**SIGN_UP, "next": target})
    assert answer.headers["location"] == "/apps"
    assert visitor.client.get("/sign-in", params={"next": target}).headers["location"] == "/apps"


@pytest.mark.parametrize("path", ["/profile", "/settings", "/settings/delete", "/apps/new"])
def test_a_page_of_ones_own_asks_to_sign_in_first(reader: Browser, path: str) -> None:
    answer = reader.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in?next=")


@pytest.mark.parametrize("path", ["/sign-up", "/sign-in", "/sign-out"])
def test_a_form_that_is_not_from_our_page_is_refused(visitor: Browser, path: str) -> None:
    visitor.get("/sign-up")
    for token in ("", "0" * 64):
        answer = visitor.client.post(path, data={**SIGN_UP, "csrf": token})
        assert answer.status_code == 403
        assert "That form is too old" in answer.text


def test_a_token_of_another_browser_is_no_use(sandbox: Standing) -> None:
    other = browser(sandbox)
    page = other.get("/sign-up").text
    token = page.split('name="csrf" value="')[1].split('"')[0]
    visitor = browser(sandbox)
    visitor.get("/sign-up")
    assert visitor.client.post("/sign-up", data={**SIGN_UP, "csrf": token}).status_code == 403


def test_a_token_from_before_the_sign_in_is_no_use_after_it(developer: Browser) -> None:
    page = developer.get("/profile").text
    token = page.split('name="csrf" value="')[1].split('"')[0]
    developer.send("/sign-out", {}, page="/profile")
    answer = developer.client.post("/sign-in", data={"csrf": token})
    assert answer.status_code == 403


def test_a_form_from_another_site_is_refused_though_it_has_the_token(developer: Browser) -> None:
    page = developer.get("/profile").text
    token = page.split('name="csrf" value="')[1].split('"')[0]
    answer = developer.client.post(
        "/profile", data={"csrf": token, "name": "X"}, headers={"sec-fetch-site": "cross-site"}
    )
    assert answer.status_code == 403


def test_the_profile_is_changed(developer: Browser) -> None:
    fields = {"name": "Dana D.", "email": "dana@lens.example", "organization": "Lens"}
    answer = developer.send("/profile", fields)
    assert answer.headers["location"] == "/profile?saved=yes"
    page = developer.get("/profile?saved=yes").text
    assert 'value="Dana D."' in page
    assert 'value="Lens"' in page
    assert "Saved." in page


def test_the_password_is_changed_and_other_browsers_are_signed_out(sandbox: Standing) -> None:
    first = browser(sandbox).sign_up()
    second = browser(sandbox)
    second.send("/sign-in", {"email": "dana@lens.example", "password": PASSWORD})
    fields = {"old": "wrong one here", "new": "another horse battery"}
    assert first.send("/settings/password", fields, page="/settings").status_code == 422
    fields["old"] = PASSWORD
    changed = first.send("/settings/password", fields, page="/settings")
    assert changed.headers["location"] == "/settings?saved=yes"
    assert first.get("/profile").status_code == 200
    assert second.get("/profile").status_code == 303


def test_deleting_the_account_takes_the_apps_with_it(sandbox: Standing, developer: Browser) -> None:
    developer.register()
    wrong = developer.send("/settings/delete", {"password": "not this one"})
    assert wrong.status_code == 422
    assert developer.send("/settings/delete", {"password": PASSWORD}).headers["location"] == "/"
    assert developer.get("/profile").status_code == 303
    assert sandbox.portal.apps.all() == ()


def test_a_form_that_is_too_large_is_refused(developer: Browser) -> None:
    answer = developer.client.post("/profile", content=b"name=" + b"a" * 70_000)
    assert answer.status_code == 413


def test_pages_of_ones_own_are_kept_nowhere(developer: Browser) -> None:
    for path in ("/profile", "/settings", "/apps", "/apps/new", "/"):
        assert developer.get(path).headers["cache-control"] == "no-store"


def test_who_only_reads_is_given_no_cookie(visitor: Browser) -> None:
    for path in ("/", "/patient-access", "/sandbox", "/contact", "/apps"):
        assert "set-cookie" not in visitor.get(path).headers
    given = visitor.get("/sign-up").headers["set-cookie"]
    assert given.startswith("__Host-")
    for part in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"):
        assert part in given


def test_a_password_that_was_lost_is_replaced_by_the_operator(sandbox: Standing) -> None:
    developer = browser(sandbox).sign_up()
    fresh = sandbox.portal.developers.reset_password("Dana@lens.example")
    assert developer.get("/profile").status_code == 303  # signed out everywhere
    fields = {"email": "dana@lens.example", "password": PASSWORD}
    assert developer.send("/sign-in", fields).status_code == 400
    assert developer.send("/sign-in", {**fields, "password": fresh}).status_code == 303
    assert sandbox.happenings[1].action == "password-changed"
    assert sandbox.happenings[1].by == "operator"
    with pytest.raises(NoSuchAccount):
        sandbox.portal.developers.reset_password("nobody@lens.example")


def test_too_many_sign_ups_from_an_address_are_told_to_wait(visitor: Browser) -> None:
    answers = [visitor.send("/sign-up", {"name": ""}) for _ in range(21)]
    assert {one.status_code for one in answers[:20]} == {422}
    assert answers[20].status_code == 429
    assert int(answers[20].headers["retry-after"]) > 0
    assert "Too many at once" in answers[20].text
