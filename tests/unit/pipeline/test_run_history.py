"""The history of a target's runs."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from etl.bootstrap import run_records
from etl.bootstrap.run_records import read_records, write_record
from etl.pipeline.reporting.run_record import RunStart, new_record
from etl.publish import object_keys

BEGAN = datetime(2026, 1, 31, 2, tzinfo=UTC)


@pytest.mark.parametrize("names", [("aaaa0000", "bbbb0000"), ("bbbb0000", "aaaa0000")])
def test_runs_of_one_second_are_listed_as_they_began(store, names):
    for at, name in enumerate(names):
        began = BEGAN + timedelta(milliseconds=200 * at)
        start = RunStart(f"20260131T020000Z-{name}", began, "/data/in", "/data/tree")
        record = new_record(start, began, "unchanged")
        store.put(object_keys.run_record(start.run), record.to_bytes())
    assert [each.run[-8:] for each in read_records(store)] == [*reversed(names)]
    assert [each.run[-8:] for each in read_records(store, 1)] == [names[-1]]


def test_a_rollback_stands_before_what_it_rolled_back_though_the_clock_was_set_back(store):
    """Names and times say that the run began last; ids of releases go on from one another."""
    published = ended("published", BEGAN + timedelta(minutes=10), "20260131T021000Z-aaaaaaaaaaaa")
    failed = ended("failed", BEGAN - timedelta(minutes=1), None)
    back = ended("rolled-back", BEGAN, "20260131T021001Z-bbbbbbbbbbbb")
    again = ended("unchanged", BEGAN + timedelta(minutes=1), back.release)
    for record in (published, failed, back, again):
        store.put(object_keys.run_record(record.run), record.to_bytes())
    assert read_records(store) == [again, back, published, failed]
    assert read_records(store, 2) == [again, back]


def test_a_record_stays_although_others_are_dated_later(store, monkeypatch):
    later = BEGAN + timedelta(days=20_000)
    future = ended("published", later, "20801104T020000Z-aaaaaaaaaaaa", report="reports/future")
    own = ended("published", BEGAN, "20801104T020001Z-bbbbbbbbbbbb", report="reports/own")
    store.put(object_keys.run_record(future.run), future.to_bytes())
    monkeypatch.setattr(run_records, "MOST_RECORDS", 2)
    write_record(store, own)
    assert read_records(store) == [own, future]
    monkeypatch.setattr(run_records, "MOST_RECORDS", 1)
    write_record(store, own)
    assert read_records(store) == [own]


@pytest.mark.parametrize("exit_code", [1, 5])
def test_a_run_that_storage_failed_says_so_once(store, exit_code, caplog):
    store.put(object_keys.CURRENT, b"{")
    write_record(store, replace(ended("failed", BEGAN, None), exit_code=exit_code))
    assert bool(caplog.records) == (exit_code != 5)
    assert read_records(store) == []


def ended(verdict, began, release, report=None):
    start = RunStart(f"{began:%Y%m%dT%H%M%SZ}-0000aaaa", began, "/data/in", "/data/tree")
    return new_record(start, began, verdict, release=release, report=report)
