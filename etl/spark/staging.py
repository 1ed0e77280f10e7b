"""Staging: objects of a run beside its target, for what is between driver and executors.

They are under `staging/`, which is closed to others as the quarantine is: rejected rows are in it.
A run that succeeds deletes its own; what is left of others, `cpcds prune` does.

All is named by what it depends on, and has no clock in it: a task that runs twice, or at two places
at a time, writes the same bytes.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import BinaryIO, Final, cast

import msgspec

from etl.errors import StoreError
from etl.pipeline.context import Target
from etl.pipeline.totals import outcome_from, outcome_to
from etl.pipeline.unit import UnitResult
from etl.publish.object_keys import STAGING
from etl.sources.files.stored_files import ExtractFiles, RangeStream, StoredFile
from etl.storage.port import Store

_UNITS: Final = msgspec.msgpack.Decoder(list[tuple[tuple[int, int], bytes, dict[str, bytes]]])
"""Bounds, outcome and files of each part of a unit."""
_FAST: Final = 1
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
        staging.put(value.sha256, zlib.compress(data, _FAST))
        return value

    def read(self) -> bytes:
        """Return the bytes.

        Raises:
            StoreError: they are others.
        """
        data = zlib.decompress(self.staging.get(self.sha256))
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
    units = [
        (
            (part.start, part.stop),
            outcome_to(result.outcome),
            {name: b"".join(chunks) for name, chunks in result.files.items()},
        )
        for part, result in parts
    ]
    staging.put(f"{first}", zlib.compress(msgspec.msgpack.encode(units), _FAST))


def read_unit(staging: Staging, first: int) -> Parts:
    """Return what became of a unit.

    Raises:
        NotFound: it is not finished.
    """
    units = _UNITS.decode(zlib.decompress(staging.get(f"{first}")))
    return [
        (range(*bounds), UnitResult(outcome_from(outcome), {name: [files[name]] for name in files}))
        for bounds, outcome, files in units
    ]


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
        for file in self.files:
            if file.name == name:
                return cast("BinaryIO", RangeStream(self, file))
        raise FileNotFoundError(2, "no such file is staged", name)

    def part(self, item: StoredFile, start: int, length: int) -> bytes:
        """Return some bytes of a file, from as many of its parts as they lie in."""
        number, pieces = self.files.index(item), list[bytes]()
        while length:
            part, at = divmod(start, _FILE_PART)
            size = min(length, _FILE_PART - at)
            pieces.append(self.staging.get_range(f"{number}/{part}", at, size))
            start, length = start + size, length - size
        return b"".join(pieces)
