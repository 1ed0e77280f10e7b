"""Findings for editors and code review: a line each, JSON, or SARIF 2.1.0 (OASIS)."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from etl.model.severity import Severity
from etl.reports.report_values import Report, RuleTotals

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
Finding = Mapping[str, str]
"""A row of `findings.csv.gz`: file, row (empty for a whole file), table, column, rule."""


def text_lines(report: Report, folder: Path, extract: Path) -> Iterator[str]:
    """Yield `file:row:column: severity rule: sentence` for each finding, ordered by place.

    Args:
        report: report about an extract.
        folder: folder of the report's files.
        extract: path of the extract as the user wrote it; file names begin with it.
    """
    rules = {rule.rule: rule for rule in report.rules}
    for finding in _read_findings(report, folder):
        rule = rules[finding["rule"]]
        parts = (_path(extract, finding), finding["row"], finding["column"])
        position = ":".join(part for part in parts if part)
        yield f"{position}: {rule.severity.value} {rule.rule}: {rule.says}"


def json_lines(report: Report, folder: Path, extract: Path) -> Iterator[str]:
    """Yield a JSON array with one finding on each line; arguments as for `text_lines`."""
    rules = {rule.rule: rule for rule in report.rules}

    def fields(finding: Finding) -> dict[str, Any]:
        return {
            **finding,
            "file": _path(extract, finding),
            "row": int(finding["row"]) if finding["row"] else None,
            "column": finding["column"] or None,
            "severity": rules[finding["rule"]].severity.value,
            "says": rules[finding["rule"]].says,
        }

    yield from _array_lines("[", _read_findings(report, folder), fields, "]")


def sarif_lines(report: Report, folder: Path, extract: Path) -> Iterator[str]:
    """Yield a SARIF log with one result on each line; arguments as for `text_lines`."""
    rules = {rule.rule: rule for rule in report.rules if rule.findings}
    name, _, version = report.program.rpartition(" ")
    driver = {"name": name, "version": version, "rules": [_rule(rule) for rule in rules.values()]}

    def result(finding: Finding) -> dict[str, Any]:
        rule = rules[finding["rule"]]
        physical = {"artifactLocation": {"uri": quote(_path(extract, finding))}}
        location: dict[str, Any] = {"physicalLocation": physical}
        if finding["row"]:
            location["physicalLocation"]["region"] = {"startLine": int(finding["row"])}
        if finding["column"]:
            full_name = f"{finding['table']}.{finding['column']}"
            location["logicalLocations"] = [
                {"name": finding["column"], "fullyQualifiedName": full_name}
            ]
        return {
            "ruleId": rule.rule,
            "level": _level(rule),
            "message": {"text": rule.says},
            "locations": [location],
        }

    head = f'{{"$schema": "{_SCHEMA}", "version": "2.1.0", "runs": [{{"tool": '
    head += f'{{"driver": {json.dumps(driver)}}}, "results": ['
    yield from _array_lines(head, _read_findings(report, folder), result, "]}]}")


def _rule(rule: RuleTotals) -> dict[str, Any]:
    return {
        "id": rule.rule,
        "shortDescription": {"text": rule.says},
        "fullDescription": {"text": rule.spoils},
        "defaultConfiguration": {"level": _level(rule)},
    }


def _level(rule: RuleTotals) -> str:
    return "warning" if rule.severity is Severity.WARN else "error"


def _path(extract: Path, finding: Finding) -> str:
    """Return the path of a finding's file, or of the extract if no file is stated."""
    return (extract / finding["file"]).as_posix()


def _read_findings(report: Report, folder: Path) -> Iterator[Finding]:
    if report.findings_file:
        with gzip.open(folder / report.findings_file, "rt", encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)


def _array_lines(
    head: str, findings: Iterator[Finding], item: Callable[[Finding], Mapping[str, Any]], tail: str
) -> Iterator[str]:
    """Yield the lines of a JSON document: head, one item on each line, tail."""
    line = head
    for finding in findings:
        yield line
        line = f"{json.dumps(item(finding))},"
    yield f"{line.removesuffix(',')}{tail}"
