"""The Provider Directory's page and the search for people, held to what the API answers."""

import shutil
import sys
from collections import Counter
from typing import Any

import pytest
from httpx2 import Client
from playwright.sync_api import expect

from etl.portal import provider_search
from tests.e2e.portal.standing import stand_up
from tests.e2e.portal.walking import run_example
from tests.given.tables import table

COMMANDS = {
    "curl": ("/bin/sh", "-c"),
    "Python": (sys.executable, "-c"),
    "JavaScript": ("node", "--input-type=module", "-e"),
}


@pytest.fixture(scope="module")
def api(sandbox):
    """A client of the API without a token."""
    with Client(base_url=f"{sandbox.base}/directory/") as client:
        yield client


def found(api, *conditions):
    """Return all resources of a search for roles, by mode: matches, and what they refer to."""
    included = [
        ("_include", f"PractitionerRole:{name}") for name in ("practitioner", "network", "location")
    ]
    bundle = api.get("PractitionerRole", params=[*conditions, *included, ("_count", "200")]).json()
    assert not [link for link in bundle["link"] if link["relation"] == "next"]
    modes: dict[str, list[dict[str, Any]]] = {"match": [], "include": []}
    for entry in bundle["entry"]:
        modes.setdefault(entry["search"]["mode"], []).append(entry["resource"])
    return modes


def person(role, included):
    by_name = {f"{one['resourceType']}/{one['id']}": one for one in included}
    return by_name[role["practitioner"]["reference"]]["name"][0]["text"]


def cards(page):
    """Return the names of a page's results."""
    return Counter(page.locator(".listings h3").all_inner_texts())


def test_a_person_finds_whom_the_api_finds(scriptless, api):
    page = scriptless
    page.goto("/find-a-doctor")
    expect(page.get_by_role("status")).to_have_count(0)  # nothing was asked for
    page.get_by_label("Specialty").select_option(label="Family medicine")
    page.get_by_label("Network").select_option(label="Larkspur Choice, preferred tier")
    page.get_by_label("Takes new patients").check()
    page.get_by_role("button", name="Search").click()
    network = page.get_by_label("Network").input_value()
    asked = (("specialty", "207Q00000X"), ("network", network), ("new-patients", "newpt"))
    answer = found(api, *asked)
    assert 0 < len(answer["match"]) < 20
    # Once each, however many places and networks they have.
    assert cards(page) == Counter({person(one, answer["include"]) for one in answer["match"]})
    expect(page.get_by_role("status")).to_contain_text(f"{len(answer['match'])} listing")
    for card in page.locator(".listings > li").all():
        expect(card).to_contain_text("Larkspur Choice, preferred tier")
        expect(card).to_contain_text("Takes new patients")
        expect(card).to_contain_text("Family medicine")
    expect(page.get_by_label("Specialty")).to_have_value("207Q00000X")  # what was asked for stays
    expect(page.get_by_label("Takes new patients")).to_be_checked()


@pytest.mark.parametrize("near", ["02185", "Alder Falls", "alder falls, ma"])
def test_near_a_city_or_zip_code_is_there(page, api, near):
    answer = found(api, ("location.address-postalcode", "02185"))
    page.goto("/find-a-doctor")
    page.get_by_label("City or ZIP code").fill(near)
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("status")).to_contain_text("found")
    named = cards(page)
    assert named
    if near.isdigit():
        assert named == Counter({person(one, answer["include"]) for one in answer["match"]})
    else:
        assert named >= Counter({person(one, answer["include"]) for one in answer["match"]})
    for card in page.locator(".listings > li").all():
        expect(card).to_contain_text("Alder Falls, MA")


def test_a_larger_distance_finds_no_fewer(page):
    totals = []
    for miles in ("", "5", "25", "50"):
        page.goto(f"/find-a-doctor?near=02185&within={miles}")
        text = page.get_by_role("status").inner_text()
        totals.append(int(text.split()[0]))
    assert totals == sorted(totals)
    assert totals[0] < totals[-1]


def test_a_name_is_found_by_its_beginnings(page):
    page.goto("/find-a-doctor?name=per+fair")
    assert set(cards(page)) == {"Dr. Percival Fairbairn"}


def test_pages_of_results_hold_each_listing_once(scriptless, api, monkeypatch):
    monkeypatch.setattr(provider_search, "PAGE_SIZE", 20)
    page = scriptless
    answer = found(api, ("new-patients", "newpt"))
    page.goto("/find-a-doctor?new=yes")
    expect(page.get_by_role("status")).to_contain_text(f"{len(answer['match'])} listings")
    seen: list[str | None] = []
    while True:
        seen += [one.get_attribute("href") for one in page.locator(".source a").all()]
        following = page.get_by_role("link", name="Next page")
        if not following.count():
            break
        following.click()
    assert len(seen) > 20
    assert Counter(str(one).rpartition("/")[2] for one in seen) == Counter(
        one["id"] for one in answer["match"]
    )
    page.get_by_role("link", name="First page").click()
    expect(page.locator(".source")).to_have_count(20)


@pytest.mark.parametrize(*table(__file__, "not_found"))
def test_what_cannot_be_found_is_said_in_a_sentence(page, query, told):
    page.goto(f"/find-a-doctor?{query}")
    expect(page.locator("section [role=status], section [role=alert]")).to_contain_text(told)
    assert page.locator("main b").count() == 0  # what was asked for is shown as text


@pytest.mark.parametrize("label", COMMANDS)
def test_the_example_finds_somebody_when_it_is_pasted(page, tmp_path, label):
    if not shutil.which(COMMANDS[label][0]):
        pytest.skip(f"{COMMANDS[label][0]} is not there")
    page.goto("/provider-directory")
    page.locator("fieldset.tabs > label", has_text=label).click()
    example = page.locator("fieldset.tabs pre:visible code").inner_text()
    assert "207N00000X" in example  # dermatology, which the samples have
    printed = run_example([*COMMANDS[label], example], tmp_path)
    assert "Dr. " in printed
    assert "OperationOutcome" not in printed


def test_every_shell_example_of_the_page_prints_something(page, tmp_path):
    if not (shutil.which("curl") and shutil.which("jq")):
        pytest.skip("curl or jq is not there")
    page.goto("/provider-directory")
    shell = [one for one in page.locator("pre code").all_inner_texts() if one.startswith("curl")]
    assert len(shell) >= 4
    for example in shell:
        printed = run_example(["/bin/sh", "-c", example], tmp_path)
        assert len(printed) > 20, example
        assert "OperationOutcome" not in printed, example


def test_the_page_leads_to_the_lists_of_files_and_they_to_files(page, api):
    page.goto("/provider-directory")
    links = page.locator("section[aria-labelledby=files] a").all()
    lists = [str(link.get_attribute("href")) for link in links]
    assert [one.rpartition("/directory/")[2] for one in lists] == [
        "$bulk-publish",
        "plan-finder/H0009/2025/index.json",
    ]
    bulk, plan_finder = (api.get(one).json() for one in lists)
    files = [*(one["url"] for one in bulk["output"]), *plan_finder["provider_urls"]]
    assert len(files) > 8
    assert {api.get(one).status_code for one in files} == {200}


def test_the_day_of_the_last_release_is_on_the_page(page, api):
    created = api.get("Practitioner?_count=1").json()["meta"]["lastUpdated"]
    page.goto("/provider-directory")
    current = page.locator("section[aria-labelledby=current]")
    expect(current).to_contain_text(f"{created[:4]} at {created[11:16]} UTC")


def test_without_a_directory_the_portal_shows_none(chromium, target, tmp_path):
    with (
        stand_up(target, tmp_path) as standing,
        chromium.new_context(base_url=standing.base) as context,
    ):
        page = context.new_page()
        page.goto("/")
        expect(page.get_by_role("link", name="Provider Directory API")).to_have_count(0)
        expect(page.get_by_role("link", name="Find a doctor")).to_have_count(0)
        for path in ("/provider-directory", "/find-a-doctor"):
            answer = page.goto(path)
            assert answer.status == 404
