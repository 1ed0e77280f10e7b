"""The few rows that the command line prints after a run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from etl.model.canonical_tables import TABLES
from etl.quality import RowCounts
from etl.reports.report_values import EmptyCrosswalk, MissingCells, Report, RuleTotals


def is_directory(tables: Collection[str]) -> bool:
    """Return whether tables are of a directory of providers, which has no members and claims."""
    return bool(tables) and "member" not in tables and "claim" not in tables


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


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


@dataclass(frozen=True, slots=True)
class Summary:
    """Totals of a run.

    Attributes:
        tables: (table, rows in, published, quarantined, superseded, withdrawn), tables with
            rows only.
        resources: (resource type, how many).
        warnings: findings that reject nothing.
        rejections: findings that reject a row or a claim.
        broken_limits: one sentence each.
        rejected: what was rejected, by first cause.
        unowned: file -> rows that cannot be read and have no known owner.
    """

    tables: tuple[tuple[str, int, int, int, int, int], ...]
    resources: tuple[tuple[str, int], ...]
    warnings: int
    rejections: int
    broken_limits: tuple[str, ...]
    rejected: Rejected
    unowned: Mapping[str, int]


def summary(report: Report) -> Summary:
    """Return the rows of a summary table."""
    rejecting = sum(rule.findings for rule in report.rules if rule.severity.rejects)
    return Summary(
        tables=tuple(
            (name, each.rows_in, each.published, each.quarantined, each.superseded, each.withdrawn)
            for name in TABLES
            if (each := report.counts.get(name)) and each.rows_in
        ),
        resources=tuple(sorted(report.resources.items())),
        warnings=sum(rule.findings for rule in report.rules) - rejecting,
        rejections=rejecting,
        broken_limits=tuple(each.sentence for each in report.verdicts if not each.holds),
        rejected=rejected(
            report.rules, report.counts, report.advice, report.missing, report.empty_crosswalks
        ),
        unowned={
            file.name: file.unowned_rows for file in report.extract.files if file.unowned_rows
        },
    )


FATES: Final = ("in", "published", "quarantined", "superseded", "withdrawn")
"""Names of the numbers of `Summary.tables`, in order."""


def shown_fate(fate: str, *, is_published: bool) -> str:
    """Return what a fate is called: rows are `accepted` if the run published nothing."""
    return "accepted" if fate == "published" and not is_published else fate


def by_fate(numbers: Iterable[int]) -> dict[str, int]:
    """Return the numbers of a table by what they are; `withdrawn` only where there are any."""
    fates = dict(zip(FATES, numbers, strict=True))
    if not fates["withdrawn"]:
        del fates["withdrawn"]
    return fates
