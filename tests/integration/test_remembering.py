"""Nights that remember: what was not worked on is as if it had been."""

import json
import shutil
from dataclasses import fields, replace
from random import Random

import pyarrow as pa
import pytest

from etl.bootstrap import releases
from etl.columns.digests import hash_ids
from etl.jobs import SingleProcess
from etl.pipeline.incremental.ledger import SCHEMAS
from etl.pipeline.totals import Outcome
from etl.publish.verify import verify
from etl.quality.suites import expectations
from etl.quality.suites.sample import Share
from etl.synth.extract import write_extract
from etl.synth.spec import Spec
from tests.integration.mutated import (
    CHANGES,
    directory,
    members,
    order,
    read_tables,
    write_tables,
)
from tests.integration.nights import delta, full, worked_on

LOOKED_AT = ("facts", "sums", "carried_claims", "explained", "files", "differences")
"""Of a certificate: what is of the members whom a run looked at, and not of the release."""
LOOKED_AT_FILES = ("/index.html", "/certificate.json", "/differences.csv.gz")


@pytest.fixture(scope="session")
def dirty(tmp_path_factory):
    """A small extract with something wrong of every kind."""
    folder = tmp_path_factory.mktemp("dirty") / "extract"
    write_extract(folder, Spec(24, seed=5, fault_rate=0.15))
    for name in ("faults.csv", "manifest.json"):
        (folder / name).unlink()
    return folder


def run_with_and_without_memory(payer, first, second, folder):
    """Run one payer who remembers and one who works on everything; they have to say the same."""
    if not payer.target.exists():
        payer.run(first)
    other = replace(payer, target=folder / "forgetful")
    shutil.rmtree(other.target, ignore_errors=True)
    shutil.copytree(payer.target, other.target)
    payer.run(second)
    with payer.patch.context() as patch:
        patch.setattr("etl.pipeline.incremental.cache.open_cache", lambda *_: None)
        other.run(second)
    assert said(payer) == said(other)
    assert outcome_of(payer) == outcome_of(other)


def said(payer):
    """Return the files of a tree but for memories, whose pieces may be cut otherwise.

    Of reports, without what a certificate says of the members whom this run looked at.
    """
    return {
        name: _but_for_looked_at(data) if name.endswith("/report.json") else data
        for name, data in payer.files().items()
        if not name.startswith("memory/")
        and name not in ("current.json", f"releases/{payer.release.id}/manifest.json")
        and not (name.startswith("reports/") and name.endswith(LOOKED_AT_FILES))
    }


def _but_for_looked_at(report):
    document = json.loads(report)
    if document["certificate"] is not None:
        for name in LOOKED_AT:
            del document["certificate"][name]
    return document


def outcome_of(payer):
    manifest = payer.release.manifest
    reports = [
        one for one in manifest.facts.reports if not one.key.startswith(("memory/", "reports/"))
    ]
    return manifest.release, json.loads(manifest.with_reports(reports).to_bytes())


@pytest.mark.slow
@pytest.mark.parametrize(
    "seed",
    [
        *range(2),
        *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 40)),
    ],
)
def test_a_night_that_remembers_publishes_and_reports_what_one_that_does_not_would(
    payer, dirty, tmp_path, seed
):
    random = Random(seed)
    rows = random.choice([1500, 100_000])
    payer.changed = {
        "run": {"workers": 1, "partition_rows": rows},
        "limits": {"unowned_rows": 1000},
    }
    before, tables = dirty, read_tables(dirty)
    for night in range(2):
        for change in random.sample(CHANGES, random.randrange(len(CHANGES))):
            change(tables, random)
        day = random.choice(["2025-12-31", "2024-06-30", "2026-01-01"])
        after = write_tables(tables, tmp_path / f"night{night}", dirty, day)
        run_with_and_without_memory(payer, before, after, tmp_path)
        assert verify(payer.release).ok


GX_ROWS = 400
"""Rows of the largest file of `dirty` that suites look at: those of one member in eight."""
SUITES = {"report": {"gx_rows": GX_ROWS}}


@pytest.fixture
def suites_run(monkeypatch):
    """Return the tables, in order, whose suites the library is asked to run."""
    ran, plainly = [], expectations.run_suite

    def run(given):
        ran.append(given.suite.table)
        return plainly(given)

    monkeypatch.setattr("etl.pipeline.reporting.suites.run_suite", run)
    return ran


@pytest.mark.slow
def test_a_night_in_which_nobody_of_the_sample_changed_does_not_ask_the_library(
    payer, dirty, tmp_path, monkeypatch, suites_run
):
    payer.changed = {"run": {"workers": 1}, **SUITES}
    tables = read_tables(dirty)
    payer.run(write_tables(tables, tmp_path / "first", dirty, "2026-01-01"))
    suites_run.clear()
    loaded = []
    monkeypatch.setattr(SingleProcess, "begin", lambda _: loaded.append("library"))
    share, ids = Share.at_most(max(map(len, tables.values())), GX_ROWS), list(tables["member"])
    others = [one for one, out in zip(ids, share.includes(hashes(ids)), strict=True) if not out]
    others[-1]["family_name"] = "Other"
    after = write_tables(tables, tmp_path / "after", dirty, "2026-01-01")
    _, known = worked_on(payer, after)
    assert known > 3
    assert payer.release.manifest.counts["changes"]["patients"]["changed"] == 1
    assert not suites_run
    assert not loaded
    docs = {name for name in payer.files() if name.endswith("data-docs/claim.html")}
    assert len(docs) == 2
    for path in (payer.target / "memory").glob("*.suites"):
        path.chmod(0o600)
        path.write_bytes(b"{}")
    others[-1]["family_name"] = "Another"
    payer.run(write_tables(tables, tmp_path / "later", dirty, "2026-01-01"))
    assert len(suites_run) > 5, "what is lost is no memory"
    assert loaded


def hashes(members):
    """Return the hash of each member."""
    return hash_ids(pa.array([each["member_id"] for each in members]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "most"),
    [
        (order, 3),
        (directory, 12),
        (members, 1),
    ],
)
def test_only_those_whom_a_change_concerns_are_worked_on(payer, extracts, tmp_path, change, most):
    first = full(extracts / "full0", 0)
    tables = read_tables(first)
    same = write_tables(tables, tmp_path / "same", first, "2026-01-01")
    payer.run(same)
    change(tables, Random(3))
    after = write_tables(tables, tmp_path / "after", first, "2026-01-01")
    fresh, known = worked_on(payer, after)
    assert fresh <= most
    assert known >= 3


@pytest.mark.slow
def test_another_rule_mapping_or_setting_forgets_everything(payer, extracts):
    payer.begin(full(extracts / "full0", 0))
    payer.changed = {**payer.changed, "payer": {"id": "other"}}
    _, known = worked_on(payer, full(extracts / "full1", 1))
    assert known == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "ending",
    [".ledger", ".json", ".names"],
)
def test_a_memory_that_is_lost_or_damaged_is_no_memory(payer, extracts, ending):
    payer.begin(full(extracts / "full0", 0))
    for path in (payer.target / "memory").glob(f"*{ending}"):
        path.chmod(0o600)
        path.write_bytes(b"{}")
    assert not verify(payer.release).ok
    _, known = worked_on(payer, full(extracts / "full1", 1))
    assert known == 0
    assert verify(payer.release).ok


@pytest.mark.slow
def test_deltas_and_rollbacks_remember_as_well(payer, extracts, tmp_path):
    payer.begin(full(extracts / "full0", 0))
    first = payer.release.id
    payer.run(delta(extracts / "delta1", 1))
    _, known = worked_on(payer, delta(extracts / "delta2", 2))
    assert known > 3
    releases.roll_back(payer.settings, first)
    releases.resume_target(payer.settings)
    run_with_and_without_memory(payer, tmp_path, full(extracts / "full1", 1), tmp_path)


@pytest.mark.slow
def test_a_night_with_one_member_changed_writes_what_is_his_and_what_all_share(
    payer, extracts, tmp_path
):
    payer.changed = {}
    first = full(extracts / "full0", 0)
    tables = read_tables(first)
    payer.run(write_tables(tables, tmp_path / "one", first, "2026-01-01"))
    before = payer.files()
    tables["member"][4]["family_name"] = "Other"
    payer.run(write_tables(tables, tmp_path / "two", first, "2026-01-01"))
    new = [name.partition("/")[0] for name in payer.files().keys() - before.keys()]
    written = {kind: new.count(kind) for kind in {*new} - {"reports", "quarantine"}}
    assert written == {
        "patients": 2,
        "catalog": 1,
        "releases": 1,
        "memory": 5,
        "bulk": 1,
        "publish": 1,
    }


def test_whatever_is_known_of_a_partition_is_remembered_of_its_members():
    told = {"checked", "unmapped", "resources", "elements", "missing"}
    about_the_work = {"reused", "ledger", "rows", "sidecar", "sources"}
    made_every_night = {"members"}  # of all members' rows, unchanged ones included
    assert {one.name for one in fields(Outcome)} == told | about_the_work | made_every_night
    assert all(schema.names[0] == "owner" for schema in SCHEMAS.values())
