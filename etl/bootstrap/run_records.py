"""The records of runs in a target: written after each run, read for its history."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from etl.errors import NotFound, StoreError
from etl.pipeline.reporting.run_record import RECORD_FORMAT, RunRecord
from etl.publish import object_keys
from etl.publish.kept_objects import from_bytes
from etl.publish.reader import open_current
from etl.storage.parallel import map_concurrently
from etl.storage.port import Store

log = logging.getLogger(__name__)

MOST_RECORDS: Final = 400
"""Records to keep; each run deletes older ones."""
_ENDING: Final = ".json"
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)


def write_record(store: Store, record: RunRecord) -> None:
    """Write the record of a run, and delete the oldest records beyond the limit.

    Nothing depends on a record, so a failure is only logged, unless a storage error already ended
    the run. A run that failed before anything was ever published writes none, unless it was
    interrupted.

    Args:
        store: the target.
        record: the run.
    """
    try:
        is_notable = record.report is not None or record.verdict == "interrupted"
        if not is_notable and open_current(store).release is None:
            return
        key = object_keys.run_record(record.run)
        store.put(key, record.to_bytes())
        other_keys = sorted((other for other in _keys(store) if other != key), reverse=True)
        if excess := other_keys[MOST_RECORDS - 1 :]:
            store.delete(excess)
    except StoreError as error:
        if record.exit_code != StoreError.exit_code:  # else the run's error already says it
            log.warning("%s: the record of this run was not kept", error)


def read_records(store: Store, most: int | None = None) -> list[RunRecord]:
    """Return the records of a target's runs, newest first; log damaged ones.

    Runs with a release are in the order of their releases, whose IDs only increase even if a clock
    is wrong. Runs without a release are sorted among them by start time.

    Args:
        store: the target.
        most: how many records to return; None for all.
    """
    records = map_concurrently(store, lambda key: _read_record(store, key), sorted(_keys(store)))
    return _sort_records([record for record in records if record is not None])[::-1][:most]


def _sort_records(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Sort records, oldest first."""
    keyed: list[tuple[datetime, str, datetime, RunRecord]] = []
    latest = _EARLIEST
    for record in sorted(records, key=lambda record: (record.release or "", record.began_at)):
        began = record.began_at
        if record.release is not None:
            latest = max(latest, began)
        keyed.append((latest if record.release else began, record.release or "", began, record))
    return [record for *_, record in sorted(keyed, key=lambda item: item[:3])]


def _keys(store: Store) -> Iterator[str]:
    for entry in store.list(object_keys.RUN_RECORDS):
        if entry.key.endswith(_ENDING):
            yield entry.key


def _read_record(store: Store, key: str) -> RunRecord | None:
    try:
        return from_bytes(store.get(key), RunRecord, f"{store.name}: {key}", (RECORD_FORMAT,))
    except NotFound:
        return None
    except StoreError as error:
        log.warning("%s", error)
        return None
