"""The records of a target's runs, kept in the target beside the reports."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

from etl.errors import NotFound, StoreError
from etl.pipeline.run_record import RunRecord
from etl.publish import object_keys
from etl.publish.reader import open_current
from etl.storage.parallel_reads import mapped
from etl.storage.port import Store

log = logging.getLogger(__name__)

_ENDING: Final = ".json"


def write_record(store: Store, record: RunRecord, keep: int) -> None:
    """Keep the record of a run, and delete the oldest beyond those that are to stay.

    Nothing depends on it: where it cannot be kept, a warning is logged. A run that failed before
    anything was published leaves the target as it was.

    Args:
        store: the target.
        record: the run.
        keep: how many records stay; 0 to keep none.
    """
    try:
        if record.report is None and open_current(store).release is None:
            return
        if keep:
            store.put(object_keys.run_record(record.start.run), record.to_bytes())
        old = sorted(_keys(store), reverse=True)[keep:]
        if old:
            store.delete(old)
    except StoreError as error:
        log.warning("%s: the record of this run was not kept", error)


def read_records(store: Store, most: int | None = None) -> list[RunRecord]:
    """Return the records of a target's runs, newest first; damaged ones are warned of.

    Args:
        store: the target.
        most: how many; None for all.
    """
    keys = sorted(_keys(store), reverse=True)[:most]
    found = mapped(store, lambda key: _read(store, key), keys)
    records = [record for record in found if record is not None]
    # Names have seconds; two runs of one second are distinguished by their records.
    return sorted(records, key=lambda record: record.start.began, reverse=True)


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
