"""What the documentation says of members, paging and fetching is what the server does."""

from shutil import which

import pytest
from httpx2 import Client

from tests.e2e.portal.standing import registered
from tests.e2e.portal.walking import first_member, run_example, token_by_hand


@pytest.fixture(scope="module")
def told(chromium, sandbox):
    """A token for some of a member's data, with the app that has it."""
    with chromium.new_context(base_url=sandbox.base) as context:
        page = context.new_page()
        scope = "launch/patient offline_access patient/ExplanationOfBenefit.rs patient/Patient.rs"
        yield token_by_hand(page, sandbox.base, registered(sandbox), scope, first_member(page))


@pytest.fixture
def fhir(sandbox, told):
    headers = {"authorization": f"Bearer {told['access_token']}", "accept": "application/json"}
    with Client(base_url=f"{sandbox.base}/fhir/", headers=headers) as client:
        yield client


def test_the_list_of_members_counts_what_a_search_finds(fhir, page):
    page.goto("/sandbox")
    row = page.locator("tbody tr").first  # the member whose data `told` opens
    kinds = [text.lower() for text in page.locator("thead th").all_inner_texts()[2:-2]]
    cells = row.locator("td").all_inner_texts()[1:-2]
    assert len(kinds) == len(cells) > 2
    for kind, cell in zip(kinds, cells, strict=True):
        found = fhir.get(f"ExplanationOfBenefit?use=claim&type={kind}&_summary=count").json()
        assert found["total"] == (int(cell) if cell.isdigit() else 0), kind
    everything = fhir.get("ExplanationOfBenefit?use=claim&_summary=count").json()["total"]
    assert str(everything) == row.locator("td[data-label='All claims']").inner_text()


def test_paging_is_as_the_page_says(fhir, page):
    page.goto("/patient-access")
    paging = page.locator("section[aria-labelledby=paging] p").first.inner_text()
    default = int(paging.split("A page contains ")[1].split()[0])
    most = int(paging.split("up to ")[1].split(".")[0])
    first = fhir.get("ExplanationOfBenefit").json()
    assert first["total"] > default
    assert len(first["entry"]) == default
    assert len(fhir.get(f"ExplanationOfBenefit?_count={most * 10}").json()["entry"]) <= most


@pytest.mark.skipif(not (which("curl") and which("jq")), reason="curl or jq is not there")
def test_the_example_of_fetching_what_is_new_runs_as_it_stands_and_the_second_visit_finds_nothing(
    told, page, tmp_path
):
    page.goto("/patient-access")
    example = page.locator("section[aria-labelledby=syncing] pre code").inner_text()
    command = ("/bin/sh", "-c", example)
    known = {"PATIENT": told["patient"], "ACCESS_TOKEN": told["access_token"]}
    first = run_example(command, tmp_path, **known).splitlines()
    assert f"keep Patient/{told['patient']}" in first
    assert len([one for one in first if one.startswith("keep ExplanationOfBenefit/")]) > 10
    assert run_example(command, tmp_path, **known) == ""
