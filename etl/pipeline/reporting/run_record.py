"""The record of a run: how it ended, its totals, and how long each phase took.

The command line, the log, `cpcds history`, metrics and notifications all use it. It contains
nothing that the report doesn't show: no member data, and no sum of money that the report withholds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from etl.errors import EtlError, StoreError
from etl.pipeline.progress import Phase
from etl.pipeline.reporting.report_files import LimitBroken, RunResult
from etl.publish.canonical_json import instant
from etl.publish.manifest import Manifest
from etl.reports.summary import RunTotals, totals_of

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
