"""A delivery that lost its claims, or most of them, is not published over the release before."""

import json
import shutil
from pathlib import Path

import pytest

from etl.synth import Spec, write_extract
from tests.e2e.commands import (
    ANY_CHANGE,
    contents,
    copied,
    cpcds,
    current_release,
    done,
    rows_of,
    write_rows,
)


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
    assert len(said["broken_limits"]) == 5


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


@pytest.mark.slow
def test_a_run_stops_by_default_if_more_than_half_is_rejected_and_others_name_the_causes(
    extract, tmp_path
):
    copy = copied(extract, tmp_path / "unknown")
    claims = rows_of(copy / "claim.csv")
    most = len(claims) * 3 // 5
    unknown = [claim | {"claim_type": "sorcery"} for claim in claims[:most]]
    write_rows(copy / "claim.csv", claims[0], unknown + claims[most:])
    called = run(copy, tmp_path / "tree")
    assert (called.code, f"{most} of " in called.sentence) == (4, True)
    assert f"First causes: claim-type-unknown ({most} claims, " in called.sentence
    for more in (("validate", "--report"), ("convert", "--out")):
        command = (more[0], copy, "--workers", "1", more[1])
        text = done(cpcds(*command, tmp_path / more[0])).out
        assert f"{most} of {len(claims)} claims are in quarantine" in text
        assert f"{most} of them because of claim-type-unknown" in text
        said = json.loads(done(cpcds(*command, tmp_path / "json", "--json")).out)["rejected"]
        assert sum(one["claims"] for one in said["causes"]) == said["claims"] == most
        assert said["advice"][0].startswith(f"{most} of ")
