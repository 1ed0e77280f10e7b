"""The list of a work folder: every file that a finished step wrote, with its checksum.

A file of an earlier attempt counts if the list names it and its checksum matches. A file that is
missing, cut off or different makes its step undone, and so does a damaged line of the list. So no
sync is needed: after a power cut, what did not reach the disk is written again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import xxhash

from etl.errors import StoreError

LIST: Final = "steps.list"
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Checksum:
    """Size and checksum of a file, against accidental change.

    Attributes:
        bytes: its size.
        xxh3: XXH3 of 128 bits over its bytes, in hex.
    """

    bytes: int
    xxh3: str


class Summing:
    """A checksum of bytes that are still coming."""

    def __init__(self) -> None:
        self._digest = xxhash.xxh3_128()
        self._bytes = 0

    def add(self, data: bytes | memoryview) -> None:
        """Take the bytes that follow."""
        self._digest.update(data)
        self._bytes += len(data)

    def checksum(self) -> Checksum:
        """Return the checksum of what was taken so far."""
        return Checksum(self._bytes, self._digest.hexdigest())


def checksum_of(path: Path) -> Checksum:
    """Return the checksum of a file.

    Raises:
        OSError: it cannot be read.
    """
    summing = Summing()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            summing.add(chunk)
    return summing.checksum()


@dataclass(frozen=True, slots=True)
class Step:
    """A line of the list.

    Attributes:
        files: path of a file in the folder -> its checksum.
        facts: what else there is to say, as plain JSON.
    """

    files: Mapping[str, Checksum]
    facts: Mapping[str, Any]


class Inventory:
    """The list of one folder, as at its first use; added entries show at once.

    Several processes may add to one list at the same time: each line is appended by one write.

    Args:
        folder: the work folder of a run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._steps: dict[str, Step] | None = None

    def clear(self) -> None:
        """Begin a new list: nothing that is in the folder counts.

        Raises:
            OSError: the old one cannot be deleted.
        """
        (self._folder / LIST).unlink(missing_ok=True)
        self._steps = {}

    def add(
        self,
        step: str,
        files: Mapping[str, Checksum] = MappingProxyType({}),
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Note that a step is finished; it takes the place of an earlier one of that name.

        Raises:
            OSError: the list cannot be written.
        """
        steps = self._all()
        body = {
            "step": step,
            "files": {name: [file.bytes, file.xxh3] for name, file in files.items()},
            "facts": dict(facts),
        }
        text = json.dumps(body, separators=(",", ":")).encode()
        # It begins with a line end: the line before it may have been cut off.
        line = b"\n" + xxhash.xxh3_128_hexdigest(text).encode() + b" " + text + b"\n"
        descriptor = os.open(self._folder / LIST, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line)  # what is cut off does not count
        finally:
            os.close(descriptor)
        steps[step] = Step(dict(files), dict(facts))

    def add_files(self, step: str, paths: Iterable[Path]) -> None:
        """Note that a step is finished which wrote some files of the folder.

        Raises:
            OSError: one of them cannot be read, or the list cannot be written.
        """
        folder = self._folder
        self.add(step, {path.relative_to(folder).as_posix(): checksum_of(path) for path in paths})

    def step(self, name: str) -> Step | None:
        """Return a finished step if all its files are there as they were written; else None."""
        files = self._all().get(name)
        if files is None or not all(map(self._is_whole, files.files, files.files.values())):
            return None
        return files

    def _is_whole(self, name: str, wanted: Checksum) -> bool:
        path = self._folder / name
        try:
            return path.stat().st_size == wanted.bytes and checksum_of(path) == wanted
        except OSError:
            return False

    def _all(self) -> dict[str, Step]:
        if self._steps is None:
            try:
                lines = (self._folder / LIST).read_bytes().split(b"\n")
            except FileNotFoundError:
                lines = []
            except OSError as error:
                raise StoreError(
                    f"the work folder cannot be read: {error.strerror}; delete {self._folder}"
                ) from None
            self._steps = dict(step for line in lines if (step := _read(line)) is not None)
        return self._steps


def _read(line: bytes) -> tuple[str, Step] | None:
    digest, _, text = line.partition(b" ")
    if not text or xxhash.xxh3_128_hexdigest(text).encode() != digest:
        return None
    body = json.loads(text)
    files = {name: Checksum(size, xxh3) for name, (size, xxh3) in body["files"].items()}
    return body["step"], Step(files, body["facts"])
