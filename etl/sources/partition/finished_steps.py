"""The list of finished steps in a work folder, with the checksums of the files that they wrote."""

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

STEPS_FILE: Final = "steps.list"
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


class ChecksumBuilder:
    """Computes the checksum of bytes that arrive in chunks."""

    def __init__(self) -> None:
        self._digest = xxhash.xxh3_128()
        self._bytes = 0

    def add(self, data: bytes | memoryview) -> None:
        """Add the next bytes."""
        self._digest.update(data)
        self._bytes += len(data)

    def value(self) -> Checksum:
        """Return the checksum of all bytes so far."""
        return Checksum(self._bytes, self._digest.hexdigest())


def file_checksum(path: Path) -> Checksum:
    """Return the checksum of a file.

    Raises:
        OSError: it cannot be read.
    """
    builder = ChecksumBuilder()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            builder.add(chunk)
    return builder.value()


@dataclass(frozen=True, slots=True)
class Step:
    """A finished step.

    Attributes:
        files: path of a file in the folder -> its checksum.
        facts: what else is known about it, as plain JSON.
    """

    files: Mapping[str, Checksum]
    facts: Mapping[str, Any]


class FinishedSteps:
    """The list of one folder. It is read at its first use; later only own steps are added.

    Several processes may add to one list at the same time: each line is appended by one write.

    Args:
        folder: the work folder of a run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._steps: dict[str, Step] | None = None

    def clear(self) -> None:
        """Delete the list, so that no file in the folder counts as finished.

        Raises:
            OSError: it cannot be deleted.
        """
        (self._folder / STEPS_FILE).unlink(missing_ok=True)
        self._steps = {}

    def add(
        self,
        step: str,
        files: Mapping[str, Checksum] = MappingProxyType({}),
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Add a finished step; it replaces an earlier one of that name.

        Raises:
            OSError: the list cannot be written.
        """
        steps = self._read_steps()
        body = {
            "step": step,
            "files": {name: [file.bytes, file.xxh3] for name, file in files.items()},
            "facts": dict(facts),
        }
        text = json.dumps(body, separators=(",", ":")).encode()
        # It begins with a line end, because the previous line may be incomplete.
        line = b"\n" + xxhash.xxh3_128_hexdigest(text).encode() + b" " + text + b"\n"
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND
        descriptor = os.open(self._folder / STEPS_FILE, flags, 0o600)
        try:
            os.write(descriptor, line)  # an incomplete line is ignored
        finally:
            os.close(descriptor)
        steps[step] = Step(dict(files), dict(facts))

    def add_files(self, step: str, paths: Iterable[Path]) -> None:
        """Add a finished step that wrote some files of the folder.

        Raises:
            OSError: one of them cannot be read, or the list cannot be written.
        """
        folder = self._folder
        self.add(step, {path.relative_to(folder).as_posix(): file_checksum(path) for path in paths})

    def find(self, name: str) -> Step | None:
        """Return a finished step; None if one of its files is missing or was changed."""
        step = self._read_steps().get(name)
        if step is None or not all(map(self._is_unchanged, step.files, step.files.values())):
            return None
        return step

    def _is_unchanged(self, name: str, expected: Checksum) -> bool:
        path = self._folder / name
        try:
            return path.stat().st_size == expected.bytes and file_checksum(path) == expected
        except OSError:
            return False

    def _read_steps(self) -> dict[str, Step]:
        if self._steps is None:
            try:
                lines = (self._folder / STEPS_FILE).read_bytes().split(b"\n")
            except FileNotFoundError:
                lines = []
            except OSError as error:
                raise StoreError(
                    f"the work folder cannot be read: {error.strerror}; delete {self._folder}"
                ) from None
            self._steps = dict(step for line in lines if (step := _parse_step(line)) is not None)
        return self._steps


def _parse_step(line: bytes) -> tuple[str, Step] | None:
    digest, _, text = line.partition(b" ")
    if not text or xxhash.xxh3_128_hexdigest(text).encode() != digest:
        return None
    body = json.loads(text)
    files = {name: Checksum(size, xxh3) for name, (size, xxh3) in body["files"].items()}
    return body["step"], Step(files, body["facts"])
