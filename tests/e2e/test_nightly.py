"""Night after night: readers see a whole release or the one before, whatever happens."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etl.bootstrap import opened_extract, use_cases
from tests.e2e.commands import ANY_CHANGE, SAMPLES, contents, cpcds, done

MONDAY = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
CUT = {"CPCDS_RUN__PARTITION_ROWS": "100"}
"""The small extract in several partitions."""


@pytest.fixture(autouse=True)
def _monday(monkeypatch):
    monkeypatch.setattr(use_cases, "now", lambda: MONDAY)


def run(extract, target, *more, **environment):
    return cpcds("run", extract, "--to", target, "--workers", "1", *more, **environment)


def release(target):
    current: dict[str, str] = json.loads((target / "current.json").read_text())
    return current["release"]


def test_the_same_extract_again_has_nothing_to_do(small, tmp_path):
    done(run(small, tmp_path))
    before = contents(tmp_path)
    again = done(run(small, tmp_path))
    assert "nothing to do" in again.out
    assert release(tmp_path) in again.out
    assert contents(tmp_path) == before


def test_nothing_to_do_is_said_in_json_too(small, tmp_path):
    done(run(small, tmp_path))
    said = json.loads(done(run(small, tmp_path, "--json")).out)
    assert said["published"] is False
    assert said["release"] == release(tmp_path)


def test_nothing_is_left_of_the_work_when_all_went_well(small, tmp_path):
    done(run(small, tmp_path, **CUT))
    assert not (tmp_path / opened_extract.WORK).exists()
    assert list((tmp_path / ".staging").glob("*")) == []
    assert list(tmp_path.glob("leases/*")) == []


# -- limits ------------------------------------------------------------------------------------

STRICT = {"CPCDS_LIMITS__REJECTED_CLAIMS": "0.01"}


def test_a_broken_limit_stops_before_the_swap_and_tells_why(small, tmp_path):
    done(run(small, tmp_path))
    before = (tmp_path / "current.json").read_bytes()
    called = run(SAMPLES / "faulty", tmp_path, **ANY_CHANGE, **STRICT)
    assert called.code == 4
    assert "1 %" in called.sentence
    assert (tmp_path / "current.json").read_bytes() == before
    reports = [json.loads(path.read_text()) for path in tmp_path.glob("reports/*/report.json")]
    (stopped,) = [one for one in reports if not one["published"]]
    assert stopped["stopped"] is True
    assert stopped["release"] is None
    assert [one["holds"] for one in stopped["limits"]].count(False) == 1
    assert list(tmp_path.glob(f"quarantine/{stopped['run']}/claim.csv"))


def test_a_limit_on_one_rule_holds_too(tmp_path):
    Path("cpcds.toml").write_text("[limits.findings]\nnpi = 0\n")
    called = run(SAMPLES / "faulty", tmp_path)
    assert called.code == 4
    assert "npi" in called.sentence


def test_convert_past_a_limit_writes_nothing(tmp_path):
    called = cpcds(
        *("convert", SAMPLES / "faulty", "--out", tmp_path / "out", "--workers", "1"), **STRICT
    )
    assert called.code == 4
    assert contents(tmp_path / "out") == {}


def test_validate_past_a_limit_still_reports(tmp_path):
    called = cpcds(
        *("validate", SAMPLES / "faulty", "--report", tmp_path / "r", "--workers", "1"), **STRICT
    )
    assert called.code == 4
    assert (tmp_path / "r" / "report" / "index.html").is_file()
    assert (tmp_path / "r" / "quarantine" / "claim.csv").is_file()
    assert list((tmp_path / "r").glob(".*")) == []


def test_a_severity_of_the_payers_own_is_kept_to(tmp_path):
    own = done(run(SAMPLES / "faulty", tmp_path / "own", "--json"))
    Path("cpcds.toml").write_text('[rules.severities]\ncoverage-not-in-force = "reject-claim"\n')
    strict = done(run(SAMPLES / "faulty", tmp_path / "strict", "--json"))
    published = [json.loads(one.out)["tables"]["claim"]["published"] for one in (own, strict)]
    assert published[1] < published[0]


# -- the log -----------------------------------------------------------------------------------


def test_the_log_has_a_line_a_step_and_says_how_it_ended(small, tmp_path):
    log = tmp_path / "night.log"
    done(run(small, tmp_path / "t", "--log", str(log)))
    lines = log.read_text().splitlines()
    assert len(lines) > 4
    assert lines[-1].endswith(f"published release {release(tmp_path / 't')}")
    done(run(small, tmp_path / "t", "--log", str(log)))
    assert "nothing to do" in log.read_text().splitlines()[-1]
    assert run(SAMPLES / "faulty", tmp_path / "t", "--log", str(log), **STRICT).code == 4
    assert "stopped, exit 4" in log.read_text().splitlines()[-1]


def test_what_the_command_says_itself_is_not_said_again_as_a_line_of_the_log(
    small, tmp_path, caplog
):
    assert "warning: logical ids" in done(run(small, tmp_path)).err
    assert [one.getMessage() for one in caplog.records if one.name == "etl.run"] == []
