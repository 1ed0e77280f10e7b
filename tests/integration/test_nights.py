"""Whole runs on a folder: dry runs, limits, going on after a death, races, cost of a night."""

import csv
import json
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from etl.bootstrap import opened_extract, use_cases
from etl.jobs import SingleProcess
from etl.pipeline.progress import ignore
from etl.publish.manifest import Changes
from etl.publish.reader import read_all
from etl.publish.verify import verify
from tests.fault.faulty import Killed
from tests.integration.nights import MEMBERS, Budget, delta, full


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
@pytest.mark.parametrize("share", [0.0, 0.4, 0.9, 1.0])
def test_a_run_that_died_is_finished_by_the_next_to_the_same_bytes(
    payer, extracts, tmp_path, share
):
    undisturbed = replace(payer, target=tmp_path / "undisturbed")
    for one in (undisturbed, payer):
        one.begin(full(extracts / "full0", 0))
    before = payer.release.id
    count = Budget(10**9)
    undisturbed.run(delta(extracts / "delta1", 1), count)
    used = 10**9 - count.left
    assert used > 20
    with pytest.raises(Killed):
        payer.run(delta(extracts / "delta1", 1), Budget(2 + int(share * (used - 3))))
    assert payer.release.id in (before, undisturbed.release.id)
    # A run that died after its commit left pages to the next.
    left = verify(payer.release).problems
    assert all(one.kind == "missing" and one.key.startswith("publish/") for one in left)
    payer.at += timedelta(hours=1) - timedelta(days=1)
    payer.run(delta(extracts / "delta1", 1))
    assert payer.files() == undisturbed.files()


@pytest.mark.slow
def test_work_for_one_target_or_release_is_not_taken_for_another(payer, extracts, tmp_path):
    payer.changed = {**payer.changed, "run": {"workers": 1, "work": tmp_path / "work"}}
    (tmp_path / "work").mkdir()
    mine = tmp_path / "work" / "mine.txt"
    mine.write_text("not the program's")
    with pytest.raises(Killed):  # all blocks are written, the catalog is not
        payer.run(full(extracts / "full0", 0), Budget(60))
    other = replace(payer, target=tmp_path / "other")
    other.run(full(extracts / "full0", 0))
    assert verify(other.release).ok
    assert mine.exists()


def test_the_manifest_states_the_money_of_the_claims_that_stand(payer, extracts):
    payer.begin(full(extracts / "full0", 0))
    standing = {
        eob["identifier"][0]["value"]
        for unit in payer.release.all_units()
        for line in read_all(payer.release.store, payer.release.index(unit))
        if (eob := json.loads(line))["resourceType"] == "ExplanationOfBenefit"
        and eob["status"] == "active"
    }
    header, *rows = (extracts / "full0" / "claim.csv").read_text(encoding="utf-8").splitlines()
    totals = {}
    for row in csv.DictReader(rows, header.split(",")):
        if row["claim_id"] in standing:
            amount = Decimal(row["amount_submitted"] or 0)
            totals[row["claim_type"]] = totals.get(row["claim_type"], Decimal()) + amount
    stated = payer.release.manifest.facts.totals
    assert {kind: stated[kind]["claim.submitted"] for kind in totals} == {
        kind: str(total) for kind, total in totals.items()
    }
