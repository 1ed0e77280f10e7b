"""Metrics of the last run, as a file that Prometheus' node exporter collects.

The file is written atomically. Another user reads it, so it contains only counts and times.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile
from prometheus_client.parser import text_string_to_metric_families

from etl.pipeline.reporting.run_record import GOOD, RunRecord, Verdict
from etl.reports.summary import shown_fate

_LAST_SUCCESS_METRIC: Final = "cpcds_run_last_success_timestamp_seconds"
_FILE_MODE: Final = 0o644


def write_textfile(path: Path, record: RunRecord) -> None:
    """Write the metrics of a run.

    If this run failed, the time of the last success is copied from the existing file.

    Args:
        path: path of the file; the collector skips files that don't end with `.prom`.
        record: the run.

    Raises:
        OSError: the file cannot be written.
    """
    registry = CollectorRegistry()
    target = record.target

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"cpcds_run_{name}", text, ("target", *labels), registry=registry)

    ended = record.ended_at.timestamp()
    last_success = ended if record.verdict in GOOD else _last_success(path, target)
    if last_success is not None:
        gauge("last_success_timestamp_seconds", "End of the last good run.").labels(target).set(
            last_success
        )
    gauge("last_end_timestamp_seconds", "End of the last run.").labels(target).set(ended)
    gauge("duration_seconds", "Duration of the last run.").labels(target).set(record.seconds)
    gauge("exit_code", "Exit code of the last run.").labels(target).set(record.exit_code)
    verdict = gauge("verdict", "1 for the verdict of the last run.", "verdict")
    for possible_verdict in get_args(Verdict):
        verdict.labels(target, possible_verdict).set(possible_verdict == record.verdict)
    phase = gauge("phase_seconds", "Duration of each phase of the last run.", "phase")
    for phase_record in record.phases:
        phase.labels(target, phase_record.stage).set(phase_record.seconds)
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
        for resource_type, count in totals.resources.items():
            resources.labels(target, resource_type).set(count)
        money_gauge = gauge("money_adds_up", "Whether every sum of money is accounted for.")
        money_gauge.labels(target).set(totals.money.adds_up)
    changes = gauge("changes", "Resources that the last run touched.", "type", "change")
    for resource_type, change, count in _change_counts(record):
        changes.labels(target, resource_type, change).set(count)
    write_to_textfile(str(path), registry)
    path.chmod(_FILE_MODE)


def _change_counts(record: RunRecord) -> Iterator[tuple[str, str, int]]:
    """Yield resource type, kind of change, and count."""
    if record.changes is None:
        return
    for resource_type, counts in {
        "member": record.changes["patients"],
        **record.changes["resources"],
    }.items():
        for change, count in counts.items():
            yield resource_type, change, count


def _last_success(path: Path, target: str) -> float | None:
    """Return the end of the last good run from the existing file, or None."""
    try:
        for family in text_string_to_metric_families(path.read_text(encoding="utf-8")):
            for sample in family.samples:
                if sample.name == _LAST_SUCCESS_METRIC and sample.labels.get("target") == target:
                    return float(sample.value)
    except (OSError, ValueError):
        return None
    return None
