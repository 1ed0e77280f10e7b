"""Retention: reports and quarantines go before their releases, and nothing misses them."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from etl.bootstrap import use_cases
from etl.synth import Spec, write_extract
from tests.e2e.commands import ANY_CHANGE, contents, cpcds, done

pytestmark = pytest.mark.slow

BEGAN = datetime(2026, 1, 1, 2, tzinfo=UTC)
SPEC = Spec(8, seed=3, since=date(2024, 1, 1), change_rate=0.5, fault_rate=0.3)
MONTH = {"CPCDS_RETENTION__QUARANTINE_DAYS": "30"}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A target of three nights, forty days apart; by the clock it is the day after the last."""
    for day in (0, 1, 2):
        moment = BEGAN + timedelta(days=40 * day)
        monkeypatch.setattr(use_cases, "now", lambda moment=moment: moment)
        spec = replace(SPEC, day=day)
        write_extract(tmp_path / f"day{day}", spec)
        done(cpcds("run", tmp_path / f"day{day}", "--to", tmp_path / "tree", **ANY_CHANGE))
    # Files have the time of this machine, which is later than what the runs were given.
    later = datetime.now(UTC) + timedelta(days=2)
    monkeypatch.setattr(use_cases, "now", lambda: max(later, BEGAN + timedelta(days=81)))
    return tmp_path / "tree"


def runs(tree, folder):
    return sorted(path.name for path in (tree / folder).iterdir() if path.is_dir())


def test_quarantines_go_when_they_are_old_and_their_releases_stay(tree):
    releases = runs(tree, "releases")
    assert runs(tree, "quarantine") == releases
    before = contents(tree)
    said = json.loads(done(cpcds("prune", tree, "--keep", "9", "--dry-run", "--json", **MONTH)).out)
    assert said["objects"] > 0
    assert contents(tree) == before
    done(cpcds("prune", tree, "--keep", "9", **MONTH))
    left = [path for path in (tree / "quarantine").rglob("*") if path.is_file()]
    assert {path.relative_to(tree / "quarantine").parts[0] for path in left} == {releases[-1]}
    assert runs(tree, "releases") == releases
    for release in releases:
        assert (tree / "reports" / release / "index.html").is_file()
        done(cpcds("verify", tree, "--release", release))


def test_after_a_clock_that_was_ahead_quarantines_go_by_the_time_of_their_runs(
    tmp_path, monkeypatch
):
    """Ids go on from the id of the release that was dated 2099, and say nothing of when."""
    tree, warned = tmp_path / "tree", []
    for day, moment in enumerate((BEGAN.replace(year=2099), BEGAN, BEGAN + timedelta(days=1))):
        monkeypatch.setattr(use_cases, "now", lambda moment=moment: moment)
        spec = replace(SPEC, day=day)
        write_extract(tmp_path / f"day{day}", spec)
        ran = done(cpcds("run", tmp_path / f"day{day}", "--to", tree, **ANY_CHANGE))
        warned.append("is dated 2099-01-01T02:00:00Z, which is later than" in ran.err)
    assert warned == [False, True, False]
    ahead, first, last = runs(tree, "releases")
    assert first.startswith("20990101T020001Z")
    later = datetime.now(UTC) + timedelta(days=2)
    monkeypatch.setattr(use_cases, "now", lambda: max(later, BEGAN + timedelta(days=90)))
    done(cpcds("prune", tree, "--keep", "9", **MONTH))
    left = [path for path in (tree / "quarantine").rglob("*") if path.is_file()]
    assert {path.relative_to(tree / "quarantine").parts[0] for path in left} == {ahead, last}
    for release in (ahead, first, last):
        done(cpcds("verify", tree, "--release", release))


def test_a_release_with_an_expired_report_can_be_gone_back_to(tree):
    oldest = runs(tree, "releases")[0]
    done(cpcds("prune", tree, "--keep", "9", CPCDS_RETENTION__REPORT_DAYS="30", **MONTH))
    assert not (tree / "reports" / oldest / "report.json").exists()
    done(cpcds("rollback", tree, oldest))
    done(cpcds("verify", tree))


def test_what_is_there_of_an_expired_run_is_checked_all_the_same(tree):
    newest, oldest = runs(tree, "releases")[-1], runs(tree, "releases")[0]
    done(cpcds("prune", tree, "--keep", "9", **MONTH))
    damaged = tree / "reports" / oldest / "report.json"
    damaged.write_bytes(damaged.read_bytes() + b" ")
    assert cpcds("verify", tree, "--release", oldest).code == 5
    done(cpcds("verify", tree, "--release", newest))
