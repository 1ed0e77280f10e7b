"""Members' pages in the reader's language and time zone."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from etl.web.texts import TEXTS, TRANSLATIONS
from tests.e2e.portal.walking import first_member

ENGLISH = [
    text
    for page, texts in TRANSLATIONS["es"].items()
    for text in (TEXTS[page][key] for key in texts)
    if len(text) > 8 and "{" not in text
]


def sign_in_as(page: Page, member: tuple[str, str]) -> None:
    """Fill in the form of a page in any language."""
    page.locator("input[name=username]").fill(member[0])
    page.locator("input[type=password]").fill(member[1])
    page.locator("main form button").click()


def check_spanish(page: Page) -> None:
    """Check that a page is in Spanish alone, and usable by everyone."""
    assert page.locator("html").get_attribute("lang") == "es"
    said = page.locator("body").inner_text()
    assert [text for text in ENGLISH if text in said] == []
    violations = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert [one["id"] for one in violations if one["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize(
    ("zone", "name"), [("America/New_York", "GMT-5"), ("Asia/Kathmandu", "GMT+5:45")]
)
def test_a_member_shares_and_stops_in_spanish(chromium, sandbox, zone, name):
    options = {"base_url": sandbox.base, "locale": "es-MX", "timezone_id": zone}
    with chromium.new_context(**options) as context:
        page = context.new_page()
        member = first_member(page)
        page.goto("/try")
        page.get_by_role("button", name="Launch").click()
        page.locator("input[name=username]").wait_for()
        check_spanish(page)
        sign_in_as(page, member)
        page.locator("button[value=allow]").wait_for()
        check_spanish(page)
        assert "VIH" in page.locator("main").inner_text()
        page.locator("button[value=allow]").click()
        page.locator("main table").wait_for()
        page.goto("/member")
        sign_in_as(page, member)
        page.locator("article").first.wait_for()
        check_spanish(page)
        assert name in page.locator("article time").first.inner_text()
        page.locator("article button").first.click()
        note = page.locator("[role=status]")
        expect(note).to_contain_text("La aplicación Try it ya no puede leer sus datos")
        check_spanish(page)
        page.get_by_role("link", name="English").click()
        expect(note).to_contain_text("The app Try it can no longer read your data")
        page.goto("/member")
        expect(page.get_by_role("heading", level=1)).to_have_text("Apps with access to your data")
        newest = page.locator("h2:text-is('Ended') + ul li").first
        assert newest.inner_text().startswith("Try it: from ")


def test_without_a_script_times_name_their_zone(scriptless):
    member = first_member(scriptless)
    scriptless.goto("/member?lang=es")
    sign_in_as(scriptless, member)
    scriptless.locator("h1").wait_for()
    for time in scriptless.locator("time[data-style=moment]").all_inner_texts():
        assert time.endswith(" UTC")
