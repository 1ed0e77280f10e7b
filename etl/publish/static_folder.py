"""A folder of a provider directory's public files, for any web server that serves files.

Files are named by their content, so they are written first and never changed; then each document
that lists them takes the place of the one before by a rename. Whoever reads meanwhile has one
release or the other, whole. An interrupted call leaves the documents as they were.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from etl.errors import NotFound, StoreError
from etl.publish.canonical_json import instant, sha256
from etl.publish.directory_files import BULK, PLAN_FINDER
from etl.publish.public_files import PublicFile, PublicPage, public_files
from etl.publish.reader import Release, checked, open_release

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
            if not _is_there(place, file):
                _replace(folder, place, _plain(release, file), file.modified)
                written += 1
        for path, page in pages.items():
            _replace(folder, folder / path, page.body, page.modified)
        kept = {*files, *pages, *_before(release)}
        removed = _clean(folder, kept)
    except OSError as error:
        raise StoreError(f"{folder}: it cannot be written: {error.strerror or error}") from error
    return WrittenFolder(len(files), written, len(pages), removed)


def _is_there(place: Path, file: PublicFile) -> bool:
    return place.is_file() and place.stat().st_size == file.size


def _plain(release: Release, file: PublicFile) -> bytes:
    try:
        text = zlib.decompress(checked(release.store, file.key, file.sha256), wbits=31)
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
