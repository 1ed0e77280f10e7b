"""Paths of a provider directory's public files, on a gateway and on a static server.

| path | content |
|---|---|
| `$bulk-publish` | the manifest of Bulk Publish (Bulk Data 4.0 ballot) |
| `bulk/<content>.ndjson` | a bulk file |
| `plan-finder/<contract>/<year>/index.json` | `provider_urls`: the Plan Finder files of that year |
| `plan-finder/<content>.json` | a Plan Finder file: a Bundle of one resource type |

`<content>` is the SHA-256 of the fetched bytes, so a path always answers with the same bytes. A
file stays at its path as long as the current or the previous release names it, so that a client can
finish a download that began before a publish.
"""

from __future__ import annotations

import os
import posixpath
import tempfile
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from etl.errors import NotFound, StoreError
from etl.publish.bulk_pages import ROOT, directory_root
from etl.publish.canonical_json import JSON, dumps, instant, sha256
from etl.publish.directory_files import BULK, PLAN_FINDER
from etl.publish.kept_objects import read_verified
from etl.publish.manifest import Manifest
from etl.publish.reader import Release, open_release

_FOLDER_MODE: Final = 0o755
_FILE_MODE: Final = 0o644
_SUBFOLDERS: Final = (BULK, PLAN_FINDER)


@dataclass(frozen=True, slots=True)
class WrittenFolder:
    """Result of writing a folder.

    Attributes:
        files: how many files the release names, without documents.
        written: how many of them are new.
        documents: how many documents the release has.
        removed: how many files were deleted because no longer named.
    """

    files: int
    written: int
    documents: int
    removed: int


def write_folder(release: Release, pages: Mapping[str, PublicPage], folder: Path) -> WrittenFolder:
    """Update a folder to the public files of a release of a provider directory.

    Folders get mode 0755 and files 0644, whatever the umask. A file's time is the time when its
    content appeared, so that `Last-Modified` is the same as the gateway's.

    Args:
        release: the release.
        pages: documents by path.
        folder: created if it is missing. Only files in `bulk/` and `plan-finder/` are deleted.

    Raises:
        StoreError: the target cannot be read, or the folder cannot be written.
    """
    files = public_files(release.manifest)
    written = 0
    try:
        for path, file in files.items():
            target = folder / path
            if not (target.is_file() and target.stat().st_size == file.size):
                _replace_file(folder, target, _decompress(release, file), file.modified)
                written += 1
        for path, page in pages.items():
            _replace_file(folder, folder / path, page.body, page.modified)
        paths = {*files, *pages, *_previous_paths(release)}
        removed = _delete_stale(folder, paths)
    except OSError as error:
        raise StoreError(f"{folder}: it cannot be written: {error.strerror or error}") from error
    return WrittenFolder(len(files), written, len(pages), removed)


def _decompress(release: Release, file: PublicFile) -> bytes:
    try:
        text = zlib.decompress(read_verified(release.store, file.key, file.sha256), wbits=31)
    except zlib.error:
        text = b""
    if sha256(text) != file.content:
        raise StoreError(f"{release.store.name}: {file.key} is damaged; run verify")
    return text


def _previous_paths(release: Release) -> set[str]:
    """Return the paths of the previous release, which clients may still fetch."""
    parent = release.manifest.parent
    if parent is None:
        return set()
    try:
        return set(public_files(open_release(release.store, parent).manifest))
    except NotFound:
        return set()


def _replace_file(folder: Path, target: Path, data: bytes, modified: str) -> None:
    """Write a file under a temporary name, then rename it."""
    for parent in (
        folder,
        *reversed([ancestor for ancestor in target.parents if folder in ancestor.parents]),
    ):
        if not parent.is_dir():
            parent.mkdir(parents=parent == folder, exist_ok=True)
            parent.chmod(_FOLDER_MODE)
    descriptor, draft = tempfile.mkstemp(prefix=".", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), _FILE_MODE)
            os.fsync(file.fileno())
        seconds = instant(modified).timestamp()
        os.utime(draft, (seconds, seconds))
        os.replace(draft, target)  # noqa: PTH105 - both are names of this call's own
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(draft)  # noqa: PTH108
        raise


def _delete_stale(folder: Path, paths: set[str]) -> int:
    """Delete stale files, and folders that become empty; return how many files."""
    removed = 0
    for subfolder in _SUBFOLDERS:
        for path in sorted((folder / subfolder).rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                with suppress(OSError):  # it is not empty
                    path.rmdir()
            elif path.relative_to(folder).as_posix() not in paths:
                path.unlink()
                removed += 1
    return removed


NDJSON: Final = "application/fhir+ndjson"
PLAIN: Final = "application/json"


@dataclass(frozen=True, slots=True)
class PublicFile:
    """A public file: an object of the tree, decompressed.

    Attributes:
        key: key of the gzip object.
        sha256: hash of the object.
        content: SHA-256 of the file.
        size: the file's bytes.
        media: content type.
        modified: FHIR instant of the first release with this content.
    """

    key: str
    sha256: str
    content: str
    size: int
    media: str
    modified: str


@dataclass(frozen=True, slots=True)
class PublicPage:
    """A document that lists files; its content can change with each release.

    Attributes:
        body: its bytes.
        modified: FHIR instant of the first release with this content.
    """

    body: bytes
    modified: str

    @property
    def content(self) -> str:
        """SHA-256 of the document."""
        return sha256(self.body)


def public_files(manifest: Manifest) -> dict[str, PublicFile]:
    """Return a directory release's files by path; none without bulk files."""
    bulk = manifest.bulk
    if "planFinder" not in bulk:  # an older release of a directory, or one of claims
        return {}
    files = {_bulk_path(file): _public_file(file, NDJSON) for file in bulk["snapshot"]["output"]}
    for plans in bulk["planFinder"]:
        files |= {_finder_path(file): _public_file(file, PLAIN) for file in plans["files"]}
    return files


def public_pages(manifest: Manifest, base: str, cadence: str) -> dict[str, PublicPage]:
    """Return the documents that list a release's files, by path.

    Args:
        manifest: a release of a provider directory.
        base: base URL of the paths; empty for links relative to each document.
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


def _public_file(file: Mapping[str, JSON], media: str) -> PublicFile:
    return PublicFile(
        file["key"], file["sha256"], file["content"], file["size"], media, file["modified"]
    )
