"""`report.json` and `index.html`. The same report gives the same bytes.

Both are written only after the report was held to itself: no row and no cent may be missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import jinja2

from etl.columns.numbers import cents_text
from etl.model.canonical_tables import CLAIM_TYPES, TABLES
from etl.quality import CountsDoNotAddUp, RowCounts, reconcile
from etl.quality.totals.money import UNKNOWN_TYPE
from etl.reports.report_values import Example, Report
from etl.reports.small_cells import LEVEL_NAMES, SUMS, MoneyTable, ShownMoney, shown_money

FORMAT_VERSION: Final = "2"
"""Goes up when a reader of `report.json` has to change; docs/reports.md tells how."""


def write_report(report: Report, folder: Path) -> tuple[Path, Path]:
    """Write `report.json` and `index.html` into a folder, which is made if it is not there.

    Raises:
        CountsDoNotAddUp: rows or money do not reconcile; nothing is written.
    """
    check_report(report)
    folder.mkdir(parents=True, exist_ok=True)
    machine, page = folder / "report.json", folder / "index.html"
    machine.write_bytes(report_json(report))
    page.write_text(report_page(report), encoding="utf-8")
    return machine, page


def check_report(report: Report) -> None:
    """Hold a report to itself.

    Raises:
        CountsDoNotAddUp: naming the table, or the level, claim type and category; or claims in
            quarantine have no first cause.
    """
    reconcile(report.counts, (each.rejected_rows for each in report.rules))
    claims = report.counts.get("claim", RowCounts()).quarantined
    by_cause = sum(rule.rejected_claims for rule in report.rules)
    if by_cause != claims:
        raise CountsDoNotAddUp(
            f"{claims} claims are in quarantine, but {by_cause} have a rule that rejected them"
        )
    for key, totals in report.money.items():
        if not totals.adds_up:
            raise CountsDoNotAddUp(
                f"money of {key.level}, {key.claim_type}, {key.category}: what came in is not "
                "what was published, quarantined and superseded"
            )


def report_json(report: Report) -> bytes:
    """Return the report for machines, as docs/reports.md describes it."""
    return (json.dumps(_plain(report), ensure_ascii=False, indent=2) + "\n").encode()


def _plain(report: Report) -> dict[str, Any]:
    money = shown_money(report.money, report.small_cells)
    return {
        "format": FORMAT_VERSION,
        "run": report.run,
        "release": report.release,
        "parent": report.parent,
        "when": report.when.isoformat(),
        "program": report.program,
        "published": report.release is not None,
        "stopped": report.stopped,
        "extract": {
            "layout": report.extract.layout,
            "kind": report.extract.kind,
            "as_of": report.extract.as_of.isoformat() if report.extract.as_of else None,
            "payer": report.extract.payer or None,
            "default_stamp": report.default_stamp
            and {"instant": report.default_stamp.instant, "source": report.default_stamp.source},
            "files": [
                {
                    "name": each.name,
                    "rows": each.rows,
                    "unowned_rows": each.unowned,
                    "sha256": each.sha256,
                }
                for each in report.extract.files
            ],
        },
        "mapping": report.mapping
        and {
            "set": report.mapping.set_name,
            "version": report.mapping.version,
            "sha256": report.mapping.sha256,
            "profiles": list(report.mapping.profiles),
        },
        "tables": {
            name: {
                "in": each.rows_in,
                "published": each.published,
                "quarantined": each.quarantined,
                "superseded": each.superseded,
                "adds_up": each.adds_up,
            }
            for name, each in _in_order(report.counts).items()
        },
        "limits": [
            {
                "limit": each.limit,
                "allowed": each.allowed,
                "found": each.found,
                "holds": each.holds,
                "sentence": each.sentence,
            }
            for each in report.verdicts
        ],
        "rules_looked_at": report.rules_looked_at,
        "rules": [
            {
                "rule": each.rule,
                "severity": each.severity.value,
                "default_severity": each.default.value,
                "says": each.says,
                "spoils": each.spoils,
                "findings": each.findings,
                "tables": dict(each.tables),
                "rejected_rows": each.rejected_rows,
                "rejected_claims": each.rejected_claims,
                "examples": [_example(report, place) for place in each.examples],
            }
            for each in report.rules
        ],
        "money": [
            {
                "level": LEVEL_NAMES[key.level],
                "claim_type": key.claim_type,
                "category": key.category,
                **{name: _sum_text(getattr(each, name)) for name in SUMS},
                "adds_up": each.adds_up,
            }
            for key, each in money.cells.items()
        ],
        "money_check": {
            "compared": len(report.money),
            "adds_up": all(each.adds_up for each in report.money.values()),
            "small_cells": report.small_cells,
            "withheld": money.withheld,
            "exact": report.exact_money or None,
        },
        "resources": dict(sorted(report.resources.items())),
        "completeness": _completeness(report),
        "unmapped": [
            {
                "crosswalk": each.crosswalk,
                "count": each.count,
                "examples": [_example(report, place) for place in each.examples],
            }
            for each in report.unmapped
        ],
        "suites": [
            {
                "table": each.table,
                "rows": each.of,
                "looked_at": each.covered,
                "expectations": each.expectations,
                "met": each.passed,
                "page": each.page or None,
            }
            for each in report.suites
        ],
        "quarantine": [
            {"source": each.source, "rows": each.rows, "path": each.path}
            for each in report.quarantine
        ],
        "data_docs": report.data_docs or None,
        "notes": list(report.notes),
        "findings_file": report.findings_file or None,
        "advice": list(report.advice),
    }


def _sum_text(cents: int | None) -> str | None:
    return None if cents is None else cents_text(cents)


def _in_order(counts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: counts[name] for name in TABLES if name in counts}


def _file_name(report: Report, number: int | None) -> str:
    """Return a file's name; findings about the extract as a whole name no file of it."""
    if number is not None and 0 <= number < len(report.extract.files):
        return report.extract.files[number].name
    return ""


def _example(report: Report, place: Example) -> dict[str, Any]:
    return {
        "file": _file_name(report, place.file) or None,
        "row": place.row,
        "column": place.column or None,
    }


def _completeness(report: Report) -> list[dict[str, Any]]:
    """Return, for each column that carries an element of CPCDS, how many rows fill it."""
    lines = []
    for name, columns in report.filled.items():
        of = report.counts[name].published if name in report.counts else 0
        for column in TABLES[name].columns:
            if not of or not (column.required or column.map_ids):
                continue
            lines.append(
                {
                    "table": name,
                    "column": column.name,
                    "map_ids": list(column.map_ids),
                    "required": column.required,
                    "filled": columns.get(column.name, 0),
                    "of": of,
                }
            )
    return sorted(lines, key=lambda line: list(TABLES).index(line["table"]))


def _by_table(lines: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    return [(table, list(group)) for table, group in groupby(lines, key=lambda line: line["table"])]


def report_page(report: Report) -> str:
    """Return the report for people: one page that needs no script and no network."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["money"] = lambda cents: "withheld" if cents is None else _money_text(cents)
    environment.filters["day"] = _day
    environment.filters["minute"] = _minute
    environment.filters["share"] = _share
    source = files("etl.reports").joinpath("report.html.j2").read_text(encoding="utf-8")
    money = shown_money(report.money, report.small_cells)
    return environment.from_string(source).render(
        report=report,
        counts=_in_order(report.counts),
        money_all=[
            (LEVEL_NAMES[level], category, each) for (level, category), each in money.totals.items()
        ],
        money_by_type=[
            (claim_type, rows)
            for claim_type in (*CLAIM_TYPES, UNKNOWN_TYPE)
            if (rows := _rows_of_type(money, claim_type))
        ],
        withheld=money.withheld,
        completeness=_by_table(_completeness(report)),
        accepted="published" if report.release else "accepted",
        file_name=lambda number: _file_name(report, number),
        findings=sum(each.findings for each in report.rules),
        rejecting=[each for each in report.rules if each.severity.rejects and each.findings],
        warning=[each for each in report.rules if not each.severity.rejects and each.findings],
    )


def _rows_of_type(money: MoneyTable, claim_type: str) -> list[tuple[str, str, ShownMoney]]:
    return [
        (LEVEL_NAMES[key.level], key.category, each)
        for key, each in money.cells.items()
        if key.claim_type == claim_type
    ]


def _money_text(amount: int) -> str:
    whole, _, cents = cents_text(amount).partition(".")
    sign = "\N{MINUS SIGN}" if whole.startswith("-") else ""
    return f"{sign}{int(whole.lstrip('-')):,}.{cents}"


def _day(day: date | None) -> str:
    return day.isoformat() if day else "not said"


def _minute(when: datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M %Z").strip()


def _share(part: int, of: int) -> str:
    """Return a percentage that says 100 or 0 only when it is just that."""
    if not of:
        return "\N{EN DASH}"
    if part == of:
        return "100 %"
    tenths = part * 1000 // of
    if part and not tenths:
        return "< 0.1 %"
    return f"{tenths // 10}.{tenths % 10} %"
