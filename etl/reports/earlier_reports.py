"""The reports of earlier runs into the same target: the last one, and the page of all of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final

from etl.errors import CommitConflict, NotFound, StoreError
from etl.publish import object_keys
from etl.publish.canonical_json import loads
from etl.publish.history import lineage
from etl.publish.kept_objects import checked, read_or_none
from etl.publish.manifest import Changes
from etl.publish.reader import Current, Release
from etl.reports.document import FORMAT_VERSION
from etl.reports.report_index import NIGHTS, Night, RolledBack, nights_page
from etl.reports.report_values import ReleaseBefore
from etl.storage.parallel import mapped
from etl.storage.port import Store

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
        document = loads(checked(release.store, ref.key, ref.sha256), ref.key)
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
        raise CommitConflict(f"{store.name}: other runs write it all the time")
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
    for release in lineage(store, lambda _: None):
        releases[release.id] = release
        if newest and release.id <= newest[-1]:
            break
    nights: dict[str, Night] = {
        one.id: _rolled_back(one)
        for one in releases.values()
        if one.manifest.facts.kind == "rollback"
    }
    documents = mapped(store, lambda run: _read(store, run), newest)
    nights |= {
        run: document
        for run, document in zip(newest, documents, strict=True)
        if document is not None and document["release"] in {None, *releases}
    }
    shown = sorted(nights, reverse=True)[:NIGHTS]
    return [nights[run] for run in shown], runs[NIGHTS:]


def _rolled_back(release: Release) -> RolledBack:
    manifest = release.manifest
    return RolledBack(release.id, manifest.created, manifest.facts.run["rollbackTo"])


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
