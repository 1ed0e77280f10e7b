"""Night after night: readers see a whole release or the one before, whatever happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from etl.bootstrap import opened_extract, use_cases
from etl.errors import StoreError
from etl.local import executor
from etl.pipeline import run as nightly
from etl.pipeline.unit import UnitContext, UnitResult, process_unit
from etl.storage.local import LocalStore
from etl.synth import Spec, write_extract
from tests.e2e.commands import ANY_CHANGE, SAMPLES, Called, contents, cpcds, done

MONDAY = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
CUT = {"CPCDS_RUN__PARTITION_ROWS": "100"}
"""The small extract in several partitions."""


@pytest.fixture(autouse=True)
def _monday(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use_cases, "now", lambda: MONDAY)


def run(extract: Path, target: Path, *more: str, **environment: str) -> Called:
    return cpcds("run", extract, "--to", target, "--workers", "1", *more, **environment)


def release(target: Path) -> str:
    current: dict[str, str] = json.loads((target / "current.json").read_text())
    return current["release"]


def without_reports(target: Path) -> dict[str, str]:
    return {
        name: content
        for name, content in contents(target).items()
        if not name.startswith(("reports/", "quarantine/"))
    }


def test_the_same_extract_again_has_nothing_to_do(small: Path, tmp_path: Path) -> None:
    done(run(small, tmp_path))
    before = contents(tmp_path)
    again = done(run(small, tmp_path))
    assert "nothing to do" in again.out
    assert release(tmp_path) in again.out
    assert contents(tmp_path) == before


def test_nothing_to_do_is_said_in_json_too(small: Path, tmp_path: Path) -> None:
    done(run(small, tmp_path))
    said = json.loads(done(run(small, tmp_path, "--json")).out)
    assert said["published"] is False
    assert said["release"] == release(tmp_path)


def test_nothing_is_left_of_the_work_when_all_went_well(small: Path, tmp_path: Path) -> None:
    done(run(small, tmp_path, **CUT))
    assert not (tmp_path / opened_extract.WORK).exists()
    assert list((tmp_path / ".staging").glob("*")) == []
    assert list(tmp_path.glob("leases/*")) == []


class Power(BaseException):
    """The machine goes down."""


def fail_at(monkeypatch: pytest.MonkeyPatch, number: int) -> list[int]:
    """Let the power fail while a partition's blocks are written; return who has been worked on."""
    worked: list[int] = []

    def failing(context: UnitContext, unit: range, *rest: Any) -> UnitResult | None:
        if unit.start == number:
            raise Power
        worked.append(unit.start)
        return process_unit(context, unit, *rest)

    monkeypatch.setattr(executor, "process_unit", failing)
    return worked


def test_a_run_that_died_goes_on_where_it_was_and_ends_with_the_same_bytes(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(run(small, tmp_path / "undisturbed", **CUT))
    target = tmp_path / "target"
    with monkeypatch.context() as patched:
        first = fail_at(patched, 2)
        with pytest.raises(Power):
            run(small, target, **CUT)
    assert first == [0, 1]
    assert not (target / "current.json").exists()
    with monkeypatch.context() as patched:
        second = fail_at(patched, -1)
        done(run(small, target, **CUT))
    assert not set(first) & set(second)
    assert without_reports(target) == without_reports(tmp_path / "undisturbed")


def test_a_run_that_died_can_be_followed_by_one_of_another_extract(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_extract(tmp_path / "other", Spec(members=3, seed=5))
    done(run(tmp_path / "other", tmp_path / "undisturbed"))
    target = tmp_path / "target"
    with monkeypatch.context() as patched:
        fail_at(patched, 1)
        with pytest.raises(Power):
            run(small, target, **CUT)
    done(run(tmp_path / "other", target))
    seen = json.loads((target / "releases" / release(target) / "manifest.json").read_text())
    whole = json.loads(
        next((tmp_path / "undisturbed").glob("releases/*/manifest.json")).read_text()
    )
    for key in ("counts", "catalog", "directory"):
        if key in whole:
            assert seen[key] == whole[key]


def test_the_pointer_is_written_last(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    for name in ("put", "swap"):
        real: Callable[..., Any] = getattr(LocalStore, name)

        def noted(store: LocalStore, key: str, *rest: Any, real: Callable[..., Any] = real) -> Any:
            written.append(key)
            return real(store, key, *rest)

        monkeypatch.setattr(LocalStore, name, noted)
    done(run(small, tmp_path))
    keys = [key for key in written if not key.startswith("leases/")]
    swapped = keys.index("current.json")
    assert keys[swapped - 1].startswith("releases/")
    # What names the bulk files for other systems changes with the pointer, after it, and so does
    # the page of all reports; the record of the run comes last.
    after = ("$bulk-publish", "publish/", "runs/")
    assert {key for key in keys[swapped + 1 :] if not key.startswith(after)} == {
        "reports/index.html"
    }
    assert keys[-1].startswith("runs/")
    assert {key.partition("/")[0] for key in keys[:swapped]} >= {"patients", "reports", "catalog"}


def test_storage_that_fails_at_the_swap_leaves_readers_on_the_old_release(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(run(small, tmp_path))
    before = (tmp_path / "current.json").read_bytes()
    write_extract(tmp_path.parent / f"{tmp_path.name}-other", Spec(members=3, seed=5))
    other = tmp_path.parent / f"{tmp_path.name}-other"
    real = LocalStore.swap

    def refuse(store: LocalStore, key: str, data: bytes, expected: str | None) -> str:
        if key == "current.json":
            raise StoreError("the storage said no")
        return real(store, key, data, expected)

    with monkeypatch.context() as patched:
        patched.setattr(LocalStore, "swap", refuse)
        called = run(other, tmp_path, **ANY_CHANGE)
    assert called.code == 5
    assert called.sentence == "the storage said no"
    assert (tmp_path / "current.json").read_bytes() == before
    done(run(other, tmp_path, **ANY_CHANGE))
    assert (tmp_path / "current.json").read_bytes() != before


def test_two_runs_at_once_are_one_run_and_one_refusal(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second: list[Called] = []
    real = nightly.run

    def interrupted(*args: Any, **options: Any) -> Any:
        second.append(run(small, tmp_path))
        return real(*args, **options)

    monkeypatch.setattr(use_cases, "run", interrupted)
    done(run(small, tmp_path))
    (refused,) = second
    assert refused.code == 5
    assert "another run is at work on it" in refused.sentence
    assert str(tmp_path) in refused.sentence


# -- limits ------------------------------------------------------------------------------------

STRICT = {"CPCDS_LIMITS__REJECTED_CLAIMS": "0.01"}


def test_a_broken_limit_stops_before_the_swap_and_tells_why(small: Path, tmp_path: Path) -> None:
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


def test_a_limit_that_is_lifted_lets_the_same_extract_through(tmp_path: Path) -> None:
    assert run(SAMPLES / "faulty", tmp_path, **STRICT).code == 4
    assert not (tmp_path / "current.json").exists()
    done(run(SAMPLES / "faulty", tmp_path))
    assert release(tmp_path)


def test_a_limit_on_one_rule_holds_too(tmp_path: Path) -> None:
    Path("cpcds.toml").write_text("[limits.findings]\nnpi = 0\n")
    called = run(SAMPLES / "faulty", tmp_path)
    assert called.code == 4
    assert "npi" in called.sentence


def test_convert_past_a_limit_writes_nothing(tmp_path: Path) -> None:
    called = cpcds(
        *("convert", SAMPLES / "faulty", "--out", tmp_path / "out", "--workers", "1"), **STRICT
    )
    assert called.code == 4
    assert contents(tmp_path / "out") == {}


def test_validate_past_a_limit_still_reports(tmp_path: Path) -> None:
    called = cpcds(
        *("validate", SAMPLES / "faulty", "--report", tmp_path / "r", "--workers", "1"), **STRICT
    )
    assert called.code == 4
    assert (tmp_path / "r" / "report" / "index.html").is_file()
    assert (tmp_path / "r" / "quarantine" / "claim.csv").is_file()
    assert list((tmp_path / "r").glob(".*")) == []


def test_a_severity_of_the_payers_own_is_kept_to(tmp_path: Path) -> None:
    own = done(run(SAMPLES / "faulty", tmp_path / "own", "--json"))
    Path("cpcds.toml").write_text('[rules.severities]\ncoverage-not-in-force = "reject-claim"\n')
    strict = done(run(SAMPLES / "faulty", tmp_path / "strict", "--json"))
    published = [json.loads(one.out)["tables"]["claim"]["published"] for one in (own, strict)]
    assert published[1] < published[0]


# -- the log -----------------------------------------------------------------------------------


def test_the_log_has_a_line_a_step_and_says_how_it_ended(small: Path, tmp_path: Path) -> None:
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
    small: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert "warning: logical ids" in done(run(small, tmp_path)).err
    assert [one.getMessage() for one in caplog.records if one.name == "etl.run"] == []
