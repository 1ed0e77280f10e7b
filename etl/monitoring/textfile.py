"""Metrics of the last run, as a file that Prometheus' node exporter collects.

The file appears whole or not at all. It is read by another user, and holds counts and times alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile
from prometheus_client.parser import text_string_to_metric_families

from etl.pipeline.reporting.run_record import GOOD, RunRecord, Verdict
from etl.reports.summary import shown_fate

_LAST_GOOD: Final = "cpcds_run_last_success_timestamp_seconds"
_MODE: Final = 0o644


def write_textfile(path: Path, record: RunRecord) -> None:
    """Write the metrics of a run.

    When the last run went well is taken over from the file that was there, where this one did not.

    Args:
        path: of the file; its name ends with `.prom`, or the collector passes it over.
        record: the run.

    Raises:
        OSError: the file cannot be written.
    """
    registry = CollectorRegistry()
    target = record.target

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"cpcds_run_{name}", text, ("target", *labels), registry=registry)

    ended = record.ended_at.timestamp()
    good = ended if record.verdict in GOOD else _last_good(path, target)
    if good is not None:
        gauge("last_success_timestamp_seconds", "End of the last good run.").labels(target).set(
            good
        )
    gauge("last_end_timestamp_seconds", "End of the last run.").labels(target).set(ended)
    gauge("duration_seconds", "Duration of the last run.").labels(target).set(record.seconds)
    gauge("exit_code", "Exit code of the last run.").labels(target).set(record.exit_code)
    verdict = gauge("verdict", "1 for the verdict of the last run.", "verdict")
    for each in get_args(Verdict):
        verdict.labels(target, each).set(each == record.verdict)
    phase = gauge("phase_seconds", "Duration of each phase of the last run.", "phase")
    for one in record.phases:
        phase.labels(target, one.stage).set(one.seconds)
    totals = record.totals
    if totals is not None:
        rows = gauge("rows", "Rows of the last run by table and outcome.", "table", "outcome")
        for table, outcomes in totals.tables.items():
            for outcome, count in outcomes.items():
                fate = shown_fate(outcome, is_published=record.release is not None)
                rows.labels(target, table, fate).set(count)
        findings = gauge("findings", "Findings of the last run.", "severity")
        findings.labels(target, "reject").set(totals.findings.reject)
        findings.labels(target, "warn").set(totals.findings.warn)
        resources = gauge("resources", "Resources that the last run made.", "type")
        for kind, count in totals.resources.items():
            resources.labels(target, kind).set(count)
        proof = gauge("money_adds_up", "Whether every sum of money is accounted for.")
        proof.labels(target).set(totals.money.adds_up)
    changes = gauge("changes", "Resources that the last run touched.", "type", "change")
    for kind, change, count in _changes(record):
        changes.labels(target, kind, change).set(count)
    write_to_textfile(str(path), registry)
    path.chmod(_MODE)


def _changes(record: RunRecord) -> Iterator[tuple[str, str, int]]:
    if record.changes is None:
        return
    for kind, counts in {
        "member": record.changes["patients"],
        **record.changes["resources"],
    }.items():
        for change, count in counts.items():
            yield kind, change, count


def _last_good(path: Path, target: str) -> float | None:
    """Return when the last good run ended, as the present file states it; None without one."""
    try:
        for family in text_string_to_metric_families(path.read_text(encoding="utf-8")):
            for sample in family.samples:
                if sample.name == _LAST_GOOD and sample.labels.get("target") == target:
                    return float(sample.value)
    except (OSError, ValueError):
        return None
    return None
