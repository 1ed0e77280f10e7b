"""The record of a run: how it ended, its totals, and how long each phase took.

One value for everything that reports a run: the end of the command, the log, `cpcds history`,
metrics, notifications. It holds what the report shows and no more: no member's data, and no sum of
money that the report withholds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

from etl.columns.numbers import cents_text
from etl.errors import EtlError, StoreError
from etl.pipeline.events import STAGES
from etl.pipeline.phases import Phase
from etl.pipeline.report import LimitBroken
from etl.pipeline.run import Ran
from etl.publish.canonical_json import instant, loads
from etl.publish.manifest import Manifest
from etl.reports import Report, summary
from etl.reports.changes import money_level
from etl.reports.small_cells import LEVEL_NAMES, shown_money
from etl.reports.summary import by_fate, is_directory

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
_ROLLBACK: Final = ("rollback_to", "reason")


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


@dataclass(frozen=True, slots=True)
class RunTotals:
    """The totals of a run that wrote a report.

    Attributes:
        tables: table -> `in`, `published`, `quarantined`, `superseded` rows; tables with rows only.
        resources: resource type -> how many.
        rejecting: findings that reject.
        warnings: findings that do not.
        broken_limits: a sentence each.
        causes: (rule, claims, rows) by first cause, those that rejected most claims first.
        sums: how many sums of money were compared between the source and its outcome.
        adds_up: whether all of them agree.
        net: category -> net sum of the claims' headers, or of their lines if totals are summed from
            them; decimal text, None where it is withheld.
        findings: rule -> table -> how many findings.
    """

    tables: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    resources: Mapping[str, int] = field(default_factory=dict)
    rejecting: int = 0
    warnings: int = 0
    broken_limits: tuple[str, ...] = ()
    causes: tuple[tuple[str, int, int], ...] = ()
    sums: int = 0
    adds_up: bool = True
    net: Mapping[str, str | None] = field(default_factory=dict)
    findings: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def claims(self) -> int:
        """Claims that came in."""
        return self.tables.get("claim", {}).get("in", 0)

    @property
    def rejected_claims(self) -> int:
        """Claims in quarantine."""
        return self.tables.get("claim", {}).get("quarantined", 0)

    @property
    def is_directory(self) -> bool:
        """Whether they are of a directory of providers, which has no members, claims and money."""
        return is_directory(self.tables)

    @property
    def rows(self) -> int:
        """Rows that came in, of all tables."""
        return sum(each["in"] for each in self.tables.values())

    @property
    def rejected_rows(self) -> int:
        """Rows in quarantine, of all tables."""
        return sum(each["quarantined"] for each in self.tables.values())


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run that is over.

    Attributes:
        start: what it was.
        ended: when it ended.
        verdict: how.
        exit_code: of the command.
        phases: in order.
        release: the release that readers see because of it; None where it published nothing.
        report: key of the report's page in the target; None where there is none.
        totals: those of its report; None where no report was written.
        changes: members and resources that were added, changed and retracted, as in a manifest;
            None where nothing was published.
        error: why it ended; empty where all went well.
        rollback: the release to go back to, as it was named, and the reason that was given; None
            where the run is no rollback. Its extract is empty.
    """

    start: RunStart
    ended: datetime
    verdict: Verdict
    exit_code: int
    phases: tuple[Phase, ...]
    release: str | None = None
    report: str | None = None
    totals: RunTotals | None = None
    changes: Mapping[str, Any] | None = None
    error: str = ""
    rollback: tuple[str, str] | None = None

    @property
    def seconds(self) -> float:
        """Duration in seconds: the difference of both times as they are written."""
        began, ended = (
            moment.replace(microsecond=moment.microsecond // 1000 * 1000)
            for moment in (self.start.began, self.ended)
        )
        return (ended - began).total_seconds()

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values."""
        totals = self.totals
        return {
            "format": RECORD_FORMAT,
            "run": self.start.run,
            "extract": self.start.extract,
            "target": self.start.target,
            "began": _stamp(self.start.began),
            "ended": _stamp(self.ended),
            "seconds": round(self.seconds, 3),
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "phases": [
                {
                    "phase": each.stage,
                    "seconds": round(each.seconds, 3),
                    "count": each.count,
                    "unit": each.unit,
                }
                for each in self.phases
            ],
            "release": self.release,
            "report": self.report,
            "totals": totals
            and {
                "tables": {name: dict(each) for name, each in totals.tables.items()},
                "resources": dict(totals.resources),
                "findings": {
                    "reject": totals.rejecting,
                    "warn": totals.warnings,
                    "rules": {rule: dict(tables) for rule, tables in totals.findings.items()},
                },
                "broken_limits": list(totals.broken_limits),
                "causes": [
                    {"rule": rule, "claims": claims, "rows": rows}
                    for rule, claims, rows in totals.causes
                ],
                "money": {
                    "compared": totals.sums,
                    "adds_up": totals.adds_up,
                    "net": dict(totals.net),
                },
            },
            "changes": self.changes,
            "error": self.error or None,
        } | ({} if self.rollback is None else dict(zip(_ROLLBACK, self.rollback, strict=True)))

    def to_bytes(self) -> bytes:
        """Return the record as a line of JSON."""
        return json.dumps(self.to_json(), ensure_ascii=False).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, what: str) -> RunRecord:
        """Return the record of some bytes.

        Raises:
            StoreError: it is none, or of a later format.
        """
        try:
            body = loads(data, what)
            if body["format"] != RECORD_FORMAT:
                raise StoreError(f"{what} is of a later format: update the program")
            totals = body["totals"]
            return cls(
                RunStart(body["run"], instant(body["began"]), body["extract"], body["target"]),
                instant(body["ended"]),
                body["verdict"],
                body["exit_code"],
                tuple(map(_phase, body["phases"])),
                body["release"],
                body["report"],
                None if totals is None else _totals(totals),
                body["changes"],
                body["error"] or "",
                (body["rollback_to"], body["reason"]) if "rollback_to" in body else None,
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StoreError(f"{what} is no record of a run: the object is damaged") from None


def _phase(body: Mapping[str, Any]) -> Phase:
    stage, unit = body["phase"], body["unit"]
    other = "" if unit == STAGES[stage] else unit
    return Phase(stage, body["seconds"], body["count"], other)


def _totals(body: Mapping[str, Any]) -> RunTotals:
    money = body["money"]
    return RunTotals(
        body["tables"],
        body["resources"],
        body["findings"]["reject"],
        body["findings"]["warn"],
        tuple(body["broken_limits"]),
        tuple((each["rule"], each["claims"], each["rows"]) for each in body["causes"]),
        money["compared"],
        money["adds_up"],
        money["net"],
        body["findings"].get("rules", {}),
    )


def totals_of(report: Report) -> RunTotals:
    """Return the totals of a report."""
    summed = summary(report)
    shown = shown_money(report.money, report.small_cells)
    rules = [{"rule": each.rule, "findings": each.findings} for each in report.rules]
    money_of = money_level([{"rules": rules}])
    return RunTotals(
        {name: by_fate(numbers) for name, *numbers in summed.tables},
        dict(summed.resources),
        summed.rejections,
        summed.warnings,
        summed.broken_limits,
        tuple((each.rule, each.claims, each.rows) for each in summed.rejected.causes),
        len(report.money),
        all(each.adds_up for each in report.money.values()),
        {
            category: None if sums.net is None else cents_text(sums.net)
            for (level, category), sums in shown.totals.items()
            if LEVEL_NAMES[level] == money_of
        },
        {each.rule: dict(each.tables) for each in report.rules if each.findings},
    )


def record_of(start: RunStart, ended: datetime, phases: Sequence[Phase], ran: Ran) -> RunRecord:
    """Return the record of a run that went well."""
    record = RunRecord(start, ended, "unchanged", 0, tuple(phases), ran.release)
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
    return RunRecord(
        start,
        ended,
        "rolled-back",
        0,
        (),
        manifest.release,
        changes=manifest.counts["changes"],
        rollback=(to, str(run.get("reason", ""))),
    )


def record_of_error(
    start: RunStart, ended: datetime, phases: Sequence[Phase], error: BaseException
) -> RunRecord:
    """Return the record of a run that an error ended.

    The message of a system error may contain a path; of such an error and of a bug, only the class
    is recorded.
    """
    record = RunRecord(start, ended, "failed", 1, tuple(phases), error=type(error).__name__)
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


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def _page(run: str) -> str:
    return f"reports/{run}/index.html"
