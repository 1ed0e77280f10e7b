"""Results of a run, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import click
import msgspec

from etl.errors import counted
from etl.pipeline.reporting.report_files import MOST_CAUSES
from etl.pipeline.reporting.run_record import GOOD, RunRecord
from etl.quality.totals.counts import RowCounts
from etl.reports import summary
from etl.reports.changes import new_rules
from etl.reports.report_values import Report, RuleTotals

if TYPE_CHECKING:
    from rich.console import Console


_MOST_WARNINGS: Final = 5
"""Rules that warn and are printed."""
_MOST_TABLES: Final = 5
"""Tables that lost rows and are printed; the report has all."""


def show_summary(report: Report) -> None:
    """Print the row counts, the resources made, and the findings."""
    totals = summary.totals_of(report)
    _print_counts(totals.tables, is_published=report.release is not None)
    console = _console()
    resource_counts = ", ".join(f"{name} {count:,}" for name, count in totals.resources.items())
    console.print(f"{sum(totals.resources.values()):,} resources: {resource_counts}", markup=False)
    findings = totals.findings
    console.print(f"{findings.reject:,} findings reject rows, {findings.warn:,} are warnings")
    previous = report.previous and report.previous.document
    rules = {"rules": summary.rules_of(report.rules)}
    show_warnings(report.rules, new_rules(previous, rules) if previous else ())
    show_rejected(summary.rejected_of(report))
    show_unowned(summary.unowned_rows(report))
    for sentence in totals.broken_limits:
        console.print(f"limit broken: {sentence}")


def show_warnings(rules: Iterable[RuleTotals], new: Collection[str]) -> None:
    """Print the rules that warn, new ones first."""
    warnings = [rule for rule in rules if rule.findings and not rule.severity.rejects]
    warnings.sort(key=lambda rule: (rule.rule not in new, -rule.findings))
    rows = [
        (f"{rule.rule}{' (new)' * (rule.rule in new)}", f"{rule.findings:,}") for rule in warnings
    ]
    if len(rows) > _MOST_WARNINGS + 1:
        rest = sum(rule.findings for rule in warnings[_MOST_WARNINGS:])
        rows[_MOST_WARNINGS:] = [(f"{len(rows) - _MOST_WARNINGS} other rules", f"{rest:,}")]
    if rows:
        print_table(("warnings", "findings"), rows)


def show_rejected(rejected: summary.Rejected) -> None:
    """Print the rules that reject most, claims by first cause, remedies, and what is missing."""
    if rejected.causes:
        _show_causes(rejected)
    show_missing(rejected)


def show_missing(rejected: summary.Rejected) -> None:
    """Print the facts that an extract lacks: empty crosswalks, and cells for which rows go."""
    rows = [
        (f"{empty.crosswalk} is empty: {', '.join(empty.columns)}", f"{empty.cells:,}")
        for empty in rejected.empty_crosswalks
    ]
    rows += [
        (f"{'.'.join(filter(None, (fact.table, fact.column)))}: {fact.rule}", f"{fact.cells:,}")
        for fact in rejected.missing[:MOST_CAUSES]
    ]
    if not rows:
        return
    print_table(("missing facts", "cells"), rows)
    console = _console()
    if rejected.empty_crosswalks:
        console.print(
            "To fill an empty crosswalk, add a file with its name to crosswalks/ in a folder of "
            "your own (--mappings).",
            markup=False,
        )
    if rejected.missing:
        console.print(
            "The layout must fill a missing cell, or the payer must send it. The report of cpcds "
            "run or cpcds validate lists the rows; docs/layouts.md says which cells the shipped "
            "layouts cannot fill.",
            markup=False,
        )


def _show_causes(rejected: summary.Rejected) -> None:
    first, rest = rejected.causes[:MOST_CAUSES], rejected.causes[MOST_CAUSES:]
    rows = [(each.rule, f"{each.claims:,}", f"{each.rows:,}") for each in first]
    if rest:
        claims, lost = (sum(each) for each in zip(*((c.claims, c.rows) for c in rest), strict=True))
        rows.append((f"{len(rest)} other rules", f"{claims:,}", f"{lost:,}"))
    if rejected.rows is None:
        print_table(("rejected by (first cause)", "claims", "rows"), rows)
    else:
        print_table(("rejected by (first cause)", "rows"), [(rule, lost) for rule, _, lost in rows])
    console = _console()
    console.print(rejected.share(), markup=False)
    for sentence in rejected.advice:
        console.print(sentence, markup=False)


def show_unowned(unowned: Mapping[str, int]) -> None:
    """Print by file how many rows could be assigned to no claim or member."""
    for file, rows in unowned.items():
        _console().print(
            f"{file}: {rows:,} rows cannot be read or have no owner, "
            "so it is unknown what they belong to"
        )


def show_counts(counts: Mapping[str, RowCounts]) -> None:
    """Print the row counts of each table, by outcome."""
    _print_counts(summary.rows_by_fate(counts), is_published=False)


def _print_counts(tables: Mapping[str, Mapping[str, int]], *, is_published: bool) -> None:
    """Print row counts by outcome: of the tables that lost most rows, then of all tables together.

    Claims are never withdrawn, and have no such column.
    """
    are_withdrawn = any(summary.FATES[-1] in rows for rows in tables.values())
    fates = summary.FATES if are_withdrawn else summary.FATES[:-1]

    def losses(name: str) -> int:
        return tables[name]["in"] - tables[name]["published"]

    shown = {name: [name] for name in sorted(tables, key=losses, reverse=True) if losses(name)}
    shown = dict(list(shown.items())[:_MOST_TABLES]) | {
        f"all {counted(len(tables), 'table')}": [*tables]
    }
    print_table(
        ("rows", *(summary.shown_fate(fate, is_published=is_published) for fate in fates)),
        [
            (title, *(f"{sum(tables[name].get(fate, 0) for name in names):,}" for fate in fates))
            for title, names in shown.items()
        ],
    )


def print_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table: the first column is text, the others are numbers."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)


def show_record(record: RunRecord) -> None:
    """Print how a run ended: its phases, what was rejected, whether money adds up; in colour."""
    phases = ", ".join(f"{each.stage} {each.seconds:,.1f}" for each in record.phases)
    _console().print(f"seconds: {phases}", markup=False)
    totals = record.totals
    if totals is not None:
        some = "yellow" if totals.rejected_rows else "green"
        click.secho(f"rejected: {_rejected_share(totals)}", fg=some)
        if totals.has_claims:
            click.secho(
                f"money: {_money_text(totals)}", fg="green" if totals.money.adds_up else "red"
            )
    good = record.verdict in GOOD
    click.secho(
        f"verdict: {record.verdict}, after {record.seconds:,.1f} s (run {record.run})",
        fg="green" if good else "red",
        bold=True,
    )


def totals_text(totals: summary.RunTotals, before_money: str = "; money: ") -> str:
    """Return how many claims and rows were rejected, and whether money adds up.

    Without claims: how many rows.
    """
    if not totals.has_claims:
        return f"{_rejected_share(totals)} rejected"
    rows = counted(totals.rejected_rows, "row")
    return f"{_rejected_claims(totals)} and {rows} rejected{before_money}{_money_text(totals)}"


def _rejected_share(totals: summary.RunTotals) -> str:
    if not totals.has_claims:
        return f"{totals.rejected_rows:,} of {counted(totals.rows, 'row')}"
    share = f", {100 * totals.rejected_claims / totals.claims:.1f} %" if totals.claims else ""
    rows = counted(totals.rejected_rows, "row")
    return f"{_rejected_claims(totals)}{share}; {rows} of all tables"


def _money_text(totals: summary.RunTotals) -> str:
    """Return whether every sum of money is accounted for, and what the plan paid."""
    if not totals.money.compared:
        return "no totals were compared"
    sums = counted(totals.money.compared, "sum")
    proof = (
        f"all {sums} add up to the cent"
        if totals.money.adds_up
        else f"some of {sums} do not add up"
    )
    paid = totals.money.net.get("benefit")
    return proof if paid is None else f"{proof}; plan paid {Decimal(paid):,} net"


def _rejected_claims(totals: summary.RunTotals) -> str:
    return f"{totals.rejected_claims:,} of {counted(totals.claims, 'claim')}"


def record_json(record: RunRecord) -> dict[str, object]:
    """Return the fields of a record that `--json` adds to the summary."""
    body = record.to_json()
    keys = ("run", "verdict", "began", "ended", "seconds", "phases")
    money = {} if body["totals"] is None else {"money": body["totals"]["money"]}
    return {name: body[name] for name in keys} | money


def summary_json(report: Report) -> dict[str, object]:
    """Return the summary of a run as JSON."""
    totals = summary.totals_of(report)
    return {
        "tables": totals.tables,
        "resources": totals.resources,
        "findings": {"reject": totals.findings.reject, "warn": totals.findings.warn},
        "unowned_rows": summary.unowned_rows(report),
        "broken_limits": totals.broken_limits,
        "rejected": rejected_json(summary.rejected_of(report)),
    }


def rejected_json(rejected: summary.Rejected) -> dict[str, object]:
    """Return what was rejected, by first cause; claims of all causes sum to `claims`."""
    body: dict[str, object] = msgspec.to_builtins(rejected)
    del body["rows"]
    return body


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)
