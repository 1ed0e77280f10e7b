"""Night after night: readers see a whole release or the one before, whatever happens."""

import json
import shutil
from datetime import UTC, datetime

import pytest

from etl.bootstrap import opened_extract, use_cases
from tests.e2e.commands import ANY_CHANGE, SAMPLES, contents, cpcds, current_release, done

MONDAY = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
CUT = {"CPCDS_RUN__PARTITION_ROWS": "100"}
"""The small extract in several partitions."""


@pytest.fixture(autouse=True)
def _monday(monkeypatch):
    monkeypatch.setattr(use_cases, "now", lambda: MONDAY)


def run(extract, target, *more, **environment):
    return cpcds("run", extract, "--to", target, "--workers", "1", *more, **environment)


@pytest.fixture(scope="module")
def first_night(small, tmp_path_factory):
    """The small extract, published once: `tree` and `night.log`."""
    folder = tmp_path_factory.mktemp("first-night")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(use_cases, "now", lambda: MONDAY)
        done(run(small, folder / "tree", "--log", folder / "night.log", **CUT))
    return folder


@pytest.fixture
def target(first_night, tmp_path):
    """A target of one night, to be changed."""
    return shutil.copytree(first_night / "tree", tmp_path / "tree")


def test_the_same_extract_again_has_nothing_to_do(small, target, tmp_path):
    before = contents(target)
    again = done(run(small, target, "--log", tmp_path / "night.log"))
    assert "nothing to do" in again.out
    assert current_release(target) in again.out
    assert contents(target) == before
    assert "nothing to do" in (tmp_path / "night.log").read_text().splitlines()[-1]


def test_nothing_is_left_of_the_work_when_all_went_well(first_night):
    tree = first_night / "tree"
    assert not (tree / opened_extract.WORK).exists()
    assert list((tree / ".staging").glob("*")) == []
    assert list(tree.glob("leases/*")) == []


# -- limits ------------------------------------------------------------------------------------

STRICT = {"CPCDS_LIMITS__REJECTED_CLAIMS": "0.01"}


@pytest.mark.slow
def test_a_broken_limit_stops_before_the_swap_and_tells_why(target, tmp_path):
    before, log = (target / "current.json").read_bytes(), tmp_path / "night.log"
    called = run(SAMPLES / "faulty", target, "--log", log, **ANY_CHANGE, **STRICT)
    assert called.code == 4
    assert "1 %" in called.sentence
    assert "stopped, exit 4" in log.read_text().splitlines()[-1]
    assert (target / "current.json").read_bytes() == before
    reports = [json.loads(path.read_text()) for path in target.glob("reports/*/report.json")]
    (stopped,) = [one for one in reports if not one["published"]]
    assert stopped["stopped"] is True
    assert stopped["release"] is None
    assert [one["holds"] for one in stopped["limits"]].count(False) == 1
    assert list(target.glob(f"quarantine/{stopped['run']}/claim.csv"))


def test_convert_past_a_limit_writes_nothing(tmp_path):
    called = cpcds(
        *("convert", SAMPLES / "faulty", "--out", tmp_path / "out", "--workers", "1"), **STRICT
    )
    assert called.code == 4
    assert contents(tmp_path / "out") == {}


@pytest.mark.slow
def test_validate_past_a_limit_still_reports(tmp_path):
    called = cpcds(
        *("validate", SAMPLES / "faulty", "--report", tmp_path / "r", "--workers", "1"), **STRICT
    )
    assert called.code == 4
    assert (tmp_path / "r" / "report" / "index.html").is_file()
    assert (tmp_path / "r" / "quarantine" / "claim.csv").is_file()
    assert list((tmp_path / "r").glob(".*")) == []


# -- the log -----------------------------------------------------------------------------------


def test_what_the_command_says_itself_is_not_said_again_as_a_line_of_the_log(small, target, caplog):
    assert "warning: logical IDs" in done(run(small, target)).err
    assert [one.getMessage() for one in caplog.records if one.name == "etl.run"] == []
