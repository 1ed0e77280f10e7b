"""The samples show what can be shown, and so does the first page of one of their members."""

import json
from collections import Counter

import pytest

from etl.bootstrap.setting_groups import ServeSettings
from tests.e2e.commands import SAMPLES, columns_of, cpcds, done, rows_of, write_rows

PAGE = ServeSettings().page_size
NEEDED = {
    "inpatient": "Inpatient-Institutional",
    "outpatient": "Outpatient-Institutional",
    "professional": "Professional-NonClinician",
    "oral": "Oral",
    "pharmacy": "Pharmacy",
}


def members_of_one_page():
    """Return the members of the samples with claims of every profile on one page."""
    types: dict[str, Counter[str]] = {}
    for row in rows_of(SAMPLES / "claim.csv"):
        types.setdefault(row["member_id"], Counter())[row["claim_type"]] += 1
    return [
        member
        for member, counts in types.items()
        if counts.keys() >= NEEDED.keys() and counts.total() <= PAGE
    ]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The samples with that member's rows alone, and the directory."""
    (member,) = members_of_one_page()
    folder = tmp_path_factory.mktemp("alone")
    claims = {
        row["claim_id"] for row in rows_of(SAMPLES / "claim.csv") if row["member_id"] == member
    }
    requests = {
        row["prior_auth_id"]
        for row in rows_of(SAMPLES / "prior_auth.csv")
        if row["member_id"] == member
    }
    for path in SAMPLES.glob("*.csv"):
        rows = rows_of(path)
        if "claim_id" in columns_of(path):
            rows = [row for row in rows if row["claim_id"] in claims]
        elif "prior_auth_id" in columns_of(path):
            rows = [row for row in rows if row["prior_auth_id"] in requests]
        elif "member_id" in columns_of(path):
            rows = [row for row in rows if row["member_id"] == member]
        write_rows(folder / path.name, columns_of(path), rows)
    return folder


@pytest.mark.parametrize("view", ["financial", "basis"])
def test_that_members_claims_have_every_must_support_element_that_can_be(alone, view):
    told = done(cpcds("mapping", "coverage", alone, "--view", view, "--workers", "1", "--json")).out
    of_claims = {
        one["profile"]: one
        for one in json.loads(told)
        if one["profile"].startswith("C4BB-ExplanationOfBenefit-")
    }
    assert {name.removesuffix("-Basis") for name in of_claims} == {
        f"C4BB-ExplanationOfBenefit-{name}" for name in NEEDED.values()
    }
    assert sum(one["resources"] for one in of_claims.values()) <= PAGE
    lacking = [
        (profile, each["element"])
        for profile, one in of_claims.items()
        for each in one["elements"]
        if each["status"] == "could be"
    ]
    assert lacking == []


def test_that_member_breaks_no_rule(alone, tmp_path):
    done(cpcds("validate", alone, "--report", tmp_path / "report", "--workers", "1"))
    report = json.loads(next(tmp_path.rglob("report.json")).read_text(encoding="utf-8"))
    assert [rule["id"] for rule in report["rules"] if rule["findings"]] == []


def test_the_samples_produce_all_that_can_be():
    command = ("mapping", "coverage", SAMPLES, "--workers", "1")
    found = json.loads(done(cpcds(*command, "--json")).out)
    assert len(found) == 13
    assert all(one["resources"] for one in found)
    elements = [each for one in found for each in one["elements"]]
    assert [each["element"] for each in elements if each["status"] == "could be"] == []
