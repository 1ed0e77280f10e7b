"""What the search index says of a claim."""

import json
import re

import pytest

from tests.given.tables import read_tables
from tests.golden.mapping.everything import everything
from tests.golden.mapping.rendering import exact, rendered

_ROWS = read_tables(__file__)
PEOPLE = _ROWS["people"]
NAMED_ALONE = (
    ("practitioner", "prior_auth", "entered_by_id"),
    ("practitioner", "prior_auth_line", "authorized_provider_id"),
    ("organization", "prior_auth", "facility_id"),
    ("organization", "claim", "service_facility_id"),
)
"""Table of providers, table and column: what is in the column is named nowhere else."""


def searched(claim, *lines, view="financial"):
    key = {"claim_id": "1", "claim_type": "professional", "member_id": "M1", "coverage_id": "C1"}
    rows = {
        **PEOPLE,
        "claim": [{**key, "payer_id": "PAYER", "adjudication_date": "2024-06-01", **claim}],
        "claim_line": [
            {"claim_id": "1", "line_number": str(at), "service_code": "99213", **line}
            for at, line in enumerate(lines, 1)
        ],
        "claim_diagnosis": [{"claim_id": "1", "sequence": "1", "code": "I10"}],
        "claim_care_team": [
            {"claim_id": "1", "sequence": "1", "role": "rendering", "provider_id": "1003000126"}
        ],
    }
    for text, search in rendered(rows, view=view):
        resource = exact(text)
        if resource["resourceType"] == "ExplanationOfBenefit":
            found = json.loads(search)
            found["care-team resource"] = [resource["careTeam"][0]["provider"]["reference"]]
            found["meta.profile"] = resource["meta"]["profile"]
            found["patient resource"] = [resource["patient"]["reference"]]
            return found
    raise AssertionError("no claim came out")


def test_a_claim_is_found_by_its_period_and_by_each_line():
    found = searched(
        {"statement_from_date": "2024-05-01", "statement_thru_date": "2024-05-31"},
        {"service_from_date": "2024-05-02"},
        {"service_from_date": "2024-05-03", "service_to_date": "2024-05-04"},
    )
    assert found["service-date"] == ["2024-05-01/2024-05-31", "2024-05-02", "2024-05-03/2024-05-04"]
    assert found["service-start-date"] == ["2024-05-01", "2024-05-02", "2024-05-03"]
    assert found["billable-period-start"] == ["2024-05-01"]


def test_a_period_without_a_usable_end_is_open():
    without = {"statement_from_date": "2024-05-01"}
    wrong = {**without, "statement_thru_date": "2024-04-01"}
    line = {"service_from_date": "2024-05-02"}
    assert searched(without, line)["service-date"][0] == "2024-05-01/"
    assert searched(wrong, line)["service-date"] == ["2024-05-01/", "2024-05-02"]


def test_a_claim_is_found_by_what_it_refers_to():
    found = searched({"statement_from_date": "2024-05-01"}, {"service_from_date": "2024-05-02"})
    assert found["care-team"] == found["care-team resource"]
    assert found["patient"] == found["patient resource"]
    assert found["identifier"] == ["https://payer.example.com/claim|1", "|1"]
    assert found["type"] == ["http://terminology.hl7.org/CodeSystem/claim-type|professional"]
    assert found["use"] == ["http://hl7.org/fhir/claim-use|claim"]


@pytest.mark.parametrize("view", ["financial", "basis"])
def test_a_claim_is_found_by_its_profile_with_and_without_version(view):
    found = searched({"statement_from_date": "2024-05-01"}, {}, view=view)
    (profile,) = found["meta.profile"]
    assert profile.endswith("|2.2.0")
    assert found["_profile"] == [profile.removesuffix("|2.2.0"), profile]
    assert "provider" not in found or found["provider"] == []


def test_a_claim_and_a_prior_authorization_are_found_by_profile_and_every_provider_they_name():
    """The server follows these values: a member can read nobody else of the directory."""
    rows, uses = everything(), set()
    for kind, table, column in NAMED_ALONE:
        rows[kind].append({f"{kind}_id": column})
        rows[table] = [row | {column: column} for row in rows[table]]
    for text, search in rendered(rows):
        resource = exact(text)
        if resource["resourceType"] == "ExplanationOfBenefit":
            index = json.loads(search)
            followed = {value for values in index.values() for value in values}
            assert resource["meta"]["profile"][0].partition("|")[0] in index["_profile"]
            assert set(re.findall(r'"((?:Practitioner|Organization)/[^"]+)"', text)) <= followed
            uses.add(resource["use"])
    assert uses == {"claim", "preauthorization"}


def test_the_directory_is_found_by_every_identifier_and_name_that_is_published():
    rows = PEOPLE | _ROWS["directory"]
    checked = 0
    for text, search in rendered(rows):
        resource, found = exact(text), json.loads(search)
        if resource["resourceType"] not in ("Organization", "Practitioner"):
            continue
        published = {
            f"{one.get('system', '')}|{one['value']}"
            for one in resource["identifier"]
            if "value" in one
        }
        assert published
        assert published <= set(found["identifier"])
        assert {one.rpartition("|")[2] for one in found["identifier"]} == {
            one.rpartition("|")[2] for one in published
        }
        names = resource["name"]
        if isinstance(names, list):
            names = [names[0]["family"], *names[0]["given"]]
        assert set(names if isinstance(names, list) else [names]) <= set(found["name"])
        checked += 1
    assert checked == 3
