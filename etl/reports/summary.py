"""Totals of a run for its end, its record and its messages: views of its report."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from etl.columns.numbers import cents_text
from etl.errors import counted
from etl.model.canonical_tables import TABLES
from etl.quality.totals.counts import RowCounts
from etl.quality.totals.limits import Verdict
from etl.reports.changes import money_level
from etl.reports.report_values import EmptyCrosswalk, MissingCells, Report, RuleTotals
from etl.reports.small_cells import LEVEL_NAMES, shown_money


def is_directory(tables: Collection[str]) -> bool:
    """Return whether tables are of a directory of providers, which has no members and claims."""
    return bool(tables) and "member" not in tables and "claim" not in tables


@dataclass(frozen=True, slots=True)
class Cause:
    """A rule that began the rejection of rows.

    Attributes:
        rule: its id.
        says: its sentence.
        claims: claims in quarantine with this first cause.
        rows: rows of all tables.
    """

    rule: str
    says: str
    claims: int
    rows: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """Rejected rows and claims, by first cause.

    Attributes:
        claims: claims in quarantine: the sum over all causes.
        of: claims that came in.
        causes: every rule that began a rejection, the one that cost most claims first.
        advice: what to do, where a whole table or over half of the claims was rejected.
        empty_crosswalks: crosswalks of the layout that are to be filled.
        missing: cells that must be filled and are not, for which rows are rejected.
        rows: (rows in quarantine, rows that came in) of all tables of a directory of providers;
            None where there are claims.
    """

    claims: int
    of: int
    causes: tuple[Cause, ...]
    advice: tuple[str, ...] = ()
    empty_crosswalks: tuple[EmptyCrosswalk, ...] = ()
    missing: tuple[MissingCells, ...] = ()
    rows: tuple[int, int] | None = None

    def share(self) -> str:
        """Return how much of the extract is in quarantine: claims, or rows of a directory."""
        if self.rows is None:
            return f"{self.claims:,} of {self.of:,} claims are in quarantine"
        lost, of = self.rows
        return f"{lost:,} of {counted(of, 'row')} are in quarantine"

    def sentence(self, most: int) -> str:
        """Return the rules that rejected most in a sentence; empty where none rejected."""
        if not self.causes:
            return ""
        causes = [
            f"{cause.rule} ({'' if self.rows else f'{cause.claims:,} claims, '}{cause.rows:,} rows)"
            for cause in self.causes[:most]
        ]
        return f"First causes: {', '.join(causes)}."


def rejected(
    rules: Iterable[RuleTotals],
    counts: Mapping[str, RowCounts],
    advice: tuple[str, ...],
    missing: Iterable[MissingCells] = (),
    empty_crosswalks: tuple[EmptyCrosswalk, ...] = (),
) -> Rejected:
    """Return what was rejected, by first cause, and which facts are missing."""
    rules = tuple(rules)
    rejecting = {rule.rule for rule in rules if rule.severity.rejects}
    causes = [
        Cause(rule.rule, rule.says, rule.rejected_claims, rule.rejected_rows)
        for rule in rules
        if rule.rejected_rows
    ]
    causes.sort(key=lambda cause: (-cause.claims, -cause.rows, cause.rule))
    claims = counts.get("claim", RowCounts())
    return Rejected(
        claims.quarantined,
        claims.rows_in,
        tuple(causes),
        advice,
        empty_crosswalks,
        tuple(fact for fact in missing if fact.rule in rejecting),
        (
            sum(each.quarantined for each in counts.values()),
            sum(each.rows_in for each in counts.values()),
        )
        if is_directory(counts)
        else None,
    )


class FindingTotals(msgspec.Struct, frozen=True):
    """Findings of a run: how many reject, how many warn, and rule -> table -> how many."""

    reject: int = 0
    warn: int = 0
    rules: Mapping[str, Mapping[str, int]] = msgspec.field(default_factory=dict)


class RejectionCause(msgspec.Struct, frozen=True):
    """A rule that began the rejection of claims and rows."""

    rule: str
    claims: int
    rows: int


class MoneyProof(msgspec.Struct, frozen=True):
    """The comparison of sums of money: how many, whether all agree, and net sums by category.

    Net sums are those of the claims' headers, or of their lines if totals are summed from them;
    decimal text, None where it is withheld.
    """

    compared: int = 0
    adds_up: bool = True
    net: Mapping[str, str | None] = msgspec.field(default_factory=dict)


class RunTotals(msgspec.Struct, frozen=True):
    """The totals of a run that wrote a report.

    Attributes:
        tables: table -> `in`, `published`, `quarantined`, `superseded` rows; tables with rows only.
        resources: resource type -> how many.
        findings: of all rules.
        broken_limits: a sentence each.
        causes: by first cause, those that rejected most claims first.
        money: sums of money between the source and its outcome.
    """

    tables: Mapping[str, Mapping[str, int]]
    resources: Mapping[str, int]
    findings: FindingTotals = FindingTotals()
    broken_limits: tuple[str, ...] = ()
    causes: tuple[RejectionCause, ...] = ()
    money: MoneyProof = MoneyProof()

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
        return sum(fates["in"] for fates in self.tables.values())

    @property
    def rejected_rows(self) -> int:
        """Rows in quarantine, of all tables."""
        return sum(fates["quarantined"] for fates in self.tables.values())


def totals_of(report: Report) -> RunTotals:
    """Return the totals of a report."""
    shown = shown_money(report.money, report.small_cells)
    money_of = money_level([{"rules": rules_of(report.rules)}])
    net = {
        category: None if sums.net is None else cents_text(sums.net)
        for (level, category), sums in shown.totals.items()
        if LEVEL_NAMES[level] == money_of
    }
    adds_up = all(sums.adds_up for sums in report.money.values())
    rejecting = sum(rule.findings for rule in report.rules if rule.severity.rejects)
    warning = sum(rule.findings for rule in report.rules) - rejecting
    by_rule = {rule.rule: dict(rule.tables) for rule in report.rules if rule.findings}
    return RunTotals(
        tables=rows_by_fate(report.counts),
        resources=dict(sorted(report.resources.items())),
        findings=FindingTotals(rejecting, warning, by_rule),
        broken_limits=tuple(verdict.sentence for verdict in report.verdicts if not verdict.holds),
        causes=tuple(
            RejectionCause(cause.rule, cause.claims, cause.rows)
            for cause in rejected_of(report).causes
        ),
        money=MoneyProof(len(report.money), adds_up, net),
    )


def rejected_of(report: Report) -> Rejected:
    """Return what a report's run rejected, by first cause."""
    return rejected(
        report.rules, report.counts, report.advice, report.missing, report.empty_crosswalks
    )


def limit_json(verdict: Verdict) -> dict[str, object]:
    """Return a limit, what was found, and whether it holds."""
    names = ("limit", "allowed", "found", "holds")
    return {name: getattr(verdict, name) for name in names}


def unowned_rows(report: Report) -> dict[str, int]:
    """Return file -> rows that cannot be read and have no known owner."""
    return {file.name: file.unowned_rows for file in report.extract.files if file.unowned_rows}


def rules_of(rules: Iterable[RuleTotals]) -> list[dict[str, Any]]:
    """Return what `etl.reports.changes` compares of rules."""
    return [{"rule": rule.rule, "findings": rule.findings} for rule in rules]


FATES: Final = ("in", "published", "quarantined", "superseded", "withdrawn")
"""Names of the counts of a table's rows, in order."""


def shown_fate(fate: str, *, is_published: bool) -> str:
    """Return what a fate is called: rows are `accepted` if the run published nothing."""
    return "accepted" if fate == "published" and not is_published else fate


def rows_by_fate(counts: Mapping[str, RowCounts]) -> dict[str, dict[str, int]]:
    """Return the counts of each table that has rows, in the order of the canonical tables."""
    return {
        name: by_fate(counts[name]) for name in TABLES if name in counts and counts[name].rows_in
    }


def by_fate(counts: RowCounts) -> dict[str, int]:
    """Return the counts of a table's rows by fate; `withdrawn` only where there are any."""
    fates = (
        counts.rows_in,
        counts.published,
        counts.quarantined,
        counts.superseded,
        counts.withdrawn,
    )
    return {
        name: rows for name, rows in zip(FATES, fates, strict=True) if rows or name != FATES[-1]
    }
