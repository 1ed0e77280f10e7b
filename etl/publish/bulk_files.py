"""Bulk files being filled: on disk, because resources of all types come mixed, patient by patient.

A new file is begun when one is large enough, and only then is that one read back and put: memory
holds one file, however many types and patients there are.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
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
    """Files of one kind each; a new one is begun when one is large enough.

    Use it as a context manager: what is not put at its exit is discarded.

    Args:
        writer: puts those that are full.
        options: sizes, and where files are filled.
    """

    def __init__(self, writer: Writer, options: BulkOptions) -> None:
        self._writer = writer
        self._options = options
        self._filling: dict[str, _Filling] = {}
        self._done: list[JSON] = []

    def __enter__(self) -> BulkFiles:
        """Return the files themselves."""
        return self

    def __exit__(self, *_: object) -> None:
        """Discard what was not put."""
        for filling in self._filling.values():
            filling.packed.close()
        self._filling.clear()

    def add(self, kind: str, data: bytes, count: int) -> None:
        """Add compressed NDJSON.

        Raises:
            StoreError: the disk of the work folder is full, or storage failed.
        """
        filling = self._of(kind)
        self._pack(filling)
        self._append(filling, data)
        self._grow(kind, filling, count)

    def add_lines(self, kind: str, text: bytes, count: int) -> None:
        """Add plain NDJSON.

        Raises:
            StoreError: the disk of the work folder is full, or storage failed.
        """
        filling = self._of(kind)
        filling.loose.append(text)
        filling.waiting += len(text)
        if filling.waiting >= _LINES:
            self._pack(filling)
        self._grow(kind, filling, count)

    def finish(self) -> list[JSON]:
        """Put what is left, and return the files, ordered by type."""
        for kind in list(self._filling):
            self._write(kind)
        order = sorted(
            range(len(self._done)), key=lambda number: (rank(self._done[number]["type"]), number)
        )
        return [self._done[number] for number in order]

    def _of(self, kind: str) -> _Filling:
        if kind not in self._filling:
            work = self._options.work
            packed = SpooledTemporaryFile[bytes](_SMALL, dir=None if work is None else str(work))
            self._filling[kind] = _Filling(packed)
        return self._filling[kind]

    def _grow(self, kind: str, filling: _Filling, count: int) -> None:
        filling.count += count
        if filling.size >= self._options.file_bytes:
            self._write(kind)

    def _pack(self, filling: _Filling) -> None:
        if filling.loose:
            data = bytes(deflate.gzip_compress(b"".join(filling.loose), _LEVEL))
            filling.loose.clear()
            filling.waiting = 0
            self._append(filling, data)

    def _append(self, filling: _Filling, data: bytes) -> None:
        with _explained():
            filling.packed.write(data)
        filling.size += len(data)

    def _write(self, kind: str) -> None:
        filling = self._filling[kind]
        self._pack(filling)
        del self._filling[kind]
        with _explained(), filling.packed as file:
            file.seek(0)
            data = file.read()
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

    packed: SpooledTemporaryFile[bytes]
    size: int = 0
    loose: list[bytes] = field(default_factory=list)
    waiting: int = 0
    count: int = 0


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            why = "the disk on which bulk files are filled is full; free some space and run again"
        else:
            why = f"bulk files cannot be filled: {error.strerror}"
        raise StoreError(why) from None
