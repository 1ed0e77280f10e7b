"""Staging: objects of a run beside its target, for what is between driver and executors.

They are under `staging/`, which is closed to others as the quarantine is: rejected rows are in it.
A run that succeeds deletes its own; what is left of others, `cpcds prune` does.

All is named by what it depends on, and has no clock in it: a task that runs twice, or at two places
at a time, writes the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import BinaryIO, Final, cast

import pyarrow as pa

from etl.errors import StoreError
from etl.pipeline.context import Target
from etl.pipeline.totals import outcome_from, outcome_to
from etl.pipeline.unit import UnitResult
from etl.publish.object_keys import STAGING
from etl.sources.files.stored_files import ExtractFiles, StoredFile
from etl.storage.port import Store

_OUTCOME: Final = "outcome"
_SIZE: Final = 8
"""Bytes of the number that comes before what is compressed."""
_FILE_PART: Final = 32 << 20
"""Bytes of a file that are an object."""
Parts = Sequence[tuple[range, UnitResult]]
"""What a unit became: itself, or its partitions."""


@dataclass(frozen=True, slots=True)
class Staging:
    """A folder of staged objects; can be sent to another process.

    Attributes:
        target: the target that they are beside.
        folder: their folder in it.
    """

    target: Target
    folder: str = STAGING.rstrip("/")

    def within(self, name: str) -> Staging:
        """Return a folder in this one."""
        return replace(self, folder=f"{self.folder}/{name}")

    def put(self, name: str, data: bytes) -> None:
        """Write an object, unless it is there."""
        self._store.put(f"{self.folder}/{name}", data)

    def get(self, name: str) -> bytes:
        """Return an object.

        Raises:
            NotFound: it is not there.
        """
        return self._store.get(f"{self.folder}/{name}")

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """Return some bytes of an object."""
        return self._store.get_range(f"{self.folder}/{name}", start, length)

    def names(self) -> Iterator[str]:
        """Yield the names of the objects in the folder."""
        for entry in self._store.list(f"{self.folder}/"):
            yield entry.key.removeprefix(f"{self.folder}/")

    def delete(self) -> None:
        """Delete all objects in the folder."""
        self._store.delete(f"{self.folder}/{name}" for name in list(self.names()))

    @property
    def _store(self) -> Store:
        return _store_of(self.target)


@lru_cache(maxsize=2)
def _store_of(target: Target) -> Store:
    return target.store()


@dataclass(frozen=True, slots=True)
class StagedValue:
    """A value that all tasks of a job are given.

    Attributes:
        staging: where it is.
        sha256: of its bytes, which is its name as well: tasks believe no others.
    """

    staging: Staging
    sha256: str

    @classmethod
    def put(cls, staging: Staging, data: bytes) -> StagedValue:
        """Stage bytes."""
        value = cls(staging, hashlib.sha256(data).hexdigest())
        staging.put(value.sha256, _compressed(data))
        return value

    def read(self) -> bytes:
        """Return the bytes.

        Raises:
            StoreError: they are others.
        """
        data = _plain(self.staging.get(self.sha256))
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise StoreError(f"{self.staging.folder}: what was staged was changed; run again")
        return data


def put_unit(staging: Staging, first: int, parts: Parts) -> None:
    """Stage what became of a unit.

    Args:
        staging: the folder of units.
        first: its first partition.
        parts: what it became.
    """
    head, pieces = [], list[bytes]()
    for part, result in parts:
        files = {name: b"".join(pieces) for name, pieces in result.files.items()}
        for name, data in {_OUTCOME: outcome_to(result.outcome), **files}.items():
            head.append([part.start, part.stop, name, len(data)])
            pieces.append(data)
    line = json.dumps(head, separators=(",", ":")).encode() + b"\n"
    staging.put(f"{first}", _compressed(line + b"".join(pieces)))


def read_unit(staging: Staging, first: int) -> Parts:
    """Return what became of a unit.

    Raises:
        NotFound: it is not finished.
    """
    data = _plain(staging.get(f"{first}"))
    at = data.index(b"\n") + 1
    parts: dict[range, dict[str, bytes]] = {}
    for start, stop, name, length in json.loads(data[:at]):
        parts.setdefault(range(start, stop), {})[name] = data[at : at + length]
        at += length
    return [
        (part, UnitResult(outcome_from(files.pop(_OUTCOME)), _in_pieces(files)))
        for part, files in parts.items()
    ]


def _in_pieces(files: Mapping[str, bytes]) -> dict[str, list[bytes | memoryview]]:
    return {name: [data] for name, data in files.items()}


@dataclass(frozen=True, slots=True)
class StagedFiles:
    """Files of an extract that executors do not see where they lie (`ExtractFiles`).

    Attributes:
        staging: the folder of their parts.
        name: the name of the extract.
        files: those that are staged, in the order of their names.
    """

    staging: Staging
    name: str
    files: tuple[StoredFile, ...]

    @classmethod
    def put(cls, staging: Staging, place: ExtractFiles, names: frozenset[str]) -> StagedFiles:
        """Stage files of an extract; no more than a part of one is in memory."""
        files = tuple(entry for entry in place.entries() if entry.name in names)
        for number, entry in enumerate(files):
            with place.open(entry.name) as file:
                for part in range(-(-entry.bytes // _FILE_PART)):
                    staging.put(f"{number}/{part}", file.read(_FILE_PART))
        return cls(staging, place.name, files)

    def entries(self) -> tuple[StoredFile, ...]:
        """Return the files."""
        return self.files

    def open(self, name: str) -> BinaryIO:
        """Return the bytes of a file."""
        for number, file in enumerate(self.files):
            if file.name == name:
                raw = _StagedBytes(self.staging.within(f"{number}"), file.bytes)
                return cast("BinaryIO", io.BufferedReader(raw, 1 << 20))
        raise FileNotFoundError(2, "no such file is staged", name)


class _StagedBytes(io.RawIOBase):
    """The bytes of a staged file, asked for in ranges as they are read."""

    def __init__(self, staging: Staging, size: int) -> None:
        super().__init__()
        self._staging, self._size, self._at = staging, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        part, start = divmod(self._at, _FILE_PART)
        length = min(len(view), _FILE_PART - start, max(self._size - self._at, 0))
        if not length:
            return 0
        data = self._staging.get_range(f"{part}", start, length)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def _compressed(data: bytes) -> bytes:
    squeezed: bytes = pa.compress(data, "zstd", asbytes=True)
    return len(data).to_bytes(_SIZE) + squeezed


def _plain(data: bytes) -> bytes:
    size = int.from_bytes(data[:_SIZE])
    plain: bytes = pa.decompress(data[_SIZE:], size, "zstd", asbytes=True)
    return plain
