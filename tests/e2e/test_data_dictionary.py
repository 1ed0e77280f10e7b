"""`cpcds mapping docs`: the data dictionary of each data model."""

import json

import pytest

from etl.model.data_models import CLAIMS, DATA_MODELS, DIRECTORY
from tests.e2e.commands import cpcds, done

OF_CLAIMS = "Profiles of claims are named without what they all begin with"


def rows(*arguments, **environment):
    return json.loads(done(cpcds("mapping", "docs", *arguments, "--json", **environment)).out)


@pytest.mark.parametrize("model", DATA_MODELS, ids=lambda model: model.name)
def test_tables_and_pages_are_those_of_one_data_model(model):
    arguments = () if model is CLAIMS else ("--model", model.name)
    tables = {row["table"] for row in rows(*arguments)}
    assert len(tables & model.tables.keys()) > 5
    assert not any(tables & other.tables.keys() for other in DATA_MODELS if other is not model)
    for form in ("markdown", "html"):
        page = done(cpcds("mapping", "docs", *arguments, "--format", form)).out
        assert (OF_CLAIMS in page) == (model is CLAIMS)
        assert ("insurance_plan" in page) == (model is DIRECTORY)


def test_the_version_of_plan_net_is_that_of_the_settings():
    newer = rows("--model", "directory")
    assert len({row["profile"] for row in newer}) == 9
    assert rows("--model", "directory", CPCDS_PUBLISH__PLAN_NET="1.1.0") not in ([], newer)


def test_a_directory_has_no_view_of_claims():
    called = cpcds("mapping", "docs", "--model", "directory", "--view", "basis")
    assert (called.code, called.sentence) == (
        2,
        "--view is only for claims: leave it out with --model directory",
    )
