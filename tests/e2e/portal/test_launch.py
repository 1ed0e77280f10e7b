"""Register, launch, consent, fetch, revoke: in a browser, with and without JavaScript."""

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.e2e.portal.walking import (
    consent,
    first_member,
    register,
    sign_in,
    token_by_hand,
)


def test_try_it_does_the_whole_launch_in_the_page(page):
    username, password = first_member(page)
    page.goto("/try")
    page.get_by_role("button", name="Launch").click()
    consent(page, username, password)
    expect(page.get_by_role("status")).to_have_text("200: Bundle")
    assert urlsplit(page.url).query == ""  # the code is not left in the address
    expect(page.locator("main table caption")).to_contain_text("claims")
    assert page.locator("main table tbody tr").count() > 0
    amounts = re.findall(r'"value": (\d+\.\d+)', page.locator('[data-shows="read"]').inner_text())
    assert amounts
    assert all(re.fullmatch(r"\d+\.\d\d", amount) for amount in amounts), "cents as they were sent"
    page.get_by_role("button", name="Patient").click()
    expect(page.get_by_role("status")).to_have_text("200: Patient")
    explorer = page.locator("#explore")
    explorer.get_by_label("Resource", exact=True).select_option("ExplanationOfBenefit")
    explorer.get_by_label("type", exact=True).fill("oral")
    explorer.get_by_label("ExplanationOfBenefit:coverage").check()
    explorer.get_by_role("button", name="Send").click()
    request = "/fhir/ExplanationOfBenefit?type=oral&_include=ExplanationOfBenefit%3Acoverage"
    expect(page.locator('[data-shows="read"] figcaption').first).to_contain_text(request)
    expect(page.get_by_role("status")).to_have_text("200: Bundle")
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("status")).to_have_text("401: OperationOutcome")


@pytest.mark.parametrize(
    ("api", "path", "resource"),
    [
        ("provider-directory", "/directory", "Organization"),
        ("drug-formulary", "/formulary", "MedicationKnowledge"),
    ],
)
def test_public_data_are_searched_without_a_launch(page, api, path, resource):
    page.goto("/try")
    explorer = page.locator(f"#explore-{api}")
    explorer.get_by_label("Resource", exact=True).select_option(resource)
    explorer.locator(f"#{api}-{resource}-_count").fill("1")
    explorer.get_by_role("button", name="Send").click()
    expect(page.get_by_role("status")).to_have_text("200: Bundle")
    shown = page.locator(f'[data-shows="{api}"]')
    expect(shown.locator("figcaption").first).to_contain_text(f"{path}/{resource}?_count=1")
    assert "authorization" not in shown.inner_text()


def test_try_it_works_from_the_keyboard(page):
    username, password = first_member(page)
    page.goto("/try")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "launch":
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/oauth/authorize**")
    page.locator("input[name=username]").focus()
    page.keyboard.type(username)
    page.keyboard.press("Tab")
    page.keyboard.type(password)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Share", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("200: Bundle")


def test_try_it_says_when_the_member_refuses(page):
    username, password = first_member(page)
    page.goto("/try")
    page.get_by_role("button", name="Launch").click()
    page.locator("input[name=username]").fill(username)
    page.locator("input[type=password]").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Do not share").click()
    expect(page.get_by_role("status")).to_have_text("No code: access_denied")


def test_try_it_stops_where_state_is_not_its_own(page):
    page.goto("/try?code=stolen&state=of-another-launch")
    expect(page.get_by_role("status")).to_have_text("The launch was stopped: state differs.")
    assert urlsplit(page.url).query == ""


def test_everything_works_without_javascript(scriptless, sandbox):
    sign_in(scriptless)
    app = register(scriptless)
    username, password = member = first_member(scriptless)
    scope = "launch/patient patient/*.read"
    token = token_by_hand(scriptless, sandbox.base, app, scope, member)
    asked = {
        "content-type": "application/json",
        "accept": "application/json",
        "authorization": f"Bearer {token['access_token']}",
    }
    for resource in ("ExplanationOfBenefit", "Coverage", "Patient", "Practitioner"):
        found = scriptless.request.get(f"/fhir/{resource}", headers=asked)
        assert found.status == 200, resource
        assert found.headers["content-type"].startswith("application/json")

    scriptless.goto("/member")  # the member takes it back
    scriptless.locator("input[name=username]").fill(username)
    scriptless.locator("input[type=password]").fill(password)
    scriptless.get_by_role("button", name="Sign in").click()
    seen = scriptless.locator("dt:text('Has seen') + dd").first
    assert (
        seen.text_content()
        == "About you, Your coverage, Your claims and prior authorizations, Who cares for you"
    )
    scriptless.get_by_role("button", name="Stop sharing").first.click()
    refused = scriptless.request.get("/fhir/Patient", headers=asked)
    assert refused.status == 401


def test_without_javascript_try_it_says_where_to_go(scriptless):
    scriptless.goto("/try")
    note = scriptless.locator("noscript")
    assert "needs JavaScript" in (note.text_content() or "") + scriptless.content()
    assert not scriptless.locator("#launch").is_visible()


def test_tabs_of_examples_work_without_javascript_and_from_the_keyboard(scriptless):
    scriptless.goto("/patient-access")
    form = scriptless.locator(".tabs").first
    assert form.get_by_text("Confidential app").first.is_visible()
    form.get_by_role("radio", name="Form").focus()
    scriptless.keyboard.press("ArrowRight")
    scriptless.keyboard.press("ArrowRight")
    assert form.locator(".panel").nth(2).is_visible()
    assert not form.locator(".panel").nth(0).is_visible()
