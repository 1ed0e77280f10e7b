"""`cpcds mapping coverage`: what a mapping author and an auditor are told."""

import json

import pytest

from etl.synth import Spec, write_extract
from tests.e2e.commands import SAMPLES, cpcds, done


def told(*arguments):
    return json.loads(done(cpcds("mapping", "coverage", *arguments, "--json")).out)


@pytest.mark.parametrize("view", ["financial", "basis"])
def test_the_samples_produce_all_that_can_be(view):
    found = told(SAMPLES, "--view", view, "--workers", "1")
    assert len(found) == 13
    assert all(one["resources"] for one in found)
    missing = [
        each["element"] for one in found for each in one["elements"] if each["status"] == "could be"
    ]
    assert missing == []


@pytest.mark.slow
def test_rows_that_fill_less_are_told_so_with_the_columns(tmp_path):
    write_extract(tmp_path / "in", Spec(members=1, seed=5))
    arguments = (tmp_path / "in", "--workers", "1")
    (compound,) = (
        each
        for one in told(*arguments)
        if one["profile"] == "C4BB-ExplanationOfBenefit-Pharmacy"
        for each in one["elements"]
        if each["element"] == "ExplanationOfBenefit.item.detail.productOrService"
    )
    assert compound["status"] == "could be"
    assert compound["resources"] == 0
    assert "claim_ingredient.ndc" in compound["reason"]
    assert compound["reason"] in done(cpcds("mapping", "coverage", *arguments)).out
