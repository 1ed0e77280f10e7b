"""The history of a target's runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from etl.pipeline.run_history import read_records
from etl.pipeline.run_record import RunRecord, RunStart
from etl.publish import object_keys
from tests.memory_store import MemoryStore

BEGAN = datetime(2026, 1, 31, 2, tzinfo=UTC)


@pytest.mark.parametrize("names", [("aaaa0000", "bbbb0000"), ("bbbb0000", "aaaa0000")])
def test_runs_of_one_second_are_listed_as_they_began(names: tuple[str, str]) -> None:
    store = MemoryStore()
    for at, name in enumerate(names):
        began = BEGAN + timedelta(milliseconds=200 * at)
        start = RunStart(f"20260131T020000Z-{name}", began, "/data/in", "/data/tree")
        record = RunRecord(start, began, "unchanged", 0, ())
        store.put(object_keys.run_record(start.run), record.to_bytes())
    assert [each.start.run[-8:] for each in read_records(store)] == [*reversed(names)]
