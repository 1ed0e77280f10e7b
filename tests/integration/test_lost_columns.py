"""A source that changes overnight: columns that vanish, dates in another format, older times."""

import json
from datetime import timedelta

import pytest

from etl.errors import DataRejected
from tests.integration.mutated import read_tables, write_tables
from tests.integration.nights import Payer, full


@pytest.fixture(scope="module")
def extract(tmp_path_factory):
    return full(tmp_path_factory.mktemp("nights") / "first", 0)


@pytest.fixture
def payer(extract, tmp_path, monkeypatch):
    payer = Payer(tmp_path / "target", monkeypatch, {"limits": {"lost_columns": 0}})
    payer.begin(extract)
    return payer


def changed(extract, folder, change):
    """Write an extract with rows of another one, changed."""
    tables = read_tables(extract)
    for name, rows in tables.items():
        for row in rows:
            change(name, row)
    return write_tables(tables, folder, extract, "2026-01-01")


def without_paid_dates(name, row):
    if name == "claim":
        row["paid_date"] = ""


def with_american_dates(name, row):
    if name == "claim" and row["paid_date"]:
        year, month, day = row["paid_date"].split("-")
        row["paid_date"] = f"{month}/{day}/{year}"


@pytest.mark.parametrize("change", [without_paid_dates, with_american_dates])
def test_a_column_lost_overnight_stops_the_run_and_is_named(change, payer, extract, tmp_path):
    before = payer.release.id
    with pytest.raises(DataRejected, match=r"claim\.csv: column paid_date of claim is empty"):
        payer.run(changed(extract, tmp_path / "second", change))
    assert payer.release.id == before
    (path,) = payer.target.glob(f"reports/*{payer.at:%Y%m%d}*/report.json")
    report = json.loads(path.read_text())
    (broken,) = [limit for limit in report["limits"] if not limit["holds"]]
    assert (broken["limit"], broken["found"], len(broken["details"])) == ("lost_columns", "1", 1)
    cells = {(each["table"], each["column"]): each for each in report["completeness"]}
    lost = cells["claim", "paid_date"]
    assert lost["filled"] == 0
    assert lost["previous"]["filled"] > 0


def test_a_lost_column_can_be_allowed_for_one_run(payer, extract, tmp_path):
    before = payer.release.id
    payer.changed = {"limits": {"lost_columns": 1}}
    payer.run(changed(extract, tmp_path / "second", without_paid_dates))
    assert payer.release.id != before
    payer.changed = {"limits": {"lost_columns": 0}}
    payer.run(changed(extract, tmp_path / "third", lambda name, row: None))


def test_the_first_night_and_the_same_night_again_lose_nothing(payer, extract, tmp_path):
    payer.run(changed(extract, tmp_path / "second", lambda name, row: None))
    report = json.loads(payer.files()[f"reports/{payer.release.id}/report.json"])
    assert not report["stopped"]


@pytest.mark.parametrize(("days", "is_told"), [(-1, True), (0, True), (1, False)])
def test_content_that_changed_without_a_later_time_is_told(days, is_told, payer, extract, tmp_path):
    """Apps that search by `_lastUpdated` miss such a change."""
    claim = next(row["claim_id"] for row in read_tables(extract)["claim"] if row["last_updated"])

    def correct(name, row):
        if name == "claim" and row["claim_id"] == claim:
            day = row["last_updated"][:10]
            moved = (payer.at.fromisoformat(day) + timedelta(days=days)).date().isoformat()
            row["last_updated"] = moved + row["last_updated"][10:]
            row["patient_account_number"] = "CORRECTED"

    payer.run(changed(extract, tmp_path / "second", correct))
    changes = payer.release.manifest.counts["changes"]["resources"]["ExplanationOfBenefit"]
    assert changes["changed"] == 1
    assert changes.get("backdated", 0) == is_told
    report = json.loads(payer.files()[f"reports/{payer.release.id}/report.json"])
    notes = [note for note in report["notes"] if "1 ExplanationOfBenefit changed" in note]
    assert len(notes) == is_told
