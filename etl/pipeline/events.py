"""Events of a run, for progress bars, logs and records: places and counts, never a row's data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from etl.sources import Event as SourceEvent

Stage: TypeAlias = Literal[
    "hash", "read", "directory", "partitions", "publish", "bulk", "suites", "report", "commit"
]

STAGES: Final[Mapping[Stage, str]] = MappingProxyType(
    {
        "hash": "bytes",
        "read": "bytes",
        "directory": "rows",
        "partitions": "partitions",
        "publish": "rows",
        "bulk": "resources",
        "suites": "suites",
        "report": "files",
        "commit": "objects",
    }
)
"""Stage -> name of its steps, in the order in which a run reaches them.

Rows of `publish` are those of the catalog, and the resources of the shared directory.
"""


@dataclass(frozen=True, slots=True)
class StageBegan:
    """A part of the run began; the one before it is over.

    Attributes:
        stage: which. Reading begins twice where a delta is put on top of what it changes.
        total: how many steps it has; None where that is not known.
    """

    stage: Stage
    total: int | None = None


@dataclass(frozen=True, slots=True)
class StageAdvanced:
    """Some steps of the present stage are done.

    Attributes:
        count: how many more.
    """

    count: int


@dataclass(frozen=True, slots=True)
class StageExtended:
    """The present stage has more steps than were known.

    Attributes:
        count: how many more.
    """

    count: int


@dataclass(frozen=True, slots=True)
class ObjectWritten:
    """An object was written to the target: a step of stages that count objects."""


@dataclass(frozen=True, slots=True)
class PartitionDone:
    """One partition of members was checked and mapped, or several with little to do.

    Attributes:
        index: number of the first.
        count: how many.
        members: how many members it published.
        resources: how many resources it has.
        reused: members whose results are those of the previous release, rejected ones included.
    """

    index: int
    count: int
    members: int
    resources: int
    reused: int = 0


Event: TypeAlias = (
    SourceEvent | StageBegan | StageAdvanced | StageExtended | ObjectWritten | PartitionDone
)
Emit: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Emit nothing."""
    del event


def to_all(*receivers: Emit) -> Emit:
    """Return what hands each event on to all receivers, in their order."""

    def emit(event: Event) -> None:
        for receiver in receivers:
            receiver(event)

    return emit
