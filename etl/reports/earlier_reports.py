"""The page of all runs into a target, from their reports, and that of `cpcds history`.

The page has each night's verdict, and trends over the nights. It is made from the reports and shows
nothing that one of them withholds: no withheld sum, and no two sums whose difference is the money
of a few claims.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from etl.publish.run_reports import Night, RolledBack
from etl.reports.changes import CLAIMS, COMPARED_MONEY, money_level, net_sums
from etl.reports.directory import directory_page, directory_trends
from etl.reports.page import CATEGORIES, all_rows, causes, environment, of_table, rejects, share
from etl.reports.plots import Plot
from etl.reports.summary import has_claims

NIGHTS: Final = 30
"""Nights that the page shows; older reports are only linked."""


def nights_page(nights: Sequence[Night], older: Sequence[str]) -> str:
    """Return the page of all reports.

    Args:
        nights: newest first.
        older: IDs of runs with older reports, newest first.
    """
    documents = [night for night in nights if not isinstance(night, RolledBack)]
    template = environment().get_template("report_index.html.j2")
    return template.render(
        has_claims=all(has_claims(night["tables"]) for night in documents),
        nights=[
            {"rolled_back": night} if isinstance(night, RolledBack) else _summarize_night(night)
            for night in nights
        ],
        older=older,
        plots=_trend_plots(documents[::-1]) if len(documents) > 1 else [],
    )


def _summarize_night(document: Mapping[str, Any]) -> dict[str, Any]:
    subject = _subject(document)
    first_causes = causes(document)
    return {
        "rolled_back": None,
        "run": document["run"],
        "when": document["when"],
        "published": document["release"] is not None,
        "broken": [limit["limit"] for limit in document["limits"] if not limit["holds"]],
        "subject": subject,
        "share": share(subject["quarantined"], subject["in"]),
        "old": _count_old(document),
        "worst": first_causes[0]["rule"] if first_causes else "",
        "rejecting": _count_findings(document, is_rejecting=True),
        "warnings": _count_findings(document, is_rejecting=False),
        "money": document["money_check"],
    }


def _subject(document: Mapping[str, Any]) -> Mapping[str, int]:
    """Return the counts of claims by fate; without claims, the counts of all rows."""
    return of_table(document, "claim") if has_claims(document["tables"]) else all_rows(document)


def _count_old(document: Mapping[str, Any]) -> int | None:
    """Count a directory's entries older than 90 days; None if the report has no ages."""
    page = directory_page(document.get("directory"))
    return None if page is None else page["old"]


def _count_findings(document: Mapping[str, Any], *, is_rejecting: bool) -> int:
    return sum(rule["findings"] for rule in document["rules"] if rejects(rule) is is_rejecting)


def _trend_plots(nights: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """Return the trends over the nights, oldest first."""
    noun = "Claims" if all(has_claims(night["tables"]) for night in nights) else "Rows"
    times = [datetime.fromisoformat(night["when"]) for night in nights]
    labels = [f"{time:%m-%d}" for time in times]
    if len(set(labels)) < len(labels):  # several runs on a day
        labels = [f"{time:%m-%d\n%H:%M}" for time in times]
    span = f"by run, {len(nights)} runs"
    shares = [_rejected_percent(night) for night in nights]
    published = [_subject(night)["published"] if night["release"] else None for night in nights]
    plots = [
        Plot(
            "rejected-share",
            f"{noun} rejected, in percent of those that came in",
            f"One bar per run, {span}: from {min(shares):.1f} % to {max(shares):.1f} %, "
            f"{shares[-1]:.1f} % in the last.",
            labels,
            {"rejected": shares},
            unit=" %",
        ),
        Plot(
            "findings",
            "Findings",
            f"Findings that reject and warnings, {span}.",
            labels,
            {
                "that reject": [_count_findings(night, is_rejecting=True) for night in nights],
                "warnings": [_count_findings(night, is_rejecting=False) for night in nights],
            },
        ),
        Plot(
            f"{noun.lower()}-published",
            f"{noun} published",
            f"{noun} in each release, {span}; none if nothing was published.",
            labels,
            {"published": published},
            kind="lines",
        ),
    ]
    if noun == "Rows":
        return plots + directory_trends(nights, labels)
    level = money_level(nights)
    nets = {category: _nets(nights, level, category) for category in COMPARED_MONEY}
    return [
        *plots,
        Plot(
            "money",
            "Net amounts of claims",
            f"Net sums of all claims ({level}), {span}; with a gap if a sum is withheld or nothing "
            "was published. If only few claims changed, the sum of the run before is repeated.",
            labels,
            {CATEGORIES[category]: sums for category, sums in nets.items()},
            kind="lines",
        ),
    ]


def _rejected_percent(document: Mapping[str, Any]) -> float:
    counts = _subject(document)
    return 100 * counts["quarantined"] / counts["in"] if counts["in"] else 0.0


def _nets(nights: Sequence[Mapping[str, Any]], level: str, category: str) -> list[Decimal | None]:
    """Return the net sum of each night, oldest first; None if it is not shown.

    If few claims changed since the last shown sum, the difference would disclose their money. So
    that sum is repeated until a night on which more claims changed.
    """
    shown: list[Decimal | None] = []
    last_sum: Decimal | None = None
    changed_claims: int | None = None
    for night in nights:
        net_text = None if night["release"] is None else net_sums(night, level).get(category)
        net = None if net_text is None else Decimal(net_text)
        if changed_claims is not None:
            changed_claims = max(changed_claims, _changed_claims(night))
        is_few = 0 < (changed_claims or 0) <= night["money_check"]["small_cells"]
        if net is not None and not is_few:
            last_sum, changed_claims = net, 0
        shown.append(None if net is None else last_sum)
    return shown


def _changed_claims(document: Mapping[str, Any]) -> int:
    """Count the claims that were added, changed and retracted since the previous release."""
    if document["release"] is None:
        return 0
    changes = document.get("changes") or {}
    counts: Mapping[str, int] = changes.get("resources", {}).get(CLAIMS, {})
    return sum(counts.values())


def runs_page(records: Sequence[Mapping[str, Any]]) -> str:
    """Return the page of `cpcds runs`.

    Args:
        records: newest first, as `RunRecord.to_json` has them.
    """
    phases = {phase["phase"]: None for record in records for phase in record["phases"]}
    return (
        environment()
        .get_template("runs.html.j2")
        .render(
            runs=[_run_row(record, list(phases)) for record in records],
            phases=list(phases),
            has_claims=all(
                has_claims(record["totals"]["tables"]) for record in records if record["totals"]
            ),
        )
    )


def _run_row(record: Mapping[str, Any], phases: Sequence[str]) -> dict[str, Any]:
    seconds = {phase["phase"]: phase["seconds"] for phase in record["phases"]}
    totals = record["totals"]
    tables: Mapping[str, Mapping[str, int]] = totals["tables"] if totals else {}
    return {
        **record,
        "is_good": record["verdict"] in ("published", "unchanged", "rolled-back"),
        "seconds_of": [seconds.get(phase) for phase in phases],
        "claims": tables.get("claim"),
        "rows_in": sum(counts["in"] for counts in tables.values()),
        "rows": sum(counts["quarantined"] for counts in tables.values()),
        "money": totals and totals["money"],
    }
