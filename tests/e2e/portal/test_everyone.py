"""Every page for everyone: screen readers, keyboards, dark rooms, narrow screens."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ViewportSize

from tests.e2e.portal.pages import every_page

GRAVE = ("serious", "critical")
FEW_ROWS = """
for (const body of document.querySelectorAll("tbody"))
    while (body.rows.length > 10) body.deleteRow(-1)
"""
"""Leaves ten rows of each table, which one loop of a template wrote."""


@pytest.mark.parametrize(
    ("scheme", "rules"), [("light", {}), ("dark", {"runOnly": ["color-contrast"]})]
)
def test_axe_finds_nothing_grave_on_any_page(chromium, sandbox, scheme, rules):
    """The dark sheet changes colors alone."""
    axe, options = Axe(), {"resultTypes": ["violations"], **rules}
    found: list[str] = []
    with chromium.new_context(base_url=sandbox.base, color_scheme=scheme) as context:
        page = context.new_page()
        for name in every_page(page):
            page.evaluate(FEW_ROWS)
            violations: list[Any] = axe.run(page, options=options).response["violations"]
            found += [
                f"{name}: {one['id']} ({one['impact']}): {one['nodes'][0]['html'][:160]}"
                for one in violations
                if one["impact"] in GRAVE
            ]
    assert found == []


def test_no_page_scrolls_sideways_on_a_narrow_screen_or_breaks_its_own_policy(chromium, sandbox):
    wide: list[str] = []
    said: list[str] = []
    viewport: ViewportSize = {"width": 320, "height": 740}
    with chromium.new_context(base_url=sandbox.base, viewport=viewport) as context:
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(f"Error: {error}"))
        for name in every_page(page):
            reach = page.evaluate("document.documentElement.scrollWidth")
            if reach > viewport["width"]:
                wide.append(f"{name}: {reach}")
    assert wide == []
    assert [one for one in said if "Content Security Policy" in one or "Error:" in one] == []
