"""A report as plain values: the contents of `report.json`, and the only input of the pages.

So no table or plot can show anything that the document withholds. Files are written only after the
report is reconciled: no row or cent may be missing.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from etl.columns.numbers import cents_text
from etl.model.canonical_tables import TABLES
from etl.model.data_models import CLAIMS
from etl.publish.run_reports import REPORT_FORMAT
from etl.quality.totals.counts import CountsDoNotAddUp, FilledKey, RowCounts, reconcile
from etl.quality.totals.money import MONEY_TYPES, MoneyKey, MoneyTotals
from etl.reports.certificate import certificate_document, timeliness_document
from etl.reports.changes import changes_since
from etl.reports.directory import directory_document
from etl.reports.finding_places import ShownPlace
from etl.reports.must_support import must_support_json
from etl.reports.page import report_page, rule_page
from etl.reports.pools import pool_cells
from etl.reports.report_values import Example, Report
from etl.reports.small_cells import LEVEL_NAMES, SUMS, MoneyTable, ShownMoney, shown_money
from etl.reports.summary import by_fate, limit_json

_CLAIM_ID: Final = "claim_id"
"""Column that each row of a claim fills."""
_ACTION: Final = "record_action"
"""Column that says what a delta does with a row; it carries no data about the claim."""


def report_json(document: Mapping[str, Any]) -> bytes:
    """Encode a report, or a part of it, as indented JSON."""
    return (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode()


def report_document(report: Report) -> dict[str, Any]:
    """Return a report as plain values; docs/reports.md describes its fields."""
    document = _report_fields(report)
    document["changes"] = report.previous and changes_since(report.previous, document)
    return document


def _report_fields(report: Report) -> dict[str, Any]:
    money = shown_money(report.money, report.small_cells)
    return {
        "format": REPORT_FORMAT,
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
            "default_stamp": to_json(report.default_stamp),
            "files": to_json(report.extract.files),
        },
        "mapping": to_json(report.mapping),
        "tables": {
            name: {**by_fate(count), "adds_up": count.adds_up}
            for name in TABLES
            if (count := report.counts.get(name)) is not None
            and (count.rows_in or not TABLES[name].optional)
        },
        "limits": [
            {**limit_json(verdict), "sentence": verdict.sentence, "details": list(verdict.details)}
            for verdict in report.verdicts
        ],
        "rules_looked_at": report.rules_looked_at,
        "rules": [
            {
                "rule": rule.rule,
                "severity": rule.severity.value,
                "default_severity": rule.default.value,
                "says": rule.says,
                "spoils": rule.spoils,
                "findings": rule.findings,
                "tables": dict(rule.tables),
                "rejected_rows": rule.rejected_rows,
                "rejected_claims": rule.rejected_claims,
                "page": rule_page_path(rule.rule) if rule.findings or rule.rejected_rows else None,
                "examples": [_example_json(report, place) for place in rule.examples],
            }
            for rule in report.rules
        ],
        **money_document(report.money, money, report.small_cells, report.exact_money),
        "certificate": report.certificate
        and certificate_document(report.certificate, report.money, money, report.small_cells),
        "timeliness": report.timeliness and timeliness_document(report.timeliness),
        "directory": report.directory and directory_document(report.directory),
        "resources": dict(sorted(report.resources.items())),
        "completeness": completeness(report.filled, report.counts, _previous_columns(report)),
        "claims_by_month": _claims_by_month(report),
        "missing": to_json(report.missing),
        "empty_crosswalks": to_json(report.empty_crosswalks),
        "must_support": must_support_json(report.must_support),
        "unmapped": [
            {
                "crosswalk": unmapped_word.crosswalk,
                "word": unmapped_word.word or None,
                "count": unmapped_word.count,
                "examples": [_example_json(report, place) for place in unmapped_word.examples],
            }
            for unmapped_word in report.unmapped
        ],
        "suites": to_json(report.suites),
        "quarantine": to_json(report.quarantine),
        "data_docs": report.data_docs or None,
        "notes": list(report.notes),
        "findings_file": report.findings_file or None,
        "advice": list(report.advice),
        "all_reports": report.all_reports or None,
    }


def money_document(
    exact: Mapping[MoneyKey, MoneyTotals], shown: MoneyTable, small_cells: int, path: str = ""
) -> dict[str, Any]:
    """Return the sums of money as a report states them.

    Args:
        exact: the exact sums.
        shown: the same sums, small ones withheld.
        small_cells: sums over at most this many claims are withheld.
        path: path of the file with the exact sums; empty if there is none.
    """
    return {
        "money": [
            {
                "level": LEVEL_NAMES[key.level],
                "claim_type": key.claim_type,
                "category": key.category,
                **_money_sums(cell),
            }
            for key, cell in shown.cells.items()
        ],
        "money_totals": [
            {"level": LEVEL_NAMES[level], "category": category, **_money_sums(total)}
            for (level, category), total in shown.totals.items()
        ],
        "money_check": {
            "compared": len(exact),
            "adds_up": all(sums.adds_up for sums in exact.values()),
            "small_cells": small_cells,
            "withheld": shown.withheld,
            "exact": path or None,
        },
    }


def to_json(value: Any) -> Any:
    """Convert a value to JSON types; fields become keys."""
    return msgspec.json.decode(msgspec.json.encode(value))


def rule_page_path(rule: str) -> str:
    """Return the path of a rule's page, relative to the report."""
    return f"rules/{rule}.html"


def _money_sums(money: ShownMoney) -> dict[str, Any]:
    sums = {name: getattr(money, name) for name in SUMS}
    return {
        **{name: None if cents is None else cents_text(cents) for name, cents in sums.items()},
        "adds_up": money.adds_up,
    }


def _file_name(report: Report, number: int | None) -> str:
    """Return a file's name; empty for findings about the extract as a whole."""
    if number is not None and 0 <= number < len(report.extract.files):
        return report.extract.files[number].name
    return ""


def _example_json(report: Report, example: Example) -> dict[str, Any]:
    return {
        "file": _file_name(report, example.file) or None,
        "row": example.row,
        "column": example.column or None,
    }


def _previous_columns(report: Report) -> Sequence[Mapping[str, Any]]:
    document = None if report.previous is None else report.previous.document
    return [] if document is None else document["completeness"]


def completeness(
    filled_cells: Mapping[FilledKey, int],
    counts: Mapping[str, RowCounts],
    previous: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Count the rows that fill each column with a CPCDS element.

    Also by claim type: a column that one type never fills is no gap in the others.

    Args:
        filled_cells: filled cells of accepted rows.
        counts: table -> counts of its rows, by fate.
        previous: the same of the previous release, whose figures are added.
    """
    filled: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for key, rows in filled_cells.items():
        filled[key.table, key.column][key.claim_type] += rows
    earlier = {
        (column["table"], column["column"], part.get("claim_type")): {
            "filled": part["filled"],
            "of": part["of"],
        }
        for column in previous
        for part in (column, *column["by_claim_type"])
    }
    entries = []
    for name in TABLES:
        published = counts[name].published if name in counts else 0
        by_type = filled[name, _CLAIM_ID]
        is_public = name not in CLAIMS.tables  # its columns are not elements of CPCDS
        for column in TABLES[name].columns:
            is_shown = column.required or column.map_ids or column.meaning or is_public
            if not published or not is_shown or column.name == _ACTION:
                continue
            cells = filled[name, column.name]
            entries.append(
                {
                    "table": name,
                    "column": column.name,
                    "map_ids": list(column.map_ids),
                    "required": column.required,
                    "filled": cells.total(),
                    "of": published,
                    "previous": earlier.get((name, column.name, None)),
                    "by_claim_type": [
                        {
                            "claim_type": claim_type,
                            "filled": cells[claim_type],
                            "of": by_type[claim_type],
                            "previous": earlier.get((name, column.name, claim_type)),
                        }
                        for claim_type in MONEY_TYPES
                        if by_type[claim_type]
                    ],
                }
            )
    return entries


def _claims_by_month(report: Report) -> list[dict[str, Any]]:
    """Count claims by type and month of service; months with few claims are added up."""
    claims: dict[str, Counter[str]] = defaultdict(Counter)
    for key, rows in report.filled.items():
        if key.month:
            claims[key.claim_type][key.month] += rows
    entries = []
    for claim_type in (name for name in MONEY_TYPES if name in claims):
        months = claims[claim_type]
        cells = {month: (months[month],) * 2 for month in sorted(months)}
        pool = pool_cells(cells, report.small_cells)
        entries += [
            _month_entry(claim_type, month, months[month])
            for month in sorted(months)
            if month not in pool.names
        ]
        entries += [_month_entry(claim_type, None, pool.claims)] if pool.names else []
    return entries


def _month_entry(claim_type: str, month: str | None, claims: int) -> dict[str, Any]:
    return {"claim_type": claim_type, "month": month, "claims": claims}


CERTIFICATE: Final = "certificate.json"
"""Name of the file next to the report that contains only the certificate."""


def write_report(
    report: Report, folder: Path, shown: Mapping[str, Sequence[ShownPlace]] = MappingProxyType({})
) -> tuple[Path, Path]:
    """Write a report into a folder, which is created if necessary.

    Args:
        report: the contents.
        folder: the destination.
        shown: rule -> the first places of its findings, for its page.

    Returns:
        The paths of `report.json` and `index.html`.

    Raises:
        CountsDoNotAddUp: rows or money do not reconcile. Nothing is written.
    """
    check_report(report)
    folder.mkdir(parents=True, exist_ok=True)
    document = report_document(report)
    json_path, page_path = folder / "report.json", folder / "index.html"
    json_path.write_bytes(report_json(document))
    page_path.write_text(report_page(document), encoding="utf-8")
    if document["certificate"] is not None:
        (folder / CERTIFICATE).write_bytes(report_json(document["certificate"]))
    for rule in document["rules"]:
        if rule["page"] is not None:
            path = folder / rule["page"]
            path.parent.mkdir(exist_ok=True)
            text = rule_page(document, rule, shown.get(rule["rule"], ()))
            path.write_text(text, encoding="utf-8")
    return json_path, page_path


def check_report(report: Report) -> None:
    """Check that the rows and the money of a report reconcile.

    Raises:
        CountsDoNotAddUp: the counts of a table or the money of a level, claim type and category
            do not add up, or claims in quarantine have no first cause.
    """
    reconcile(report.counts, (rule.rejected_rows for rule in report.rules))
    claims = report.counts.get("claim", RowCounts()).quarantined
    by_rule = sum(rule.rejected_claims for rule in report.rules)
    if by_rule != claims:
        raise CountsDoNotAddUp(
            f"{claims} claims are in quarantine, but {by_rule} have a rule that rejected them"
        )
    for key, totals in report.money.items():
        if not totals.adds_up:
            raise CountsDoNotAddUp(
                f"money of {key.level}, {key.claim_type}, {key.category}: what came in is not "
                "what was published, quarantined and superseded"
            )
