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
_OWNED: Final = (BULK, PLAN_FINDER)


@dataclass(frozen=True, slots=True)
class WrittenFolder:
    """Result of writing a folder.

    Attributes:
        files: how many files there are that the release names, documents left out.
        written: how many of them were not there before.
        documents: how many documents there are.
        removed: how many files were deleted that neither the release nor the one before names.
    """

    files: int
    written: int
    documents: int
    removed: int


def write_folder(release: Release, pages: Mapping[str, PublicPage], folder: Path) -> WrittenFolder:
    """Bring a folder to what a release of a provider directory has for everybody.

    Folders get mode 0755 and files 0644 whatever the umask; a file's time is that at which its
    content appeared, so that `Last-Modified` is the gateway's.

    Args:
        release: the release.
        pages: documents by path.
        folder: made where it is missing. What lies elsewhere in it than in `bulk/` and
            `plan-finder/` stays.

    Raises:
        StoreError: the target cannot be read, or the folder cannot be written.
    """
    files = public_files(release.manifest)
    written = 0
    try:
        for path, file in files.items():
            place = folder / path
            if not (place.is_file() and place.stat().st_size == file.size):
                _replace(folder, place, _plain(release, file), file.modified)
                written += 1
        for path, page in pages.items():
            _replace(folder, folder / path, page.body, page.modified)
        kept = {*files, *pages, *_before(release)}
        removed = _clean(folder, kept)
    except OSError as error:
        raise StoreError(f"{folder}: it cannot be written: {error.strerror or error}") from error
    return WrittenFolder(len(files), written, len(pages), removed)


def _plain(release: Release, file: PublicFile) -> bytes:
    try:
        text = zlib.decompress(read_verified(release.store, file.key, file.sha256), wbits=31)
    except zlib.error:
        text = b""
    if sha256(text) != file.content:
        raise StoreError(f"{release.store.name}: {file.key} is damaged; run verify")
    return text


def _before(release: Release) -> set[str]:
    """Return the files of the release before, which may be being fetched."""
    parent = release.manifest.parent
    if parent is None:
        return set()
    try:
        return set(public_files(open_release(release.store, parent).manifest))
    except NotFound:
        return set()


def _replace(folder: Path, place: Path, data: bytes, modified: str) -> None:
    """Write a file under another name, and rename it."""
    for parent in (
        folder,
        *reversed([above for above in place.parents if folder in above.parents]),
    ):
        if not parent.is_dir():
            parent.mkdir(parents=parent == folder, exist_ok=True)
            parent.chmod(_FOLDER_MODE)
    handle, name = tempfile.mkstemp(prefix=".", dir=place.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), _FILE_MODE)
            os.fsync(file.fileno())
        seconds = instant(modified).timestamp()
        os.utime(name, (seconds, seconds))
        os.replace(name, place)  # noqa: PTH105 - both are names of this call's own
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)  # noqa: PTH108
        raise


def _clean(folder: Path, kept: set[str]) -> int:
    """Delete files that no release needs any more, and folders that are empty then."""
    removed = 0
    for owned in _OWNED:
        for path in sorted((folder / owned).rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                with suppress(OSError):  # it is not empty
                    path.rmdir()
            elif path.relative_to(folder).as_posix() not in kept:
                path.unlink()
                removed += 1
    return removed


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
