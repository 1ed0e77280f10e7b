"""The record of a run: how it ended, its totals, and how long each phase took.

The command line, the log, `cpcds history`, metrics and notifications all use it. It contains
nothing that the report doesn't show: no member data, and no sum of money that the report withholds.
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
published again; `stopped`: a limit was broken, and a report was written; `failed`: any other error;
`interrupted`: by a signal."""

GOOD: Final = frozenset({"published", "unchanged", "rolled-back"})
"""Verdicts of successful runs."""


@dataclass(frozen=True, slots=True)
class RunStart:
    """The start of a run.

    Attributes:
        run: ID of the run: its time and a random suffix.
        began: start time, with its zone.
        extract: the extract's folder, as the user wrote it.
        target: the target, as the user wrote it.
        user: the operating system's name of the user who started it.
        host: name of the machine.
        note: what the user noted about it, such as a ticket.
    """

    run: str
    began: datetime
    extract: str
    target: str
    user: str = ""
    host: str = ""
    note: str = ""


class RunRecord(msgspec.Struct, frozen=True):
    """A finished run. Its fields are the fields of its JSON.

    Attributes:
        format: version of the JSON.
        run: ID of the run: its time and a random suffix.
        extract: the extract's folder, as the user wrote it; empty for a rollback.
        target: the target, as the user wrote it.
        began: start time, ISO 8601 with milliseconds, UTC.
        ended: end time in the same format.
        seconds: duration.
        verdict: how it ended.
        exit_code: exit code of the command.
        phases: the phases, in order.
        release: the release that it published; None if it published nothing.
        report: key of the report's page in the target; None if there is none.
        totals: totals of its report; None if no report was written.
        changes: members and resources that were added, changed and retracted, as in a manifest;
            None if nothing was published.
        error: the error that ended the run; None if it succeeded.
        rollback_to: the restored release, as the user wrote it; only for rollbacks.
        reason: reason for the rollback.
        user: the operating system's name of the user who started the run.
        host: name of the machine.
        note: what the user noted about the run, such as a ticket.
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
    user: str = ""
    host: str = ""
    note: str = ""

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
    start: RunStart, ended: datetime, verdict: Verdict, phases: Sequence[Phase] = (), **fields: Any
) -> RunRecord:
    """Return the record of a run; `fields` sets further fields."""
    times = [
        moment.astimezone(UTC).isoformat(timespec="milliseconds") for moment in (start.began, ended)
    ]
    return RunRecord(
        format=RECORD_FORMAT,
        run=start.run,
        extract=start.extract,
        target=start.target,
        user=start.user,
        host=start.host,
        note=start.note,
        began=times[0],
        ended=times[1],
        # The difference of the rounded times, so that a reader computes the same.
        seconds=(instant(times[1]) - instant(times[0])).total_seconds(),
        verdict=verdict,
        phases=tuple(replace(phase, seconds=round(phase.seconds, 3)) for phase in phases),
        **{"exit_code": 0, **fields},
    )


def record_of(
    start: RunStart, ended: datetime, phases: Sequence[Phase], ran: RunResult
) -> RunRecord:
    """Return the record of a successful run."""
    record = new_record(start, ended, "unchanged", phases, release=ran.release)
    if ran.reported is None:
        return record
    return replace(
        record,
        verdict="published",
        report=_report_page(ran.release),
        totals=totals_of(ran.reported.report),
        changes=ran.changes.to_json(),
    )


def record_of_rollback(start: RunStart, ended: datetime, to: str, manifest: Manifest) -> RunRecord:
    """Return the record of a successful rollback."""
    run_facts = manifest.facts.run
    return new_record(
        start,
        ended,
        "rolled-back",
        release=manifest.release,
        changes=manifest.counts["changes"],
        rollback_to=to,
        reason=str(run_facts.get("reason", "")),
    )


def record_of_error(
    start: RunStart,
    ended: datetime,
    phases: Sequence[Phase],
    error: BaseException,
    release: str | None,
) -> RunRecord:
    """Return the record of a run that ended with an error; `release` if it was published.

    The message of a system error may contain a path. So for system errors and bugs, only the class
    is recorded.
    """
    facts = {"exit_code": 1, "error": type(error).__name__, "release": release}
    record = new_record(start, ended, "failed", phases, **facts)
    match error:
        case LimitBroken(report=report) if report is not None:
            record = replace(
                record, verdict="stopped", report=_report_page(report.run), totals=totals_of(report)
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


def _report_page(run: str) -> str:
    return f"reports/{run}/index.html"


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
