"""The reports of runs as documents: of a release, of the latest run, of the last nights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from etl.errors import CommitConflict, NotFound, StoreError
from etl.publish.canonical_json import loads
from etl.publish.history import lineage
from etl.publish.kept_objects import KeptKind, read_or_none
from etl.publish.reader import Release
from etl.storage.parallel import map_concurrently
from etl.storage.port import Store

REPORT_FORMAT: Final = "2"
"""Goes up when a reader of `report.json` has to change; docs/reports.md describes how."""

log = logging.getLogger(__name__)

_FOLDER: Final = "reports/"
_FILE: Final = "/report.json"
_REPORT: Final = KeptKind(_FILE, loads, _FOLDER)
_ATTEMPTS: Final = 3


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


def report_of(release: Release) -> Mapping[str, Any] | None:
    """Return the document of a release's report; None if it is missing or damaged.

    A rollback names the report of the release that it restores.
    """
    try:
        document = release.read(_REPORT)
    except NotFound:
        return None
    except StoreError as error:
        log.warning("%s: changes of rules and words are not reported", error)
        return None
    return document if isinstance(document, dict) else None


def replace_page(store: Store, key: str, render: Callable[[], bytes]) -> None:
    """Write a page of all runs, unless it is the same; made again if another run wrote it.

    Raises:
        StoreError: storage failed, or other runs keep writing it.
    """
    for _ in range(_ATTEMPTS):
        saved = read_or_none(store, key)
        page = render()
        if saved is not None and saved.data == page:
            return
        try:
            store.swap(key, page, None if saved is None else saved.tag)
        except CommitConflict:
            continue  # another run has written it, perhaps without this one's report
        return
    raise CommitConflict(f"{store.name}: other runs keep writing it")


def read_nights(store: Store, count: int) -> tuple[list[Night], list[str]]:
    """Return the newest nights, and the IDs of runs with older reports.

    The report of an attempt that died before its commit names a release that does not exist; it is
    left out.
    """
    runs = sorted(_list_runs(store), reverse=True)
    newest = runs[:count]
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
    shown_runs = sorted(nights, reverse=True)[:count]
    return [nights[run] for run in shown_runs], runs[count:]


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
    is_known = isinstance(document, dict) and document.get("format") == REPORT_FORMAT
    return document if is_known else None
