"""`report.json`, `index.html` and a page a rule. The same report gives the same bytes.

They are written only after the report was reconciled: no row and no cent may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from etl.quality import CountsDoNotAddUp, RowCounts, reconcile
from etl.reports.document import report_document, report_json
from etl.reports.finding_places import ShownPlace
from etl.reports.page import report_page, rule_page
from etl.reports.report_values import Report

CERTIFICATE: Final = "certificate.json"
"""Name of the file with the certificate alone, beside the report."""


def write_report(
    report: Report, folder: Path, places: Mapping[str, Sequence[ShownPlace]] = MappingProxyType({})
) -> tuple[Path, Path]:
    """Write a report into a folder, which is made if it is not there.

    Args:
        report: its contents.
        folder: where it goes.
        places: rule -> the first places of its findings, for its page.

    Returns:
        The paths of `report.json` and `index.html`.

    Raises:
        CountsDoNotAddUp: rows or money do not reconcile; nothing is written.
    """
    check_report(report)
    folder.mkdir(parents=True, exist_ok=True)
    document = report_document(report)
    machine, page = folder / "report.json", folder / "index.html"
    machine.write_bytes(report_json(document))
    page.write_text(report_page(document), encoding="utf-8")
    if document["certificate"] is not None:
        (folder / CERTIFICATE).write_bytes(report_json(document["certificate"]))
    for rule in document["rules"]:
        if rule["page"] is not None:
            path = folder / rule["page"]
            path.parent.mkdir(exist_ok=True)
            shown = rule_page(document, rule, places.get(rule["rule"], ()))
            path.write_text(shown, encoding="utf-8")
    return machine, page


def check_report(report: Report) -> None:
    """Check that the rows and the money of a report reconcile.

    Raises:
        CountsDoNotAddUp: naming the table, or the level, claim type and category; or claims in
            quarantine have no first cause.
    """
    reconcile(report.counts, (rule.rejected_rows for rule in report.rules))
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
