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
KEPT = {**ANY_CHANGE, "CPCDS_PUBLISH__DELTAS": "true"}
MONTH = {"CPCDS_RETENTION__QUARANTINE_DAYS": "30"}


def publish_nights(folder, monkeypatch, *moments):
    """Publish a night at each moment; return what the runs warned of. Now is long after them."""
    warned = []
    for day, moment in enumerate(moments):
        monkeypatch.setattr(use_cases, "now", lambda moment=moment: moment)
        write_extract(folder / f"day{day}", replace(SPEC, day=day))
        ran = done(cpcds("run", folder / f"day{day}", "--to", folder / "tree", **KEPT))
        warned.append(ran.err)
    # Files have the time of this machine, which is later than what the runs were given.
    later = max(datetime.now(UTC) + timedelta(days=2), BEGAN + timedelta(days=90))
    monkeypatch.setattr(use_cases, "now", lambda: later)
    return warned


def runs(tree, folder):
    return sorted(path.name for path in (tree / folder).iterdir() if path.is_dir())


def runs_in_quarantine(tree):
    folder = tree / "quarantine"
    return sorted({path.relative_to(folder).parts[0] for path in folder.rglob("*.csv")})


def test_quarantines_and_reports_go_when_they_are_old_and_their_releases_stay(
    tmp_path, monkeypatch
):
    tree, prune = tmp_path / "tree", ("prune", tmp_path / "tree", "--keep", "9")
    publish_nights(tmp_path, monkeypatch, *(BEGAN + timedelta(days=day) for day in (0, 40, 80)))
    releases = runs(tree, "releases")
    assert runs_in_quarantine(tree) == releases
    before = contents(tree)
    done(cpcds(*prune))  # an object of a kind that no release names would be lost
    assert contents(tree).keys() == before.keys()
    before = contents(tree)
    assert json.loads(done(cpcds(*prune, "--dry-run", "--json", **MONTH)).out)["objects"] > 0
    assert contents(tree) == before
    done(cpcds(*prune, **MONTH))
    assert runs_in_quarantine(tree) == releases[-1:]
    for release in releases:
        assert (tree / "reports" / release / "index.html").is_file()
        done(cpcds("verify", tree, "--release", release))
    # What is left of an expired run is checked all the same.
    report = tree / "reports" / releases[0] / "report.json"
    report.write_bytes(report.read_bytes() + b" ")
    assert cpcds("verify", tree, "--release", releases[0]).code == 5
    done(cpcds(*prune, CPCDS_RETENTION__REPORT_DAYS="30", **MONTH))
    assert not report.exists()
    done(cpcds("rollback", tree, releases[0]))
    done(cpcds("verify", tree))


def test_after_a_clock_that_was_ahead_quarantines_go_by_the_time_of_their_runs(
    tmp_path, monkeypatch
):
    """Ids go on from the id of the release that was dated 2099, and say nothing of when."""
    tree, moments = tmp_path / "tree", (BEGAN.replace(year=2099), BEGAN, BEGAN + timedelta(days=1))
    warned = publish_nights(tmp_path, monkeypatch, *moments)
    says = "is dated 2099-01-01T02:00:00Z, which is later than"
    assert [says in text for text in warned] == [False, True, False]
    ahead, first, last = runs(tree, "releases")
    assert first.startswith("20990101T020001Z")
    done(cpcds("prune", tree, "--keep", "9", **MONTH))
    assert runs_in_quarantine(tree) == [ahead, last]
    for release in (ahead, first, last):
        done(cpcds("verify", tree, "--release", release))
