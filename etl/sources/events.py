"""Events of reading an extract, for progress bars and logs. No row's data in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hashed:
    """A file was read once for its hash.

    Attributes:
        file: its name inside the extract.
        bytes: its size.
    """

    file: str
    bytes: int


@dataclass(frozen=True, slots=True)
class FileProgress:
    """Part of a file has been read.

    Attributes:
        file: its name inside the extract.
        done: bytes of the file that have been read; counted as stored, so compressed where it is.
        bytes: its size.
        rows: rows read from it so far.
    """

    file: str
    done: int
    bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class Partitioned:
    """Every file has been read.

    Attributes:
        rows: rows read.
        partitions: how many partitions there are.
    """

    rows: int
    partitions: int


Event = Hashed | FileProgress | Partitioned
Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Emit nothing."""
    del event
