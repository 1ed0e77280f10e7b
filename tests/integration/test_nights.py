"""Whole runs on a folder: dry runs, what is loaded when, work folders."""

import shutil
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from etl.bootstrap import opened_extract, use_cases
from etl.jobs import SingleProcess
from etl.pipeline.progress import StageBegan, ignore
from etl.pipeline.reporting.report_files import LimitBroken
from etl.publish.canonical_json import instant
from etl.publish.manifest import Changes
from etl.publish.run_reports import latest_report
from etl.publish.verify import verify
from etl.storage.local import LocalStore
from tests.e2e.commands import rows_of, write_rows
from tests.fault.faulty import Killed
from tests.integration.nights import MEMBERS, delta, full


@pytest.mark.slow
def test_a_dry_run_writes_nothing_and_tells_what_the_run_then_does(payer, extracts):
    nothing = use_cases.plan_extract(payer.settings, full(extracts / "full0", 0), ignore)
    assert not payer.target.exists()
    assert nothing.changes.patients.added == MEMBERS
    payer.begin(full(extracts / "full0", 0))
    before = payer.files()
    for extract in (full(extracts / "full1", 1), delta(extracts / "delta1", 1)):
        planned = use_cases.plan_extract(payer.settings, extract, ignore)
        assert payer.files() == before
        one = replace(payer, target=payer.target.with_name(extract.name))
        one.run(full(extracts / "full0", 0))
        one.run(extract)
        manifest = one.release.manifest
        assert planned.changes.to_json() == manifest.counts["changes"]
        assert planned.manifest.counts == manifest.counts
        assert planned.money
        assert planned.manifest.facts.totals == manifest.facts.totals
        assert Changes.from_json(manifest.counts["changes"]).patients.touched


@pytest.mark.parametrize("earlier", [0, 3600])
def test_a_stopped_run_is_the_latest_even_if_the_clock_stood_or_went_back(
    payer, extracts, tmp_path, earlier
):
    whole, unreadable = full(extracts / "full0", 0), tmp_path / "unreadable"
    payer.begin(whole)
    shutil.copytree(whole, unreadable)
    (unreadable / "manifest.json").unlink()
    rows = rows_of(unreadable / "claim.csv")
    write_rows(
        unreadable / "claim.csv", list(rows[0]), [row | {"amount_submitted": "ten"} for row in rows]
    )
    payer.at = instant(payer.release.manifest.created) - timedelta(days=1, seconds=earlier)
    with pytest.raises(LimitBroken) as stopped:
        payer.run(unreadable)
    latest = latest_report(LocalStore(payer.target))
    assert latest["release"] is None
    assert latest["run"] in stopped.value.page
    assert latest["run"] > payer.release.id


class DefinitionsError(Exception):
    """A run is not to go further than where its definitions are loaded."""


@pytest.mark.slow
def test_what_suites_need_is_loaded_beside_a_first_run_from_its_begin(payer, extracts, monkeypatch):
    extract, steps = full(extracts / "full0", 0), list[str]()

    def loading(*_):
        steps.append("definitions")
        raise DefinitionsError

    def begun(**changed):
        steps.clear()
        with monkeypatch.context() as patch, suppress(DefinitionsError):
            patch.setattr(SingleProcess, "begin", lambda _: steps.append("suites"))
            patch.setattr(opened_extract, "load_definitions", loading)
            payer.changed = {"run": {"workers": 1}, **changed}
            use_cases.run_extract(payer.settings, extract, ignore)
        return steps

    assert begun(report={"gx_rows": 400}) == ["suites", "definitions"]
    assert begun(report={"gx_rows": 0}) == ["definitions"]
    payer.changed = {}
    payer.run(extract)
    assert begun(report={"gx_rows": 400}) == ["definitions"], "it is known later which are due"


@pytest.mark.slow
def test_work_for_one_target_or_release_is_not_taken_for_another(payer, extracts, tmp_path):
    payer.changed = {**payer.changed, "run": {"workers": 1, "work": tmp_path / "work"}}
    (tmp_path / "work").mkdir()
    mine = tmp_path / "work" / "mine.txt"
    mine.write_text("not the program's")

    def die(event):
        if isinstance(event, StageBegan) and event.stage == "publish":
            raise Killed  # all blocks are written, the catalog is not

    with pytest.raises(Killed):
        payer.run(full(extracts / "full0", 0), emit=die)
    other = replace(payer, target=tmp_path / "other")
    other.run(full(extracts / "full0", 0))
    assert verify(other.release).ok
    assert mine.exists()
