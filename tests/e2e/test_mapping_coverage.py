"""`cpcds mapping coverage`: what a mapping author and an auditor are told."""

import json
from typing import Any

import pytest

from etl.synth import Spec, write_extract
from tests.e2e.commands import SAMPLES, cpcds, done


def told(*arguments):
    found: list[dict[str, Any]] = json.loads(
        done(cpcds("mapping", "coverage", *arguments, "--json")).out
    )
    return found


@pytest.mark.parametrize("view", ["financial", "basis"])
def test_the_samples_produce_all_that_can_be(view):
    found = told(SAMPLES, "--view", view, "--workers", "1")
    assert len(found) == 12
    assert all(one["resources"] for one in found)
    missing = [
        each["element"] for one in found for each in one["elements"] if each["status"] == "could be"
    ]
    assert missing == []


def test_without_rows_it_tells_what_the_mappings_can_produce():
    by_profile = {one["profile"]: one for one in told()}
    assert by_profile["C4BB-Patient"]["counts"]["could be"] == 0
    assert by_profile["C4BB-Patient"]["resources"] is None
    assert by_profile["C4BB-RelatedPerson"]["counts"]["cannot be"] == 2


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


def test_text_and_markdown_say_the_same_numbers():
    text = done(cpcds("mapping", "coverage", "--all")).out
    markdown = done(cpcds("mapping", "coverage", "--format", "markdown")).out
    for one in told():
        assert f"| {one['profile']} | {len(one['elements'])} |" in markdown
        for each in one["elements"]:
            assert each["element"] in text
            assert f"`{each['element']}`" in markdown
