"""Totals of a run for the command line, the run record and notifications."""

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


def has_claims(tables: Collection[str]) -> bool:
    """Return whether a run's rows are of members and their claims, which are counted and summed."""
    return not tables or "member" in tables or "claim" in tables


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
        total_claims: claims in the extract.
        causes: every first cause of a rejection, most rejected claims first.
        advice: what to do if a whole table or over half of the claims was rejected.
        empty_crosswalks: crosswalks of the layout without any code.
        missing: empty required cells for which rows are rejected.
        rows: rows in quarantine and all rows of a provider directory; None for claims.
    """

    claims: int
    total_claims: int
    causes: tuple[Cause, ...]
    advice: tuple[str, ...] = ()
    empty_crosswalks: tuple[EmptyCrosswalk, ...] = ()
    missing: tuple[MissingCells, ...] = ()
    rows: tuple[int, int] | None = None

    def share(self) -> str:
        """Return a sentence on how much of the extract is in quarantine."""
        if self.rows is None:
            return f"{self.claims:,} of {self.total_claims:,} claims are in quarantine"
        rejected, total = self.rows
        return f"{rejected:,} of {counted(total, 'row')} are in quarantine"

    def sentence(self, most: int) -> str:
        """Return a sentence on the rules that rejected most; empty if none did."""
        if not self.causes:
            return ""
        causes = [
            f"{cause.rule} ({'' if self.rows else f'{cause.claims:,} claims, '}{cause.rows:,} rows)"
            for cause in self.causes[:most]
        ]
        return f"First causes: {', '.join(causes)}."


def summarize_rejected(
    rules: Iterable[RuleTotals],
    counts: Mapping[str, RowCounts],
    advice: tuple[str, ...],
    missing: Iterable[MissingCells] = (),
    empty_crosswalks: tuple[EmptyCrosswalk, ...] = (),
) -> Rejected:
    """Summarize what was rejected, by first cause, and which required cells are empty."""
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
        None
        if has_claims(counts)
        else (
            sum(count.quarantined for count in counts.values()),
            sum(count.rows_in for count in counts.values()),
        ),
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

    Net sums are those of the claims' headers, or of their lines if totals are summed from them.
    They are decimal text; None if withheld.
    """

    compared: int = 0
    adds_up: bool = True
    net: Mapping[str, str | None] = msgspec.field(default_factory=dict)


class RunTotals(msgspec.Struct, frozen=True):
    """The totals of a run that wrote a report.

    Attributes:
        tables: table -> `in`, `published`, `quarantined`, `superseded` rows; without empty tables.
        resources: resource type -> how many.
        findings: of all rules.
        broken_limits: one sentence for each.
        causes: first causes of rejections, most rejected claims first.
        money: the comparison of sums of money.
    """

    tables: Mapping[str, Mapping[str, int]]
    resources: Mapping[str, int]
    findings: FindingTotals = FindingTotals()
    broken_limits: tuple[str, ...] = ()
    causes: tuple[RejectionCause, ...] = ()
    money: MoneyProof = MoneyProof()

    @property
    def claims(self) -> int:
        """Claims in the extract."""
        return self.tables.get("claim", {}).get("in", 0)

    @property
    def rejected_claims(self) -> int:
        """Claims in quarantine."""
        return self.tables.get("claim", {}).get("quarantined", 0)

    @property
    def has_claims(self) -> bool:
        """Whether the run was of members, claims and money."""
        return has_claims(self.tables)

    @property
    def rows(self) -> int:
        """Rows of all tables in the extract."""
        return sum(fates["in"] for fates in self.tables.values())

    @property
    def rejected_rows(self) -> int:
        """Rows of all tables in quarantine."""
        return sum(fates["quarantined"] for fates in self.tables.values())


def totals_of(report: Report) -> RunTotals:
    """Return the totals of a report."""
    shown = shown_money(report.money, report.small_cells)
    level = money_level([{"rules": rules_of(report.rules)}])
    net = {
        category: None if sums.net is None else cents_text(sums.net)
        for (sums_level, category), sums in shown.totals.items()
        if LEVEL_NAMES[sums_level] == level
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
    """Summarize what a report's run rejected, by first cause."""
    return summarize_rejected(
        report.rules, report.counts, report.advice, report.missing, report.empty_crosswalks
    )


def limit_json(verdict: Verdict) -> dict[str, object]:
    """Return a limit, the value found, and whether the limit holds."""
    names = ("limit", "allowed", "found", "holds")
    return {name: getattr(verdict, name) for name in names}


def unowned_rows(report: Report) -> dict[str, int]:
    """Return file -> its orphan rows: unreadable rows without a known owner."""
    return {file.name: file.unowned_rows for file in report.extract.files if file.unowned_rows}


def rules_of(rules: Iterable[RuleTotals]) -> list[dict[str, Any]]:
    """Return the fields of rules that `etl.reports.changes` compares."""
    return [{"rule": rule.rule, "findings": rule.findings} for rule in rules]


FATES: Final = ("in", "published", "quarantined", "superseded", "withdrawn")
"""Names of the counts of a table's rows, in order."""


def shown_fate(fate: str, *, is_published: bool) -> str:
    """Return the name of a fate; rows are `accepted` if the run published nothing."""
    return "accepted" if fate == "published" and not is_published else fate


def rows_by_fate(counts: Mapping[str, RowCounts]) -> dict[str, dict[str, int]]:
    """Return the counts of each table with rows, in the order of the canonical tables."""
    return {
        name: by_fate(counts[name]) for name in TABLES if name in counts and counts[name].rows_in
    }


def by_fate(counts: RowCounts) -> dict[str, int]:
    """Return the counts of a table's rows by fate; `withdrawn` only if there are any."""
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
