"""`cpcds mapping docs`: the data dictionary of claims, and of a provider directory."""

import json

import pytest

from etl.model.data_models import CLAIMS, DIRECTORY
from tests.e2e.commands import cpcds, done

OF_CLAIMS = "Profiles of claims are named without what they all begin with"


def rows(*arguments, **environment):
    return json.loads(done(cpcds("mapping", "docs", *arguments, "--json", **environment)).out)


@pytest.mark.parametrize(
    ("arguments", "model", "other"),
    [((), CLAIMS, DIRECTORY), (("--directory",), DIRECTORY, CLAIMS)],
)
def test_tables_are_those_of_one_data_model(arguments, model, other):
    tables = {row["table"] for row in rows(*arguments)}
    assert len(tables & model.tables.keys()) > 10
    assert not tables & other.tables.keys()


def test_each_profile_of_a_directory_has_its_lines():
    found = rows("--directory")
    assert {row["profile"] for row in found} == {
        f"plannet-{name}"
        for name in (
            *("Endpoint", "HealthcareService", "InsurancePlan", "Location", "Network"),
            *("Organization", "OrganizationAffiliation", "Practitioner", "PractitionerRole"),
        )
    }
    (npi,) = (
        row
        for row in found
        if (row["table"], row["column"]) == ("directory_practitioner", "npi")
        and row["path"] == "Practitioner.identifier.value"
    )
    assert npi["role"] == "value"


def test_pages_of_a_directory_say_nothing_of_claims():
    for form in ("markdown", "html"):
        assert OF_CLAIMS in done(cpcds("mapping", "docs", "--format", form)).out
        page = done(cpcds("mapping", "docs", "--directory", "--format", form)).out
        assert OF_CLAIMS not in page
        assert "insurance_plan" in page


def test_the_version_of_plan_net_is_that_of_the_settings():
    older = rows("--directory", CPCDS_PUBLISH__PLAN_NET="1.1.0")
    assert older
    assert older != rows("--directory")


def test_a_directory_has_no_view_of_claims():
    called = cpcds("mapping", "docs", "--directory", "--view", "basis")
    assert (called.code, called.sentence) == (
        2,
        "--view is only for claims: leave it out with --directory",
    )
