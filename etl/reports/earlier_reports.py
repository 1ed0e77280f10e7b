"""The reports of earlier runs into the same target: the last one, and the page of all of them.

The page has each night's verdict, and trends over the nights. It is made of the reports, and shows
nothing that one of them withholds: no sum, and no two sums with a difference that is the money of a
few claims.
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
"""Nights that are shown; older reports are links."""


@dataclass(frozen=True, slots=True)
class RolledBack:
    """A rollback, which has no report of its own.

    Attributes:
        release: its id.
        when: FHIR instant.
        to: id of the release that it went back to.
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
        older: runs with older reports, newest first.
    """
    documents = [night for night in nights if not isinstance(night, RolledBack)]
    template = environment().get_template("report_index.html.j2")
    of_directory = any(is_directory(night["tables"]) for night in documents)
    return template.render(
        of_directory=of_directory,
        nights=[
            {"rolled_back": night} if isinstance(night, RolledBack) else _night(night)
            for night in nights
        ],
        older=older,
        plots=_plots(documents[::-1]) if len(documents) > 1 else [],
    )


def _night(document: Mapping[str, Any]) -> dict[str, Any]:
    subject = _subject(document)
    began = causes(document)
    return {
        "rolled_back": None,
        "run": document["run"],
        "when": document["when"],
        "published": document["release"] is not None,
        "broken": [limit["limit"] for limit in document["limits"] if not limit["holds"]],
        "subject": subject,
        "share": share(subject["quarantined"], subject["in"]),
        "old": _old_entries(document),
        "worst": began[0]["rule"] if began else "",
        "rejecting": _findings(document, is_rejecting=True),
        "warnings": _findings(document, is_rejecting=False),
        "money": document["money_check"],
    }


def _subject(document: Mapping[str, Any]) -> Mapping[str, int]:
    """Return the counts of claims by fate; of a directory, those of the rows of all tables."""
    if is_directory(document["tables"]):
        return all_rows(document)
    return of_table(document, "claim")


def _old_entries(document: Mapping[str, Any]) -> int | None:
    """Return a directory's entries of more than 90 days; None where the report has no ages."""
    page = directory_page(document.get("directory"))
    return None if page is None else page["old"]


def _findings(document: Mapping[str, Any], *, is_rejecting: bool) -> int:
    return sum(rule["findings"] for rule in document["rules"] if rejects(rule) is is_rejecting)


def _plots(nights: Sequence[Mapping[str, Any]]) -> list[Plot]:
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
                "that reject": [_findings(night, is_rejecting=True) for night in nights],
                "warnings": [_findings(night, is_rejecting=False) for night in nights],
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
            f"Net sums of all claims ({level}), {span}; with a gap if a sum or its change is "
            "withheld, or if nothing was published.",
            labels,
            {CATEGORIES[category]: sums for category, sums in nets.items()},
            kind="lines",
        ),
    ]


def _rejected_percent(document: Mapping[str, Any]) -> float:
    rows = _subject(document)
    return 100 * rows["quarantined"] / rows["in"] if rows["in"] else 0.0


def _nets(nights: Sequence[Mapping[str, Any]], level: str, category: str) -> list[Decimal | None]:
    """Return the net sum of each night, oldest first; None where it is not shown.

    A sum that differs from the one shown before by the money of a few claims would disclose it.
    So a gap lasts until a night on which more claims changed.
    """
    shown: list[Decimal | None] = []
    most_changed: int | None = None
    for night in nights:
        text = None if night["release"] is None else net_sums(night, level).get(category)
        net = None if text is None else Decimal(text)
        if most_changed is not None:
            most_changed = max(most_changed, _changed_claims(night))
            if 0 < most_changed <= night["money_check"]["small_cells"]:
                net = None
        if net is not None:
            most_changed = 0
        shown.append(net)
    return shown


def _changed_claims(document: Mapping[str, Any]) -> int:
    """Return how many claims were added, changed and retracted since the release before."""
    if document["release"] is None:
        return 0
    changes = document.get("changes") or {}
    touched: Mapping[str, int] = changes.get("resources", {}).get(CLAIMS, {})
    return sum(touched.values())


def runs_page(records: Sequence[Mapping[str, Any]]) -> str:
    """Return the page of some runs.

    Args:
        records: newest first, as `RunRecord.to_json` has them.
    """
    named = {each["phase"]: None for record in records for each in record["phases"]}
    return (
        environment()
        .get_template("runs.html.j2")
        .render(
            runs=[_row(record, list(named)) for record in records],
            phases=list(named),
            of_directory=any(
                is_directory(record["totals"]["tables"]) for record in records if record["totals"]
            ),
        )
    )


def _row(record: Mapping[str, Any], phases: Sequence[str]) -> dict[str, Any]:
    seconds = {each["phase"]: each["seconds"] for each in record["phases"]}
    totals = record["totals"]
    tables: Mapping[str, Mapping[str, int]] = totals["tables"] if totals else {}
    return {
        **record,
        "is_good": record["verdict"] in ("published", "unchanged", "rolled-back"),
        "seconds_of": [seconds.get(phase) for phase in phases],
        "claims": tables.get("claim"),
        "rows_in": sum(each["in"] for each in tables.values()),
        "rows": sum(each["quarantined"] for each in tables.values()),
        "money": totals and totals["money"],
    }


log = logging.getLogger(__name__)

_REPORTS: Final = "reports/"
_REPORT: Final = "/report.json"
_ATTEMPTS: Final = 3


def release_before(base: Current, changes: Changes | None) -> ReleaseBefore | None:
    """Return the release that a run was made on top of, with its report where that is there.

    Args:
        base: what readers see when the run begins.
        changes: what the run changes of it; None where nothing is published.
    """
    if base.release is None:
        return None
    return ReleaseBefore(base.release.id, changes, report_of(base.release))


def report_of(release: Release) -> Mapping[str, Any] | None:
    """Return what the report of a release holds.

    A rollback names the report of the release that it went back to.
    """
    ref = release.kept(_REPORTS, _REPORT)
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
    """Write the page of all reports from the reports that are there.

    No release depends on it, and the next run writes it again. Where it cannot be written, a
    warning is logged.

    Args:
        store: the target.
        unless_named: a run; where the page leads to its report, it stays.
    """
    try:
        for _ in range(_ATTEMPTS):
            there = read_or_none(store, object_keys.NIGHTS_PAGE)
            if unless_named and there is not None and unless_named.encode() in there.data:
                return
            nights, older = _nights(store)
            page = nights_page(nights, older).encode()
            if there is not None and there.data == page:
                return
            try:
                store.swap(object_keys.NIGHTS_PAGE, page, None if there is None else there.tag)
            except CommitConflict:
                continue  # another run has written it, perhaps without this one's report
            return
        raise CommitConflict(f"{store.name}: other runs keep writing it")
    except StoreError as error:
        log.warning("%s: the page of all reports is not up to date", error)


def _nights(store: Store) -> tuple[list[Night], list[str]]:
    """Return the newest nights, and the runs with older reports.

    The report of an attempt that died before its commit states that it published. It is
    distinguished from others by the releases that exist.
    """
    runs = sorted(_runs(store), reverse=True)
    newest = runs[:NIGHTS]
    releases: dict[str, Release] = {}
    for release in lineage(store, lambda *_: None):
        releases[release.id] = release
        if newest and release.id <= newest[-1]:
            break
    nights: dict[str, Night] = {
        release.id: RolledBack(release.id, release.manifest.created, to)
        for release in releases.values()
        if (to := release.manifest.rolled_back_to) is not None
    }
    documents = map_concurrently(store, lambda run: _read(store, run), newest)
    nights |= {
        run: document
        for run, document in zip(newest, documents, strict=True)
        if document is not None and document["release"] in {None, *releases}
    }
    shown = sorted(nights, reverse=True)[:NIGHTS]
    return [nights[run] for run in shown], runs[NIGHTS:]


def _runs(store: Store) -> Iterator[str]:
    for entry in store.list(_REPORTS):
        run, _, rest = entry.key.removeprefix(_REPORTS).partition("/")
        if f"/{rest}" == _REPORT:
            yield run


def _read(store: Store, run: str) -> Mapping[str, Any] | None:
    """Return what a report holds; None where it is damaged, or of another format."""
    key = f"{_REPORTS}{run}{_REPORT}"
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
