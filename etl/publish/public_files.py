"""Addresses of a provider directory's public files, as a gateway and a static server have them.

| path | holds |
|---|---|
| `$bulk-publish` | the manifest of Bulk Publish (Bulk Data 4.0 ballot) |
| `bulk/<content>.ndjson` | a bulk file |
| `plan-finder/<contract>/<year>/index.json` | `provider_urls`: the Plan Finder files of that year |
| `plan-finder/<content>.json` | a Plan Finder file: a Bundle of one resource type |

`<content>` is the SHA-256 of what is fetched, so that such an address always answers with the same
bytes. A file is at its address as long as the present release or the one before it names it: a
client that began to fetch before a publish can go on.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from etl.publish.bulk_pages import ROOT, directory_root
from etl.publish.canonical_json import JSON, dumps, sha256
from etl.publish.directory_files import BULK, PLAN_FINDER
from etl.publish.manifest import Manifest

NDJSON: Final = "application/fhir+ndjson"
PLAIN: Final = "application/json"


@dataclass(frozen=True, slots=True)
class PublicFile:
    """A file whose bytes are those of an object of the tree, decompressed.

    Attributes:
        key: key of the object, which is gzip.
        sha256: of the object.
        content: SHA-256 of the file.
        size: its bytes.
        media: its content type.
        modified: FHIR instant of the release with which it appeared.
    """

    key: str
    sha256: str
    content: str
    size: int
    media: str
    modified: str


@dataclass(frozen=True, slots=True)
class PublicPage:
    """A document that lists files; another release may have another at the same address.

    Attributes:
        body: its bytes.
        modified: FHIR instant of the release with which it became what it is.
    """

    body: bytes
    modified: str

    @property
    def content(self) -> str:
        """SHA-256 of it."""
        return sha256(self.body)


def public_files(manifest: Manifest) -> dict[str, PublicFile]:
    """Return the files that a release of a directory names, by path; none without bulk files."""
    bulk = manifest.bulk
    if "planFinder" not in bulk:  # an older release of a directory, or one of claims
        return {}
    files = {_bulk_path(file): _public(file, NDJSON) for file in bulk["snapshot"]["output"]}
    for plans in bulk["planFinder"]:
        files |= {_finder_path(file): _public(file, PLAIN) for file in plans["files"]}
    return files


def public_pages(manifest: Manifest, base: str, cadence: str) -> dict[str, PublicPage]:
    """Return the documents that list a release's files, by path.

    Args:
        manifest: a release of a provider directory.
        base: URL under which the paths are; empty for links that are relative to each document.
        cadence: ISO 8601 duration between releases.
    """
    bulk = manifest.bulk
    if "planFinder" not in bulk:
        return {}
    snapshot = bulk["snapshot"]
    plain = {**snapshot, "output": [{**file, "bytes": file["size"]} for file in snapshot["output"]]}
    urls = _urls(ROOT, map(_bulk_path, snapshot["output"]), base)
    pages = {ROOT: PublicPage(directory_root(plain, cadence, urls), snapshot["time"])}
    for plans in bulk["planFinder"]:
        path = f"{PLAN_FINDER}{plans['contract']}/{plans['year']}/index.json"
        index = {"provider_urls": _urls(path, map(_finder_path, plans["files"]), base)}
        pages[path] = PublicPage(dumps(index) + b"\n", plans["modified"])
    return pages


def _urls(page: str, paths: Iterable[str], base: str) -> list[str]:
    if base:
        return [f"{base.rstrip('/')}/{path}" for path in paths]
    return [posixpath.relpath(path, posixpath.dirname(page) or ".") for path in paths]


def _bulk_path(file: Mapping[str, JSON]) -> str:
    return f"{BULK}{file['content']}.ndjson"


def _finder_path(file: Mapping[str, JSON]) -> str:
    return f"{PLAN_FINDER}{file['content']}.json"


def _public(file: Mapping[str, JSON], media: str) -> PublicFile:
    return PublicFile(
        file["key"], file["sha256"], file["content"], file["size"], media, file["modified"]
    )
