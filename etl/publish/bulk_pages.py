"""The manifest pages of HL7's Bulk Publish (Bulk Data 4.0 ballot), as objects of the tree.

`$bulk-publish` is the root: the latest snapshot, with a link to the first page of later updates.
Each release's increment has a page; the last page of the chain links to `#pending`, which consumers
poll. When a release is committed, its page is written first, then the link in the previous page,
then the root: a consumer that reads in between sees a complete earlier state.

A provider directory only has the root, with all files of the current release and no link, so that a
consumer that does not know `#pending` gets everything. A file keeps its path as long as its content
is the same.

Pages are computed from the releases' manifests. So a run that died after its commit has lost
nothing: `write_pages` can be called again at any time.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import product
from typing import Final, Literal

from etl.errors import CommitConflict, StoreError
from etl.publish import object_keys
from etl.publish.bulk_files import BulkOptions
from etl.publish.canonical_json import JSON, dumps, loads
from etl.publish.history import lineage
from etl.publish.kept_objects import read_or_none
from etl.publish.reader import PreviousRelease, Release, open_current, read_pointer
from etl.storage.port import Store, Tagged

ROOT: Final = object_keys.BULK_ROOT
FOLDER: Final = "publish/"
MANIFEST_TYPE: Final = "http://hl7.org/fhir/uv/bulkdata/StructureDefinition/BulkPublishManifest"
PENDING: Final = "#pending"
CLOSED: Final = "#closed"

_MAX_ATTEMPTS: Final = 10


def page_key(release: str) -> str:
    """Return the key of the page of a release's increment."""
    return f"{FOLDER}{release}.json"


def updates_key(snapshot: JSON) -> str:
    """Return the key of the page that the updates on a snapshot begin with."""
    return f"{FOLDER}updates-{snapshot['after'] or 'first'}.json"


def write_pages(store: Store, options: BulkOptions | None = None) -> list[str]:
    """Update the pages to the current release; return the keys of changed pages.

    Call it after each commit. Pages are written from the newest backwards, so that no link ever
    leads to a page that is not there.

    Raises:
        StoreError: storage failed. The pages are at an earlier state, whole; call again.
    """
    for _ in range(_MAX_ATTEMPTS):
        current = open_current(store)
        if current.release is None:
            return []
        try:
            return _update_pages(store, current, options or BulkOptions())
        except CommitConflict:  # another run has published, and its pages are newer
            continue
        except StoreError as error:
            raise StoreError(f"the Bulk Publish pages could not be written: {error}") from error
    raise CommitConflict(f"{store.name}: {ROOT} is constantly changed by another process")


def close_pages(store: Store, kept_releases: Sequence[Release], closed_before: datetime) -> int:
    """Close pages that no kept release needs; delete those closed earlier.

    A consumer that meets a closed page starts again at the root.

    Args:
        store: the target.
        kept_releases: the releases that stay.
        closed_before: closed pages that were written later stay for now.

    Returns:
        How many pages were closed or deleted.
    """
    needed = set[str]()
    for release in kept_releases:
        bulk = release.manifest.bulk
        needed.add(page_key(release.id))
        if _has_increments(bulk):
            needed.add(updates_key(bulk["snapshot"]))
            needed |= {
                page_key(increment["release"])
                for increment in bulk["increments"]
                if "release" in increment
            }
    count = 0
    for entry in list(store.list(FOLDER)):
        if entry.key in needed or entry.modified >= closed_before:
            continue
        tagged = store.read(entry.key)
        page = _read_page(tagged.data)
        if page is None or _next_link(page) == CLOSED:
            store.delete([entry.key])
        else:
            store.swap(entry.key, _close_page(page), tagged.tag)
        count += 1
    return count


def _read_page(data: bytes) -> dict[str, JSON] | None:
    """Parse a page with one link; None if it is damaged."""
    try:
        page = loads(data, "the page")
        return page if _next_link(page) else None
    except (StoreError, AttributeError, KeyError, TypeError, ValueError):
        return None


def _next_link(page: Mapping[str, JSON]) -> str:
    (link,) = page["link"]
    return str(link["url"])


def _close_page(page: Mapping[str, JSON]) -> bytes:
    """Return a page without files that sends consumers back to the root."""
    remaining = {name: page[name] for name in page if name not in {"output", "deleted"}}
    return dumps(remaining | {"link": [{"relation": "next", "url": CLOSED}]}) + b"\n"


def outdated_pages(release: Release, base_url: str = "") -> Iterator[tuple[str, bool]]:
    """Yield the keys of a release's pages that are missing or wrong.

    These are the page of its increment, those of the increments and of the updates on its snapshot,
    and the root. A page that is behind is not reported: a run that died after its commit leaves
    such pages, and the next run updates them.

    Args:
        release: the release.
        base_url: URL that links begin with; empty for that of the pages themselves.

    Yields:
        The key, and whether the page is there.

    Raises:
        StoreError: the manifests cannot be read.
    """
    bulk = release.manifest.bulk
    if not bulk:
        return
    expected = _expected_pages(release.store)
    chain = [
        page_key(increment["release"]) for increment in bulk["increments"] if "release" in increment
    ]
    own_keys = [page_key(release.id)] if bulk["increment"] is not None else []
    updates = [updates_key(bulk["snapshot"])] if _has_increments(bulk) else []
    pages = {key: read_or_none(release.store, key) for key in (*own_keys, *chain, *updates, ROOT)}
    base_url = base_url or _find_base_url(pages[ROOT], *pages.values())
    for key, tagged in pages.items():
        if tagged is None or not any(
            _page_matches(tagged.data, key, content, link, base_url)
            for content, link in product(*expected.get(key, ()))
        ):
            yield key, tagged is not None


def _expected_pages(store: Store) -> dict[str, tuple[list[JSON], list[str | None]]]:
    """Return the contents and links that manifests allow for each page."""
    expected: dict[str, tuple[list[JSON], list[str | None]]] = {}

    def add(key: str, content: JSON, *links: str | None) -> None:
        contents, all_links = expected.setdefault(key, ([], []))
        contents.append(content)
        all_links.extend(links)

    next_link = PENDING  # link of the page of the release at hand
    for release in lineage(store):
        bulk = release.manifest.bulk
        if not _has_increments(bulk):
            if bulk:
                add(ROOT, bulk["snapshot"], None)
            next_link = CLOSED
            continue
        snapshot, increments = bulk["snapshot"], bulk["increments"]
        updates = updates_key(snapshot)
        add(ROOT, snapshot, updates)
        keys = [
            updates,
            *(page_key(increment.get("release", release.id)) for increment in increments),
        ]
        contents = [{"time": snapshot["time"]}, *increments]
        for key, content, link in zip(keys, contents, [*keys[1:], next_link], strict=True):
            add(key, content, link, PENDING)
        if bulk["increment"] is not None:
            add(page_key(release.id), bulk["increment"], next_link, PENDING)
        next_link = page_key(release.id) if bulk["increment"] is not None else CLOSED
    return expected


def _find_base_url(*pages: Tagged | None) -> str:
    """Return the URL prefix of links in these pages; empty if they are relative."""
    for page in pages:
        try:
            body = loads(b"" if page is None else page.data, "the page")
            entries = [*body.get("output", ()), *body.get("link", ())]
            urls = [entry["url"] for entry in entries if not entry["url"].startswith("#")]
        except (StoreError, AttributeError, KeyError, TypeError):
            continue
        if urls:
            url: str = urls[0]
            return url.rsplit("/", 2)[0] if "://" in url else ""  # a key has two parts here
    return ""


def _page_matches(data: bytes, key: str, content: JSON, link: str | None, base_url: str) -> bool:
    """Return whether a page has the given content and link."""
    try:
        page = loads(data, "the page")
        options = BulkOptions(base_url=base_url, cadence=page["updateCadence"])
    except (StoreError, KeyError, TypeError):
        return False
    return _render_page(options, key, content, link) == data


def _update_pages(store: Store, current: PreviousRelease, options: BulkOptions) -> list[str]:
    """Write outdated pages, newest first; return their keys.

    Raises:
        CommitConflict: another run published a release meanwhile.
    """
    changed: list[str] = []
    other_keys = {entry.key for entry in store.list(FOLDER)}

    def update(key: str, content: JSON, link: str | None) -> None:
        other_keys.discard(key)
        replace_page(key, read_or_none(store, key), _render_page(options, key, content, link))

    def replace_page(key: str, tagged: Tagged | None, data: bytes) -> None:
        if tagged is not None and tagged.data == data:
            return
        if _tag_or_none(read_pointer(store)) != current.tag:
            raise CommitConflict(f"{store.name}: another release was published meanwhile")
        store.swap(key, data, tagged.tag if tagged is not None else None)
        changed.append(key)

    # From the newest release backwards: each page leads to that of the release after it.
    link = PENDING
    root: JSON = None
    root_link: str | None = None
    for release in lineage(store):
        bulk = release.manifest.bulk
        if not _has_increments(bulk):  # the pages before it have no continuation
            link = CLOSED
            root = root or bulk.get("snapshot")
            continue
        if root is None:
            root_link = updates_key(bulk["snapshot"])
        root = root or bulk["snapshot"]
        if bulk["increment"] is not None:
            update(page_key(release.id), bulk["increment"], link)
        if not bulk["increments"]:  # it has a snapshot of its own
            update(updates_key(bulk["snapshot"]), {"time": bulk["snapshot"]["time"]}, link)
        link = page_key(release.id) if bulk["increment"] is not None else CLOSED
    if root is not None:
        update(ROOT, root, root_link)
    # Where `current.json` was put back from a copy, consumers may wait at a release that is lost.
    for key in sorted(other_keys):
        tagged = read_or_none(store, key)
        page = None if tagged is None else _read_page(tagged.data)
        if page is not None and _next_link(page) == PENDING:
            replace_page(key, tagged, _close_page(page))
    return changed


def _has_increments(bulk: Mapping[str, JSON]) -> bool:
    """Return whether bulk files have increments; public ones have plan finder files instead."""
    return bool(bulk) and "planFinder" not in bulk


def _tag_or_none(tagged: Tagged | None) -> str | None:
    return None if tagged is None else tagged.tag


def directory_root(snapshot: Mapping[str, JSON], cadence: str, urls: Iterable[str]) -> bytes:
    """Render the root page of a provider directory.

    Lists without anything are there: clients that were made for Bulk Export rely on them.

    Args:
        snapshot: of its manifest.
        cadence: ISO 8601 duration between releases.
        urls: URL of each of its files.
    """
    page = {
        "manifestType": MANIFEST_TYPE,
        "transactionTime": snapshot["time"],
        "updateCadence": cadence,
        "requiresAccessToken": False,
        "output": [
            {"type": file["type"], "url": url, "count": file["count"], "fileSize": file["bytes"]}
            for file, url in zip(snapshot["output"], urls, strict=True)
        ],
        "deleted": [],
        "error": [],
    }
    return dumps(page) + b"\n"


def _render_page(
    options: BulkOptions, key: str, content: Mapping[str, JSON], link: str | None
) -> bytes:
    def url(link: str) -> str:
        if link.startswith("#"):
            return link
        if options.base_url:
            return f"{options.base_url.rstrip('/')}/{link}"
        return posixpath.relpath(link, posixpath.dirname(key) or ".")

    def files(name: Literal["output", "deleted"]) -> JSON:
        return [
            {
                **({"type": file["type"]} if "type" in file else {}),
                "url": url(file["key"]),
                "count": file["count"],
                "fileSize": file["bytes"],
            }
            for file in content.get(name, ())
        ]

    if link is None:
        urls = [url(file["key"]) for file in content["output"]]
        return directory_root(content, options.cadence, urls)
    page = {
        "manifestType": MANIFEST_TYPE,
        "transactionTime": content["time"],
        "updateCadence": options.cadence,
        "requiresAccessToken": True,
        "output": files("output"),
        "deleted": files("deleted"),
        "link": [{"relation": "next", "url": url(link)}],
    }
    return dumps({name: value for name, value in page.items() if value != []}) + b"\n"
