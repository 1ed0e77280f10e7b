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
def test_tables_and_pages_are_those_of_one_data_model(arguments, model, other):
    tables = {row["table"] for row in rows(*arguments)}
    assert len(tables & model.tables.keys()) > 10
    assert not tables & other.tables.keys()
    for form in ("markdown", "html"):
        page = done(cpcds("mapping", "docs", *arguments, "--format", form)).out
        assert (OF_CLAIMS in page) == (model is CLAIMS)
        assert ("insurance_plan" in page) == (model is DIRECTORY)


def test_the_version_of_plan_net_is_that_of_the_settings():
    newer = rows("--directory")
    assert len({row["profile"] for row in newer}) == 9
    assert rows("--directory", CPCDS_PUBLISH__PLAN_NET="1.1.0") not in ([], newer)


def test_a_directory_has_no_view_of_claims():
    called = cpcds("mapping", "docs", "--directory", "--view", "basis")
    assert (called.code, called.sentence) == (
        2,
        "--view is only for claims: leave it out with --directory",
    )
