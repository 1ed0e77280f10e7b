"""The records of a target's runs, kept in the target beside the reports."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from etl.errors import NotFound, StoreError
from etl.pipeline.run_record import RunRecord
from etl.publish import object_keys
from etl.publish.reader import open_current
from etl.storage.parallel_reads import mapped
from etl.storage.port import Store

log = logging.getLogger(__name__)

_ENDING: Final = ".json"
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)


def write_record(store: Store, record: RunRecord, keep: int) -> None:
    """Keep the record of a run, and delete the oldest beyond those that are to stay.

    Nothing depends on it: where it cannot be kept, a warning is logged, unless storage is why the
    run failed. A run that failed before anything was published leaves the target as it was.

    Args:
        store: the target.
        record: the run.
        keep: how many records stay; 0 to keep none.
    """
    try:
        if record.report is None and open_current(store).release is None:
            return
        own = object_keys.run_record(record.start.run)
        if keep:
            store.put(own, record.to_bytes())
        others = sorted((key for key in _keys(store) if key != own), reverse=True)
        if old := others[max(keep - 1, 0) :]:
            store.delete(old)
    except StoreError as error:
        if record.exit_code != StoreError.exit_code:  # else the run's own error is about storage
            log.warning("%s: the record of this run was not kept", error)


def read_records(store: Store, most: int | None = None) -> list[RunRecord]:
    """Return the records of a target's runs, newest first; damaged ones are warned of.

    Runs with a release are in the order of the releases, whose ids never go back: so they are
    whatever the clock was. Those without are among them by the time at which they began.

    Args:
        store: the target.
        most: how many; None for all.
    """
    records = mapped(store, lambda key: _read(store, key), sorted(_keys(store)))
    return _in_order([record for record in records if record is not None])[::-1][:most]


def _in_order(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return records, the oldest first."""
    placed: list[tuple[datetime, str, datetime, RunRecord]] = []
    latest = _EARLIEST
    for record in sorted(records, key=lambda record: (record.release or "", record.start.began)):
        began = record.start.began
        if record.release is not None:
            latest = max(latest, began)
        placed.append((latest if record.release else began, record.release or "", began, record))
    return [record for *_, record in sorted(placed, key=lambda place: place[:3])]


def _keys(store: Store) -> Iterator[str]:
    for entry in store.list(object_keys.RUN_RECORDS):
        if entry.key.endswith(_ENDING):
            yield entry.key


def _read(store: Store, key: str) -> RunRecord | None:
    try:
        return RunRecord.from_bytes(store.get(key), f"{store.name}: {key}")
    except NotFound:
        return None
    except StoreError as error:
        log.warning("%s", error)
        return None
