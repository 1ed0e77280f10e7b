"""The record of a run: how it ended, its totals, and how long each phase took.

One value for everything that reports a run: the end of the command, the log, `cpcds history`,
metrics, notifications. It holds what the report shows and no more: no member's data, and no sum of
money that the report withholds.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from etl.errors import EtlError, NotFound, StoreError
from etl.pipeline.progress import Phase
from etl.pipeline.reporting.report_files import LimitBroken, RunResult
from etl.publish import object_keys
from etl.publish.canonical_json import instant
from etl.publish.kept_objects import from_bytes
from etl.publish.manifest import Manifest
from etl.publish.reader import open_current
from etl.reports.summary import RunTotals, totals_of
from etl.storage.parallel import map_concurrently
from etl.storage.port import Store

RECORD_FORMAT: Final = 1
"""Version of a record's JSON; docs/published-tree.md describes its content."""

Verdict: TypeAlias = Literal[
    "published", "unchanged", "rolled-back", "stopped", "failed", "interrupted"
]
"""`unchanged`: the same files were published before; `rolled-back`: an earlier release was
published again; `stopped`: a limit does not hold, with a report; `failed`: any other error;
`interrupted`: by a signal."""

GOOD: Final = frozenset({"published", "unchanged", "rolled-back"})
"""Verdicts of runs that went well."""


@dataclass(frozen=True, slots=True)
class RunStart:
    """A run that begins.

    Attributes:
        run: its id: the time, and a random end.
        began: when, with its zone.
        extract: the folder, as it was named.
        target: the target, as it was named.
    """

    run: str
    began: datetime
    extract: str
    target: str


class RunRecord(msgspec.Struct, frozen=True):
    """A run that is over. Its fields are the members of its JSON.

    Attributes:
        format: version of the JSON.
        run: its id: the time, and a random end.
        extract: the folder, as it was named; empty for a rollback.
        target: the target, as it was named.
        began: ISO 8601 with milliseconds, UTC.
        ended: likewise.
        seconds: how long it took.
        verdict: how it ended.
        exit_code: of the command.
        phases: in order.
        release: the release that readers see because of it; None where it published nothing.
        report: key of the report's page in the target; None where there is none.
        totals: those of its report; None where no report was written.
        changes: members and resources that were added, changed and retracted, as in a manifest;
            None where nothing was published.
        error: why it ended; None where all went well.
        rollback_to: the release to go back to, as it was named; only of rollbacks.
        reason: of the rollback.
    """

    format: int
    run: str
    extract: str
    target: str
    began: str
    ended: str
    seconds: float
    verdict: Verdict
    exit_code: int
    phases: tuple[Phase, ...] = ()
    release: str | None = None
    report: str | None = None
    totals: RunTotals | None = None
    changes: Mapping[str, Any] | None = None
    error: str | None = None
    rollback_to: str | msgspec.UnsetType = msgspec.UNSET
    reason: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def began_at(self) -> datetime:
        """The time of `began`."""
        return instant(self.began)

    @property
    def ended_at(self) -> datetime:
        """The time of `ended`."""
        return instant(self.ended)

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values."""
        record: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return record

    def to_bytes(self) -> bytes:
        """Return the record as a line of JSON."""
        return json.dumps(self.to_json(), ensure_ascii=False).encode() + b"\n"


def new_record(
    start: RunStart,
    ended: datetime,
    verdict: Verdict,
    phases: Sequence[Phase] = (),
    **facts: Any,
) -> RunRecord:
    """Return the record of a run, with other fields of it."""
    stamps = [
        moment.astimezone(UTC).isoformat(timespec="milliseconds") for moment in (start.began, ended)
    ]
    return RunRecord(
        format=RECORD_FORMAT,
        run=start.run,
        extract=start.extract,
        target=start.target,
        began=stamps[0],
        ended=stamps[1],
        # The difference of both times as they are written.
        seconds=(instant(stamps[1]) - instant(stamps[0])).total_seconds(),
        verdict=verdict,
        phases=tuple(replace(phase, seconds=round(phase.seconds, 3)) for phase in phases),
        **{"exit_code": 0, **facts},
    )


def record_of(
    start: RunStart, ended: datetime, phases: Sequence[Phase], ran: RunResult
) -> RunRecord:
    """Return the record of a run that went well."""
    record = new_record(start, ended, "unchanged", phases, release=ran.release)
    if ran.reported is None:
        return record
    return replace(
        record,
        verdict="published",
        report=_page(ran.release),
        totals=totals_of(ran.reported.report),
        changes=ran.changes.to_json(),
    )


def record_of_rollback(start: RunStart, ended: datetime, to: str, manifest: Manifest) -> RunRecord:
    """Return the record of a rollback that went well; its release states how much it changed."""
    run = manifest.facts.run
    return new_record(
        start,
        ended,
        "rolled-back",
        release=manifest.release,
        changes=manifest.counts["changes"],
        rollback_to=to,
        reason=str(run.get("reason", "")),
    )


def record_of_error(
    start: RunStart, ended: datetime, phases: Sequence[Phase], error: BaseException
) -> RunRecord:
    """Return the record of a run that an error ended.

    The message of a system error may contain a path; of such an error and of a bug, only the class
    is recorded.
    """
    record = new_record(start, ended, "failed", phases, exit_code=1, error=type(error).__name__)
    match error:
        case LimitBroken(report=report) if report is not None:
            record = replace(
                record, verdict="stopped", report=_page(report.run), totals=totals_of(report)
            )
        case KeyboardInterrupt():
            return replace(record, verdict="interrupted", exit_code=130, error="interrupted")
        case OSError():
            return replace(record, exit_code=StoreError.exit_code)
        case _:
            pass
    if isinstance(error, EtlError):
        record = replace(record, exit_code=error.exit_code, error=str(error))
    return record


def _page(run: str) -> str:
    return f"reports/{run}/index.html"


log = logging.getLogger(__name__)

MOST_RECORDS: Final = 400
"""Records that stay; each run deletes the oldest beyond them."""
_ENDING: Final = ".json"
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)


def write_record(store: Store, record: RunRecord) -> None:
    """Keep the record of a run, and delete the oldest beyond those that are to stay.

    Nothing depends on it: where it cannot be kept, a warning is logged, unless storage is why the
    run failed. A run that failed before anything was published leaves the target as it was, unless
    it was interrupted.

    Args:
        store: the target.
        record: the run.
    """
    try:
        is_of_interest = record.report is not None or record.verdict == "interrupted"
        if not is_of_interest and open_current(store).release is None:
            return
        own = object_keys.run_record(record.run)
        store.put(own, record.to_bytes())
        others = sorted((key for key in _keys(store) if key != own), reverse=True)
        if old := others[MOST_RECORDS - 1 :]:
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
    records = map_concurrently(store, lambda key: _read(store, key), sorted(_keys(store)))
    return _in_order([record for record in records if record is not None])[::-1][:most]


def _in_order(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return records, the oldest first."""
    placed: list[tuple[datetime, str, datetime, RunRecord]] = []
    latest = _EARLIEST
    for record in sorted(records, key=lambda record: (record.release or "", record.began_at)):
        began = record.began_at
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
        return from_bytes(store.get(key), RunRecord, f"{store.name}: {key}", (RECORD_FORMAT,))
    except NotFound:
        return None
    except StoreError as error:
        log.warning("%s", error)
        return None
