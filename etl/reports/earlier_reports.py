"""The reports of earlier runs into the same target: the last one, and the page of all of them.

The page has each night's verdict, and trends over the nights. It is made from the reports and shows
nothing that one of them withholds: no withheld sum, and no two sums whose difference is the money
of a few claims.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeAlias

from etl.errors import CommitConflict, NotFound, StoreError
from etl.publish import object_keys
from etl.publish.canonical_json import loads
from etl.publish.history import lineage
from etl.publish.kept_objects import read_or_none, read_verified
from etl.publish.manifest import Changes
from etl.publish.reader import Current, Release
from etl.reports.changes import CLAIMS, COMPARED_MONEY, money_level, net_sums
from etl.reports.directory import directory_page, directory_trends
from etl.reports.document import FORMAT_VERSION
from etl.reports.page import CATEGORIES, all_rows, causes, environment, of_table, rejects, share
from etl.reports.plots import Plot
from etl.reports.report_values import ReleaseBefore
from etl.reports.summary import is_directory
from etl.storage.parallel import map_concurrently
from etl.storage.port import Store

NIGHTS: Final = 30
"""Nights that the page shows; older reports are only linked."""


@dataclass(frozen=True, slots=True)
class RolledBack:
    """A rollback, which has no report of its own.

    Attributes:
        release: its id.
        when: FHIR instant.
        to: ID of the restored release.
    """

    release: str
    when: str
    to: str


Night: TypeAlias = Mapping[str, Any] | RolledBack
"""A report as plain values, or a rollback."""


def nights_page(nights: Sequence[Night], older: Sequence[str]) -> str:
    """Return the page of all reports.

    Args:
        nights: newest first.
        older: IDs of runs with older reports, newest first.
    """
    documents = [night for night in nights if not isinstance(night, RolledBack)]
    template = environment().get_template("report_index.html.j2")
    return template.render(
        of_directory=any(is_directory(night["tables"]) for night in documents),
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
    """Return the counts of claims by fate; for a directory, the counts of all rows."""
    if is_directory(document["tables"]):
        return all_rows(document)
    return of_table(document, "claim")


def _count_old(document: Mapping[str, Any]) -> int | None:
    """Count a directory's entries older than 90 days; None if the report has no ages."""
    page = directory_page(document.get("directory"))
    return None if page is None else page["old"]


def _count_findings(document: Mapping[str, Any], *, is_rejecting: bool) -> int:
    return sum(rule["findings"] for rule in document["rules"] if rejects(rule) is is_rejecting)


def _trend_plots(nights: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """Return the trends over the nights, oldest first."""
    noun = "Rows" if any(is_directory(night["tables"]) for night in nights) else "Claims"
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
            of_directory=any(
                is_directory(record["totals"]["tables"]) for record in records if record["totals"]
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


log = logging.getLogger(__name__)

_FOLDER: Final = "reports/"
_FILE: Final = "/report.json"
_ATTEMPTS: Final = 3


def release_before(base: Current, changes: Changes | None) -> ReleaseBefore | None:
    """Return the release that a run builds on, with its report if there is one.

    Args:
        base: the current release when the run begins.
        changes: the run's changes to it; None if the run publishes nothing.
    """
    if base.release is None:
        return None
    previous_id = str(base.release.manifest.link[0])
    return ReleaseBefore(previous_id, changes, report_of(base.release))


def report_of(release: Release) -> Mapping[str, Any] | None:
    """Return the document of a release's report; None if it is missing or damaged.

    A rollback names the report of the release that it restores.
    """
    ref = release.kept_object(_FOLDER, _FILE)
    if ref is None:
        return None
    try:
        document = loads(read_verified(release.store, ref.key, ref.sha256), ref.key)
    except NotFound:
        return None
    except StoreError as error:
        log.warning("%s: changes of rules and words are not reported", error)
        return None
    return document if isinstance(document, dict) else None


def write_nights_page(store: Store, *, unless_named: str = "") -> None:
    """Write the page of all reports.

    No release depends on it, and the next run writes it again, so a failure is only logged.

    Args:
        store: the target.
        unless_named: ID of a run; if the page already links its report, nothing is written.
    """
    try:
        for _ in range(_ATTEMPTS):
            saved = read_or_none(store, object_keys.NIGHTS_PAGE)
            if unless_named and saved is not None and unless_named.encode() in saved.data:
                return
            nights, older = _load_nights(store)
            page = nights_page(nights, older).encode()
            if saved is not None and saved.data == page:
                return
            try:
                store.swap(object_keys.NIGHTS_PAGE, page, None if saved is None else saved.tag)
            except CommitConflict:
                continue  # another run has written it, perhaps without this one's report
            return
        raise CommitConflict(f"{store.name}: other runs keep writing it")
    except StoreError as error:
        log.warning("%s: the page of all reports is not up to date", error)


def _load_nights(store: Store) -> tuple[list[Night], list[str]]:
    """Return the newest nights, and the IDs of runs with older reports.

    The report of an attempt that died before its commit names a release that does not exist; it is
    left out.
    """
    runs = sorted(_list_runs(store), reverse=True)
    newest = runs[:NIGHTS]
    releases: dict[str, Release] = {}
    for release in lineage(store, lambda *_: None):
        releases[release.id] = release
        if newest and release.id <= newest[-1]:
            break
    nights: dict[str, Night] = {
        release.id: RolledBack(release.id, release.manifest.created, target_id)
        for release in releases.values()
        if (target_id := release.manifest.rolled_back_to) is not None
    }
    reports = map_concurrently(store, lambda run: _read_report(store, run), newest)
    nights |= {
        run: report
        for run, report in zip(newest, reports, strict=True)
        if report is not None and report["release"] in {None, *releases}
    }
    shown_runs = sorted(nights, reverse=True)[:NIGHTS]
    return [nights[run] for run in shown_runs], runs[NIGHTS:]


def latest_report(store: Store) -> Mapping[str, Any] | None:
    """Return the report of the latest run, published or stopped; None if it can't be read."""
    runs = sorted(_list_runs(store))
    return _read_report(store, runs[-1]) if runs else None


def _list_runs(store: Store) -> Iterator[str]:
    for entry in store.list(_FOLDER):
        run, _, file = entry.key.removeprefix(_FOLDER).partition("/")
        if f"/{file}" == _FILE:
            yield run


def _read_report(store: Store, run: str) -> Mapping[str, Any] | None:
    """Read a report's document; None if it is missing, damaged, or of another format."""
    key = f"{_FOLDER}{run}{_FILE}"
    try:
        data = store.get(key)
    except NotFound:
        return None
    try:
        document = loads(data, key)
    except StoreError:
        return None
    is_known = isinstance(document, dict) and document.get("format") == FORMAT_VERSION
    return document if is_known else None
