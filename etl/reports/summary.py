"""The few rows that the command line prints after a run."""

from __future__ import annotations

from dataclasses import dataclass

from etl.model.tables import TABLES
from etl.reports.facts import Report


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run comes to.

    Attributes:
        tables: (table, rows in, published, quarantined, superseded), tables with rows only.
        resources: (resource type, how many).
        warnings: findings that reject nothing.
        rejections: findings that reject a row or a claim.
        broken_limits: one sentence each.
    """

    tables: tuple[tuple[str, int, int, int, int], ...]
    resources: tuple[tuple[str, int], ...]
    warnings: int
    rejections: int
    broken_limits: tuple[str, ...]


def summary(report: Report) -> Summary:
    """Return the rows of a summary table."""
    rejecting = sum(rule.findings for rule in report.rules if rule.severity.rejects)
    return Summary(
        tables=tuple(
            (name, each.rows_in, each.published, each.quarantined, each.superseded)
            for name in TABLES
            if (each := report.counts.get(name)) and each.rows_in
        ),
        resources=tuple(sorted(report.resources.items())),
        warnings=sum(rule.findings for rule in report.rules) - rejecting,
        rejections=rejecting,
        broken_limits=tuple(each.sentence for each in report.verdicts if not each.holds),
    )
