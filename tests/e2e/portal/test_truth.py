"""What the documentation says of errors, paging and approval is what the server does."""

import base64
import os
import subprocess
from shutil import which

import pytest
from httpx2 import Client

from etl.portal.portal import ERRORS
from tests.e2e.portal.standing import registered
from tests.e2e.portal.walking import code_by_hand, first_member


@pytest.fixture(scope="module")
def told(chromium, sandbox):
    """A token for some of a member's data, with the app that has it."""
    with chromium.new_context(base_url=sandbox.base) as context:
        page = context.new_page()
        client_id, secret = registered(sandbox)
        username, password = first_member(page)
        scope = "launch/patient offline_access patient/ExplanationOfBenefit.rs patient/Patient.rs"
        code, verifier = code_by_hand(page, sandbox.base, client_id, scope, username, password)
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": f"{sandbox.base}/code",
            "code_verifier": verifier,
        }
        pair = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
        basic = {"authorization": f"Basic {pair}"}
        answer = page.request.post("/oauth/token", headers=basic, form=dict(fields))
        assert answer.ok, answer.text()
        yield {**answer.json(), "basic": basic, "fields": fields, "client_id": client_id}


@pytest.fixture
def fhir(sandbox, told):
    headers = {"authorization": f"Bearer {told['access_token']}", "accept": "application/json"}
    with Client(base_url=f"{sandbox.base}/fhir/", headers=headers) as client:
        yield client


STATUSES = {
    "400": ("GET", "ExplanationOfBenefit?service-date=blue", {}),
    "401": ("GET", "Patient", {"authorization": "Bearer nonsense"}),
    "403": ("GET", "Coverage", {}),
    "404": ("GET", "ExplanationOfBenefit/none-of-ours", {}),
    "405": ("PUT", "Patient", {}),
    "406": ("GET", "Patient", {"accept": "text/html"}),
    "414": ("GET", f"ExplanationOfBenefit?identifier={'x' * 9000}", {}),
    "415": ("POST", "ExplanationOfBenefit/_search", {"content-type": "application/json"}),
}


@pytest.mark.parametrize(("status", "asked"), STATUSES.items())
def test_the_table_of_errors_is_true(fhir, status, asked):
    method, path, headers = asked
    answer = fhir.request(method, path, headers=headers)
    assert str(answer.status_code) == status
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert answer.json()["issue"][0]["diagnostics"]
    assert status in {row["code"] for row in ERRORS["fhir"]}
    if status == "401":
        assert answer.headers["www-authenticate"].startswith("Bearer")


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
    environment = {
        "PATH": os.environ["PATH"],
        "PATIENT": told["patient"],
        "ACCESS_TOKEN": told["access_token"],
    }

    def visit():
        ran = subprocess.run(
            ["/bin/sh", "-c", example],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return ran.stdout.splitlines()

    first = visit()
    assert f"keep Patient/{told['patient']}" in first
    assert len([one for one in first if one.startswith("keep ExplanationOfBenefit/")]) > 10
    assert visit() == []


@pytest.mark.parametrize(
    ("error", "grant_type"),
    [("invalid_grant", "authorization_code"), ("unsupported_grant_type", "password")],
)
def test_the_table_of_oauth_errors_is_true_of_the_token_endpoint(sandbox, told, error, grant_type):
    with Client(base_url=sandbox.base) as client:
        fields = {**told["fields"], "grant_type": grant_type, "code": "used-or-never-given"}
        answer = client.post("/oauth/token", data=fields, headers=told["basic"])
    assert answer.status_code == 400
    assert answer.json()["error"] == error
    assert error in {row["code"] for row in ERRORS["oauth"]}


WRONG = {
    "no PKCE": ({"code_challenge": ""}, "invalid_request"),
    "another aud": ({"aud": "https://elsewhere.example/fhir"}, "invalid_request"),
    "an implicit grant": ({"response_type": "token"}, "unsupported_response_type"),
    "scopes that write": ({"scope": "patient/*.write"}, "invalid_scope"),
}


@pytest.mark.parametrize("case", WRONG)
def test_the_table_of_oauth_errors_is_true_of_the_authorize_endpoint(sandbox, told, case):
    changes, error = WRONG[case]
    query = {
        "response_type": "code",
        "client_id": told["client_id"],
        "redirect_uri": f"{sandbox.base}/code",
        "scope": "patient/*.rs",
        "state": "s",
        "aud": f"{sandbox.base}/fhir",
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        "code_challenge_method": "S256",
        **changes,
    }
    with Client(base_url=sandbox.base) as client:
        sent = {name: value for name, value in query.items() if value}
        answer = client.get("/oauth/authorize", params=sent)
    assert answer.status_code in (302, 303)
    assert f"error={error}" in answer.headers["location"]
    assert "state=s" in answer.headers["location"]
    assert error in {row["code"] for row in ERRORS["oauth"]}
