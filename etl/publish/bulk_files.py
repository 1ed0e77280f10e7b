"""Bulk files that are being filled: resources of all types arrive mixed, patient by patient.

A file is written when it is large enough. All files are written when they are twice that size
together, so memory does not depend on the number of types and patients.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Final

import deflate

from etl.errors import StoreError
from etl.publish.block import rank
from etl.publish.canonical_json import JSON, sha256
from etl.storage.parallel import Writer

FOLDER: Final = "bulk/"
_GZIP_LEVEL: Final = 1
_LOOSE_BYTES: Final = 1024 * 1024
"""Bytes of uncompressed lines to collect before they are compressed together."""
_MEMORY_BYTES: Final = 64 * 1024
"""Most bytes of a spool that stay in memory."""


@dataclass(frozen=True, slots=True)
class PlanFinderOptions:
    """Options of a directory's Plan Finder files.

    Attributes:
        fhir_base: FHIR base URL of the directory's API; `fullUrl` begins with it.
        entries: most resources in a file.
        bytes: most uncompressed bytes in a file.
        is_stated: whether a setting states the base; otherwise it is this machine's address.
    """

    fhir_base: str = "http://127.0.0.1:8000/directory"
    entries: int = 10_000
    bytes: int = 20_000_000
    is_stated: bool = True

    def note(self, bulk: Mapping[str, JSON]) -> str:
        """Return advice about a base that others cannot reach; empty if there is no problem.

        Args:
            bulk: the files that a manifest names.
        """
        if self.is_stated or not bulk.get("planFinder"):
            return ""
        return (
            "serve.base_url is not set, so each fullUrl in the Plan Finder files of this release "
            f"begins with {self.fhir_base}, where nobody else finds the directory; set it "
            "(CPCDS_SERVE__BASE_URL) to the server's public URL before the next release"
        )


@dataclass(frozen=True, slots=True)
class BulkOptions:
    """Options of making and announcing bulk files.

    Attributes:
        base_url: URL of the served tree; empty for links relative to their page, which consumers
            that resolve URLs can follow.
        cadence: ISO 8601 duration between releases (`updateCadence`).
        snapshot_every: most releases between two snapshots.
        snapshot_share: size of the increments, relative to the last snapshot, that triggers a new
            snapshot.
        file_bytes: compressed size at which a file is full.
        work: folder for private, unnamed files that are being filled; None for the system's
            temporary folder.
        directory_entries: most resources in a bulk file of a provider directory.
        directory_bytes: most uncompressed bytes in such a file.
        plan_finder: options of its Plan Finder files.
    """

    base_url: str = ""
    cadence: str = "P1D"
    snapshot_every: int = 30
    snapshot_share: float = 0.5
    file_bytes: int = 32 * 1024 * 1024
    work: Path | None = None
    directory_entries: int = 10_000
    directory_bytes: int = 32 * 1024 * 1024
    plan_finder: PlanFinderOptions = field(default_factory=PlanFinderOptions)


class Spool:
    """Collects bytes in memory, and in an unnamed file once there are many.

    Args:
        work: folder for the file; None for the system's temporary folder.
    """

    def __init__(self, work: Path | None) -> None:
        self._work = None if work is None else str(work)
        self._file: SpooledTemporaryFile[bytes] | None = None

    def write(self, data: bytes) -> None:
        """Add bytes.

        Raises:
            StoreError: the disk of the work folder is full.
        """
        with _explain_disk_errors():
            if self._file is None:
                self._file = SpooledTemporaryFile[bytes](_MEMORY_BYTES, dir=self._work)
            self._file.write(data)

    def take(self) -> bytes:
        """Return all bytes, and start again empty."""
        if self._file is None:
            return b""
        with _explain_disk_errors(), self._file as file:
            self._file = None
            file.seek(0)
            return file.read()


class BulkFiles:
    """Fills bulk files, each of one resource type.

    Args:
        writer: writes full files.
        file_bytes: compressed size at which a file is full.
    """

    def __init__(self, writer: Writer, file_bytes: int) -> None:
        self._writer = writer
        self._file_bytes = file_bytes
        self._open_files: dict[str, _OpenFile] = {}
        self._finished: list[JSON] = []

    def add(self, kind: str, data: bytes, count: int) -> None:
        """Add compressed NDJSON."""
        open_file = self._open_files.setdefault(kind, _OpenFile())
        open_file.pack()
        open_file.append(data)
        self._count(kind, open_file, count)

    def add_lines(self, kind: str, text: bytes, count: int) -> None:
        """Add plain NDJSON."""
        open_file = self._open_files.setdefault(kind, _OpenFile())
        open_file.loose.append(text)
        open_file.loose_size += len(text)
        if open_file.loose_size >= _LOOSE_BYTES:
            open_file.pack()
        self._count(kind, open_file, count)

    def finish(self) -> list[JSON]:
        """Write the remaining files, and return all files ordered by type."""
        for kind in list(self._open_files):
            self._write(kind)
        return sort_files(self._finished)

    def _count(self, kind: str, file: _OpenFile, count: int) -> None:
        file.count += count
        if file.size >= self._file_bytes:
            self._write(kind)
        elif sum(file.size for file in self._open_files.values()) >= 2 * self._file_bytes:
            for open_kind in list(self._open_files):
                self._write(open_kind)

    def _write(self, kind: str) -> None:
        file = self._open_files.pop(kind)
        file.pack()
        data = b"".join(file.gzip_parts)
        digest = sha256(data)
        key = f"{FOLDER}{digest}.ndjson.gz"
        self._writer.put(key, data)
        self._finished.append(
            {
                "type": kind,
                "key": key,
                "sha256": digest,
                "bytes": len(data),
                "count": file.count,
            }
        )


def sort_files(files: Iterable[Mapping[str, JSON]]) -> list[JSON]:
    """Sort files by type; files of one type keep their order."""
    return sorted(files, key=lambda file: rank(file["type"]))


@dataclass(slots=True)
class _OpenFile:
    """A file that is not full yet.

    Attributes:
        gzip_parts: its compressed parts.
        size: their bytes.
        loose: lines that are still uncompressed.
        loose_size: their bytes.
        count: how many resources it has.
    """

    gzip_parts: list[bytes] = field(default_factory=list)
    size: int = 0
    loose: list[bytes] = field(default_factory=list)
    loose_size: int = 0
    count: int = 0

    def pack(self) -> None:
        """Compress the loose lines."""
        if self.loose:
            self.append(bytes(deflate.gzip_compress(b"".join(self.loose), _GZIP_LEVEL)))
            self.loose.clear()
            self.loose_size = 0

    def append(self, data: bytes) -> None:
        """Add compressed bytes."""
        self.gzip_parts.append(data)
        self.size += len(data)


@contextmanager
def _explain_disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = (
                "the disk on which bulk files are filled is full; free some space, and run "
                "the command again"
            )
        else:
            message = f"bulk files cannot be filled: {error.strerror}"
        raise StoreError(message) from None
