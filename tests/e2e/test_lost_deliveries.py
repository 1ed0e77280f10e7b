"""A delivery that lost its claims, or most of them, is not published over the release before."""

import json
import re
import shutil
from pathlib import Path

import pytest

from etl.synth import Spec, write_extract
from tests.e2e.commands import ANY_CHANGE, contents, copied, cpcds, current_release, done, rows_of


@pytest.fixture(scope="module")
def extract(tmp_path_factory):
    """A clean extract, big enough that a claim type is more than a claim."""
    folder = tmp_path_factory.mktemp("delivery") / "extract"
    write_extract(folder, Spec(members=12, seed=3))
    (folder / "manifest.json").unlink()
    return folder


@pytest.fixture(scope="module")
def published(extract, tmp_path_factory):
    """It, published."""
    target = tmp_path_factory.mktemp("published") / "target"
    done(run(extract, target))
    return target


@pytest.fixture
def target(published, tmp_path):
    """The same target, for one test."""
    return shutil.copytree(published, tmp_path / "target")


def run(extract, target, *more, **environment):
    return cpcds("run", extract, "--to", target, "--workers", "1", *more, **environment)


def header_only(extract, folder):
    """Return a copy whose claim files hold nothing but their headers."""
    copy = copied(extract, folder)
    for path in copy.glob("claim*.csv"):
        path.write_text(path.read_text().splitlines()[0] + "\n")
    return copy


@pytest.mark.slow
def test_a_claim_file_cut_to_a_third_stops_the_run(extract, target, tmp_path):
    cut = copied(extract, tmp_path / "cut")
    lines = (cut / "claim.csv").read_text().splitlines(keepends=True)
    (cut / "claim.csv").write_text("".join(lines[: len(lines) // 3]))
    before, log = current_release(target), tmp_path / "night.log"
    called = run(cut, target, "--log", log)
    assert called.code == 4
    assert current_release(target) == before
    assert f"claim rows, after {len(lines) - 1} in the previous release" in called.sentence
    assert "CPCDS_LIMITS__FEWER_CLAIMS=0.67" in called.sentence
    assert "In addition, rows were rejected. First causes: " in called.sentence
    (page,) = (one for one in target.glob("reports/*/index.html") if before not in str(one))
    assert f"report: {page}" in called.out
    assert "orphan-claim" in called.out
    last = log.read_text().splitlines()[-1]
    for text in (called.sentence, last):
        assert str(page) in text
        assert "First causes: orphan-claim (0 claims," in text


def test_claim_files_of_headers_alone_stop_the_run_and_its_plan(extract, target, tmp_path):
    empty, before = header_only(extract, tmp_path / "empty"), contents(target)
    planned = run(empty, target, "--dry-run", "--json")
    assert planned.code == 4
    assert contents(target) == before
    limits = {one["limit"]: one for one in json.loads(planned.out)["limits"]}
    assert {name for name, one in limits.items() if not one["holds"]} == {
        "fewer_rows", "fewer_claims", "money_change", "retracted_claims", "retracted_resources",
    }  # fmt: skip
    assert limits["retracted_claims"]["found"] == "100 %"
    release = current_release(target)
    stopped = run(empty, target, "--json")
    assert stopped.code == 4
    assert current_release(target) == release
    said = json.loads(stopped.out)
    assert said["published"] is False
    assert Path(said["report"]).is_file()
    assert len(said["broken_limits"]) == 3


def test_a_change_that_is_meant_gets_through_by_the_settings_that_the_refusal_names(
    extract, target, tmp_path
):
    claims = len(rows_of(extract / "claim.csv"))
    called = done(run(header_only(extract, tmp_path / "empty"), target, **ANY_CHANGE))
    assert re.search(rf"^retracted: .*ExplanationOfBenefit {claims}\b", called.out, re.MULTILINE)


@pytest.mark.slow
def test_after_a_rollback_a_delivery_is_compared_with_what_was_gone_back_to(
    extract, target, tmp_path
):
    copy = copied(extract, tmp_path / "copy")
    (copy / "claim_care_team.csv").unlink()
    before = current_release(target)
    done(run(copy, target, **ANY_CHANGE))
    done(cpcds("rollback", target, before))
    called = run(copy, target, "--after-rollback")
    assert called.code == 4
    assert "0 claim_care_team rows, after" in called.sentence


# -- nearly everything is rejected --------------------------------------------------------------


@pytest.fixture
def unknown_types(extract, tmp_path):
    """An extract most of whose claims are of an unknown type, and how many these are."""
    copy = copied(extract, tmp_path / "unknown")
    header, *rows = (copy / "claim.csv").read_text().splitlines()
    at = header.split(",").index("claim_type")
    most = len(rows) * 3 // 5
    for number in range(most):
        cells = rows[number].split(",")
        rows[number] = ",".join([*cells[:at], "sorcery", *cells[at + 1 :]])
    (copy / "claim.csv").write_text("\n".join([header, *rows]) + "\n")
    return copy, most


@pytest.mark.slow
def test_a_run_that_would_reject_more_than_half_of_the_claims_stops_by_default(
    unknown_types, tmp_path
):
    copy, most = unknown_types
    called = run(copy, tmp_path / "t")
    assert called.code == 4
    assert f"{most} of " in called.sentence
    assert f"First causes: claim-type-unknown ({most} claims, " in called.sentence
    done(run(copy, tmp_path / "t", CPCDS_LIMITS__REJECTED_CLAIMS="1"))


@pytest.mark.slow
def test_validate_and_convert_have_no_limit_by_default_and_name_the_causes(unknown_types, tmp_path):
    copy, most = unknown_types
    for more in (("validate", "--report"), ("convert", "--out")):
        command = (more[0], copy, "--workers", "1", more[1])
        text = done(cpcds(*command, tmp_path / more[0])).out
        assert f"{most} of {len(rows_of(copy / 'claim.csv'))} claims are in quarantine" in text
        assert f"{most} of them because of claim-type-unknown" in text
        said = json.loads(done(cpcds(*command, tmp_path / "json", "--json")).out)["rejected"]
        assert sum(one["claims"] for one in said["causes"]) == said["claims"] == most
        assert said["advice"][0].startswith(f"{most} of ")
