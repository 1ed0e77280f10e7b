"""Staging: objects in a run's target that the driver and the executors exchange.

They are under `staging/`, which others cannot read, like the quarantine: it contains rejected rows.
A successful run deletes its own; `cpcds prune` deletes those of failed runs.

Names depend on the content's inputs and on no clock, so a task that runs twice, even at the same
time, writes the same bytes.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, Final, cast

import msgspec

from etl.errors import StoreError
from etl.pipeline.totals import outcome_from, outcome_to
from etl.pipeline.unit import UnitResult
from etl.publish.object_keys import STAGING
from etl.publish.target import Target, shared_store
from etl.sources.files.stored_files import ExtractFiles, RangeStream, StoredFile

_RESULTS: Final = msgspec.msgpack.Decoder(list[tuple[tuple[int, int], bytes, dict[str, bytes]]])
"""Decodes the bounds, outcome and files of each part of a unit."""
_FASTEST: Final = 1
_PART_BYTES: Final = 32 << 20
"""Bytes of a file per object."""
Results = Sequence[tuple[range, UnitResult]]
"""Results of a unit: of all its partitions together, or of each."""


@dataclass(frozen=True, slots=True)
class Staging:
    """A folder of staged objects; can be sent to another process.

    Attributes:
        target: the target of the run.
        folder: the folder in it.
    """

    target: Target
    folder: str = STAGING.rstrip("/")

    def subfolder(self, name: str) -> Staging:
        """Return a folder in this one."""
        return replace(self, folder=f"{self.folder}/{name}")

    def put(self, name: str, data: bytes) -> None:
        """Write an object, unless it exists."""
        shared_store(self.target).put(f"{self.folder}/{name}", data)

    def get(self, name: str) -> bytes:
        """Return an object.

        Raises:
            NotFound: it does not exist.
        """
        return shared_store(self.target).get(f"{self.folder}/{name}")

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """Return some bytes of an object."""
        return shared_store(self.target).get_range(f"{self.folder}/{name}", start, length)

    def names(self) -> Iterator[str]:
        """Yield the names of the objects in the folder."""
        for entry in shared_store(self.target).list(f"{self.folder}/"):
            yield entry.key.removeprefix(f"{self.folder}/")

    def delete(self) -> None:
        """Delete all objects in the folder."""
        shared_store(self.target).delete(f"{self.folder}/{name}" for name in list(self.names()))


@dataclass(frozen=True, slots=True)
class StagedValue:
    """A value for all tasks of a job.

    Attributes:
        staging: its folder.
        sha256: hash of its bytes, and its name; tasks accept no other bytes.
    """

    staging: Staging
    sha256: str

    @classmethod
    def put(cls, staging: Staging, data: bytes) -> StagedValue:
        """Stage bytes."""
        value = cls(staging, hashlib.sha256(data).hexdigest())
        staging.put(value.sha256, zlib.compress(data, _FASTEST))
        return value

    def read(self) -> bytes:
        """Return the bytes.

        Raises:
            StoreError: they were changed.
        """
        data = zlib.decompress(self.staging.get(self.sha256))
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise StoreError(f"{self.staging.folder}: what was staged was changed; run again")
        return data


def stage_results(staging: Staging, first: int, results: Results) -> None:
    """Stage the results of a unit.

    Args:
        staging: the folder of results.
        first: the unit's first partition.
        results: its results.
    """
    encoded = [
        (
            (partitions.start, partitions.stop),
            outcome_to(result.outcome),
            {name: b"".join(chunks) for name, chunks in result.files.items()},
        )
        for partitions, result in results
    ]
    staging.put(f"{first}", zlib.compress(msgspec.msgpack.encode(encoded), _FASTEST))


def read_results(staging: Staging, first: int) -> Results:
    """Return the staged results of a unit.

    Raises:
        NotFound: the unit is not finished.
    """
    encoded = _RESULTS.decode(zlib.decompress(staging.get(f"{first}")))
    return [
        (range(*bounds), UnitResult(outcome_from(outcome), {name: [files[name]] for name in files}))
        for bounds, outcome, files in encoded
    ]


@dataclass(frozen=True, slots=True)
class StagedFiles:
    """Staged files of an extract that executors cannot read otherwise (`ExtractFiles`).

    Attributes:
        staging: the folder of their parts.
        name: the name of the extract.
        files: the staged files, in the order of their names.
    """

    staging: Staging
    name: str
    files: tuple[StoredFile, ...]

    @classmethod
    def put(cls, staging: Staging, extract: ExtractFiles, names: frozenset[str]) -> StagedFiles:
        """Stage files of an extract; only one part is in memory at a time."""
        files = tuple(entry for entry in extract.entries() if entry.name in names)
        for number, entry in enumerate(files):
            with extract.open(entry.name) as file:
                for part in range(-(-entry.bytes // _PART_BYTES)):
                    staging.put(f"{number}/{part}", file.read(_PART_BYTES))
        return cls(staging, extract.name, files)

    def entries(self) -> tuple[StoredFile, ...]:
        """Return the files."""
        return self.files

    def open(self, name: str) -> BinaryIO:
        """Return the bytes of a file."""
        for file in self.files:
            if file.name == name:
                return cast("BinaryIO", RangeStream(self, file))
        raise FileNotFoundError(2, "no such file is staged", name)

    def read_range(self, item: StoredFile, start: int, length: int) -> bytes:
        """Return some bytes of a file, from the parts that contain them."""
        number, chunks = self.files.index(item), list[bytes]()
        while length:
            part, offset = divmod(start, _PART_BYTES)
            size = min(length, _PART_BYTES - offset)
            chunks.append(self.staging.get_range(f"{number}/{part}", offset, size))
            start, length = start + size, length - size
        return b"".join(chunks)
