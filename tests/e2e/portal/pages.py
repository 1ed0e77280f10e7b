"""Every page of the portal and of members, and how to get there: for looking at all of them."""

from collections.abc import Iterator

from playwright.sync_api import Locator, Page

from tests.e2e.portal.walking import first_member, register, sign_in
from tests.given.tables import read_tables

PUBLIC = read_tables(__file__)["public"]


def every_page(page: Page) -> Iterator[str]:
    """Lead a page through the portal; yield a name wherever it stands."""
    for name, path in PUBLIC.items():
        page.goto(path)
        yield name
    page.goto("/sign-in")
    _follow(page, page.get_by_role("button", name="Send the link"))
    yield "sign-in-wrong"
    page.get_by_label("Email").fill("eve@lens.example")
    _follow(page, page.get_by_role("button", name="Send the link"))
    yield "link-sent"
    _follow(page, page.locator("pre.mail a"))
    yield "link"
    sign_in(page)
    yield "form"
    _follow(page, page.get_by_role("button", name="Register the app"))
    yield "form-wrong"
    page.goto("/apps/new")
    client_id, _ = register(page)
    yield "registered"
    for name, path in {
        "apps-own": "/apps",
        "app": f"/apps/{client_id}",
        "app-edit": f"/apps/{client_id}/edit",
        "app-delete": f"/apps/{client_id}/delete",
        "profile": "/profile",
        "settings": "/settings",
        "account-delete": "/settings/delete",
    }.items():
        page.goto(path)
        yield name
    page.goto("/sign-in/nothing")
    _follow(page, page.get_by_role("button", name="Sign in"))
    yield "link-failed"
    username, password = first_member(page)
    page.goto("/try")
    page.get_by_role("button", name="Launch").click()
    page.locator("input[name=username]").wait_for()
    yield "member-sign-in"
    page.locator("input[name=username]").fill(username)
    page.locator("input[type=password]").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Share", exact=True).wait_for()
    yield "consent"
    page.get_by_role("button", name="Share", exact=True).click()
    page.locator("main table").wait_for()
    yield "tried"
    page.goto("/member")
    page.locator("input[name=username]").fill(username)
    page.locator("input[type=password]").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Stop sharing").first.wait_for()
    yield "member"
    page.goto("/oauth/authorize?client_id=nobody")
    yield "problem"


def _follow(page: Page, link: Locator) -> None:
    """Click, and wait for the page that answers: a click alone may return before it is there."""
    with page.expect_navigation():
        link.click()
