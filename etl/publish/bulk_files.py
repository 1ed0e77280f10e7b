"""Bulk files being filled: resources of all types come mixed, patient by patient.

A file is put when it is large enough, and all are when together they are twice as large as that:
so much is in memory, however many types and patients there are.
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
_LEVEL: Final = 1
_LINES: Final = 1024 * 1024
"""Bytes of loose lines that are compressed together."""
_SMALL: Final = 64 * 1024
"""Bytes up to which a file is not on disk."""


@dataclass(frozen=True, slots=True)
class PlanFinderOptions:
    """Options of a directory's Plan Finder files.

    Attributes:
        fhir_base: FHIR base URL of the directory's API, from which `fullUrl` is made.
        entries: most resources of a file.
        bytes: most bytes of a file as it is fetched, uncompressed.
        is_stated: whether a setting states the base; else it is where this machine would listen.
    """

    fhir_base: str = "http://127.0.0.1:8000/directory"
    entries: int = 10_000
    bytes: int = 20_000_000
    is_stated: bool = True

    def note(self, bulk: Mapping[str, JSON]) -> str:
        """Return what to do about a base that others do not reach; empty where there is nothing.

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
        base_url: URL that the tree is served under; empty makes links relative to the page that
            they are on, which any consumer that resolves URLs can follow.
        cadence: ISO 8601 duration between releases (`updateCadence`).
        requires_access_token: whether the files are behind OAuth (`requiresAccessToken`).
        snapshot_every: releases after which there is a new snapshot, at the latest.
        snapshot_share: part of the last snapshot's size to which increments may grow first.
        file_bytes: size that a file has, compressed, before the next one begins.
        work: folder for files that are being filled, without names and for their owner alone; None
            for the system's own folder for such files.
        directory_entries: most resources of a bulk file of a provider directory.
        directory_bytes: most bytes of it, uncompressed.
        plan_finder: how its Plan Finder files are made.
    """

    base_url: str = ""
    cadence: str = "P1D"
    requires_access_token: bool = True
    snapshot_every: int = 30
    snapshot_share: float = 0.5
    file_bytes: int = 32 * 1024 * 1024
    work: Path | None = None
    directory_entries: int = 10_000
    directory_bytes: int = 32 * 1024 * 1024
    plan_finder: PlanFinderOptions = field(default_factory=PlanFinderOptions)


class Spool:
    """Bytes that are collected on disk, in a file without a name, once there are some of them.

    Args:
        work: folder for the file; None for the system's own.
    """

    def __init__(self, work: Path | None) -> None:
        self._work = None if work is None else str(work)
        self._file: SpooledTemporaryFile[bytes] | None = None

    def write(self, data: bytes) -> None:
        """Add bytes.

        Raises:
            StoreError: the disk of the work folder is full.
        """
        with _explained():
            if self._file is None:
                self._file = SpooledTemporaryFile[bytes](_SMALL, dir=self._work)
            self._file.write(data)

    def take(self) -> bytes:
        """Return all bytes, and begin anew."""
        if self._file is None:
            return b""
        with _explained(), self._file as file:
            self._file = None
            file.seek(0)
            return file.read()


class BulkFiles:
    """Files of one type each.

    Args:
        writer: puts those that are full.
        file_bytes: size that a file has, compressed, before the next one begins.
    """

    def __init__(self, writer: Writer, file_bytes: int) -> None:
        self._writer = writer
        self._file_bytes = file_bytes
        self._filling: dict[str, _Filling] = {}
        self._done: list[JSON] = []

    def add(self, kind: str, data: bytes, count: int) -> None:
        """Add compressed NDJSON."""
        filling = self._filling.setdefault(kind, _Filling())
        filling.pack()
        filling.append(data)
        self._grow(kind, filling, count)

    def add_lines(self, kind: str, text: bytes, count: int) -> None:
        """Add plain NDJSON."""
        filling = self._filling.setdefault(kind, _Filling())
        filling.loose.append(text)
        filling.waiting += len(text)
        if filling.waiting >= _LINES:
            filling.pack()
        self._grow(kind, filling, count)

    def finish(self) -> list[JSON]:
        """Put what is left, and return the files, ordered by type."""
        for kind in list(self._filling):
            self._write(kind)
        return in_order(self._done)

    def _grow(self, kind: str, filling: _Filling, count: int) -> None:
        filling.count += count
        if filling.size >= self._file_bytes:
            self._write(kind)
        elif sum(each.size for each in self._filling.values()) >= 2 * self._file_bytes:
            for each in list(self._filling):
                self._write(each)

    def _write(self, kind: str) -> None:
        filling = self._filling.pop(kind)
        filling.pack()
        data = b"".join(filling.packed)
        digest = sha256(data)
        key = f"{FOLDER}{digest}.ndjson.gz"
        self._writer.put(key, data)
        self._done.append(
            {
                "type": kind,
                "key": key,
                "sha256": digest,
                "bytes": len(data),
                "count": filling.count,
            }
        )


def in_order(files: Iterable[Mapping[str, JSON]]) -> list[JSON]:
    """Return files ordered by type, those of one type as they come."""
    return sorted(files, key=lambda file: rank(file["type"]))


@dataclass(slots=True)
class _Filling:
    """A file that is not full yet.

    Attributes:
        packed: what is compressed.
        size: its bytes.
        loose: lines that are to be compressed together.
        waiting: their size together.
        count: how many resources there are in all of it.
    """

    packed: list[bytes] = field(default_factory=list)
    size: int = 0
    loose: list[bytes] = field(default_factory=list)
    waiting: int = 0
    count: int = 0

    def pack(self) -> None:
        """Compress the loose lines."""
        if self.loose:
            self.append(bytes(deflate.gzip_compress(b"".join(self.loose), _LEVEL)))
            self.loose.clear()
            self.waiting = 0

    def append(self, data: bytes) -> None:
        """Add compressed bytes."""
        self.packed.append(data)
        self.size += len(data)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            why = (
                "the disk on which bulk files are filled is full; free some space, and run "
                "the command again"
            )
        else:
            why = f"bulk files cannot be filled: {error.strerror}"
        raise StoreError(why) from None
