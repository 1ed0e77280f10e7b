"""A report as text for people and as plain values for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from etl.conform.findings import ConformanceReport, ConformFinding, IssueSeverity, element_path

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHOWN: Final = 3
"""Number of places shown for each kind of finding."""


def text_lines(report: ConformanceReport) -> Iterator[str]:
    """Yield the report for a terminal: findings by kind, errors first, then what was checked."""
    examples = _group_findings(report)
    order = sorted(report.counts, key=lambda kind: (kind[0] is not IssueSeverity.ERROR, *kind[1:]))
    for kind in order:
        severity, rule, profile, element = kind
        profile_name = f"  ({profile.rpartition('/')[2]})" if profile else ""
        yield f"{report.counts[kind]:>10,}  {severity.value} {rule}  {element}{profile_name}"
        lines = examples.get(kind, [])
        if lines:
            yield f"            {lines[0].message}"
        for finding in lines[:_SHOWN]:
            yield f"            {_format_place(finding)}"
    if order:
        yield ""
    for name, count in sorted(report.resources.items()):
        yield f"{count:>10,}  {name}"
    for reason, count in sorted(report.skipped.items()):
        yield f"{count:>10,}  not checked ({reason})"
    checked = report.resources.total()
    yield f"{checked:,} resources, {report.errors:,} errors, {report.warnings:,} warnings"


def _format_place(finding: ConformFinding) -> str:
    line = "" if finding.line is None else f":{finding.line}"
    return f"{finding.file}{line}  {finding.path}"


def _group_findings(
    report: ConformanceReport,
) -> dict[tuple[IssueSeverity, str, str, str], list[ConformFinding]]:
    examples: dict[tuple[IssueSeverity, str, str, str], list[ConformFinding]] = {}
    for finding in report.findings:
        kind = (finding.severity, finding.rule, finding.profile, element_path(finding.path))
        examples.setdefault(kind, []).append(finding)
    return examples


def as_json(report: ConformanceReport) -> dict[str, Any]:
    """Return the report as plain values: totals, counts by kind, and the findings kept."""
    counts = [
        {
            "severity": severity.value,
            "rule": rule,
            "profile": profile,
            "element": element,
            "count": report.counts[severity, rule, profile, element],
        }
        for severity, rule, profile, element in sorted(
            report.counts, key=lambda kind: (kind[0].value, *kind[1:])
        )
    ]
    return {
        "resources": dict(sorted(report.resources.items())),
        "profiles": dict(sorted(report.profiles.items())),
        "skipped": dict(sorted(report.skipped.items())),
        "errors": report.errors,
        "warnings": report.warnings,
        "counts": counts,
        "findings": [finding_json(finding) for finding in report.findings],
    }


def finding_json(finding: ConformFinding) -> dict[str, Any]:
    """Return one finding as plain values; `line` and `profile` only where there is one."""
    values: dict[str, Any] = {"file": finding.file}
    if finding.line is not None:
        values["line"] = finding.line
    values["path"] = finding.path
    if finding.profile:
        values["profile"] = finding.profile
    values["rule"] = finding.rule
    values["severity"] = finding.severity.value
    values["message"] = finding.message
    return values
