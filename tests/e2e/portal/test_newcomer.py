"""From the home page to a member's first claim, with nothing but what the portal shows."""

import json

import pytest
from playwright.sync_api import expect

from tests.e2e.portal.walking import (
    consent,
    filled,
    first_member,
    in_shell,
    register,
    sign_in,
)


def test_a_newcomer_gets_to_a_first_claim_by_the_quickstart(page, tmp_path):
    page.goto("/")
    page.get_by_role("link", name="Fetch a first claim").click()
    page.get_by_role("link", name="Sign in and open the form").click()
    sign_in(page)
    _, secret = register(page)
    with page.expect_navigation():
        page.get_by_role("link", name="Quickstart with this app").click()
    steps = [text.removesuffix("\n") for text in page.locator(".trail pre code").all_inner_texts()]
    link, form = steps[0], page.locator(".trail .panel").nth(0).locator("code").text_content()
    assert form is not None
    claims = steps[-1]

    # One shell, as the page says: what was set before is there afterwards.
    script = f"{link}\ndeclare -p STATE VERIFIER CLIENT_ID REDIRECT_URI > kept"
    printed = in_shell(script, tmp_path).strip()
    username, password = first_member(page)
    page.goto(printed)
    consent(page, username, password)
    expect(page.get_by_role("heading", level=1)).to_have_text("Here is your code")
    code, state = page.locator("main pre code").all_inner_texts()
    assert f'STATE="{state}"' in (tmp_path / "kept").read_text()

    trade = filled(form, CODE=code, CLIENT_SECRET=secret)
    token = json.loads(in_shell(f"source ./kept\n{trade}", tmp_path))
    read = filled(claims, ACCESS_TOKEN=token["access_token"], PATIENT=token["patient"])
    bundle = json.loads(in_shell(read.replace("ge2024-01-01", "ge2016-01-01"), tmp_path))
    types = {entry["resource"]["resourceType"] for entry in bundle["entry"]}
    assert "ExplanationOfBenefit" in types


@pytest.mark.parametrize("tab", [0, 1])
def test_every_example_of_the_patient_access_page_works_in_a_shell(page, tmp_path, tab):
    sign_in(page)
    _, secret = register(page)
    username, password = first_member(page)
    page.goto("/patient-access")
    shown = {
        figure.locator("figcaption").text_content() or "": figure.locator("code").text_content()
        for figure in page.locator("figure.code").all()
    }

    def example(title):
        (name,) = [one for one in shown if one.startswith(title)]
        return shown[name] or ""

    trade = page.locator(".tabs").first.locator("figure code").nth(tab).text_content() or ""
    curl = page.locator(".tabs").nth(1).locator("figure code").nth(0).text_content() or ""
    python = page.locator(".tabs").nth(1).locator("figure code").nth(1).text_content() or ""
    keep = "declare -p STATE VERIFIER CLIENT_ID REDIRECT_URI > kept"
    page.goto(in_shell(f"{example('Prints the link to open')}\n{keep}", tmp_path).strip())
    consent(page, username, password)
    code = page.locator("main pre code").first.inner_text()
    trade = filled(trade, CODE=code, CLIENT_SECRET=secret)
    keep = "declare -p CLIENT_SECRET >> kept"
    token = json.loads(in_shell(f"source ./kept\n{trade}\n{keep}", tmp_path))

    given = {"ACCESS_TOKEN": token["access_token"], "PATIENT": token["patient"]}
    bundle = json.loads(in_shell(filled(curl, **given), tmp_path))
    assert bundle["resourceType"] == "Bundle"
    (tmp_path / "request.py").write_text(python)
    exports = "".join(f"export {name}='{value}'\n" for name, value in given.items())
    listed = in_shell(f"{exports}python3 request.py", tmp_path)
    assert len(listed.splitlines()) == len(bundle.get("entry", []))

    refresh = filled(example("Refresh"), REFRESH_TOKEN=token["refresh_token"])
    again = json.loads(in_shell(f"source ./kept\n{refresh}", tmp_path))
    assert again["refresh_token"] != token["refresh_token"]
    fresh = f"REFRESH_TOKEN='{again['refresh_token']}'"
    revoke = f"source ./kept\n{fresh}\n{example('Revoke')} -w '%{{http_code}}'"
    assert in_shell(revoke.replace("\n -w", " -w"), tmp_path).endswith("200")


def test_the_data_dictionary_has_every_resource_that_is_served(page):
    statement = page.request.get("/fhir/metadata").json()
    page.goto("/data-dictionary")
    listed = page.locator(".contents a").all_inner_texts()
    assert {one["type"] for one in statement["rest"][0]["resource"]} <= set(listed)
    page.get_by_role("link", name="Coverage", exact=True).click()
    row = page.locator("tr", has=page.get_by_role("rowheader", name="period.start", exact=True))
    expect(row).to_contain_text("coverage.start_date")
