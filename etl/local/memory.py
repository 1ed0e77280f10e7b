"""A budget of memory: how many processes and how large partitions fit into it.

What a run takes was measured (docs/performance.md, "Memory"): a fixed amount for each process,
whatever it works on, and a multiple of the rows of the one partition that it holds.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from etl.errors import StoreError, UsageError

_ALLOCATOR: Final = "jemalloc"
"""The one with which a run holds the least memory (decision 0014)."""
_VARIABLE: Final = "ARROW_DEFAULT_MEMORY_POOL"
"""Arrow's own setting, which counts where somebody has set it."""


def choose_memory_pool() -> None:
    """Let Arrow allocate with jemalloc in this process, where the build of Arrow has it.

    Buffers that are there already stay with the allocator that they came from.
    """
    if _VARIABLE not in os.environ and _ALLOCATOR in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())


_MB: Final = 1_000_000
_RUN: Final = 280 * _MB
"""Taken by the process that reads and commits beside rows: libraries, definitions, blocks of the
parser, and one bulk file."""
_WORKER: Final = 130 * _MB
"""Taken by each worker process beside rows; libraries are shared."""
_SUITES: Final = 120 * _MB
"""Taken by Great Expectations with the rows that it looks at, in each process that runs suites, and
in the one that those are forks of."""
_FACTOR: Final = 20
"""Memory that a partition takes, for each byte of its rows as they are in the work folder."""
_ROW: Final = 500
"""Bytes of a row there: 250, and the largest partition is twice as large as the mean, where few
members make one. Wide layouts have more, which `check_largest` finds."""
LEAST_ROWS: Final = 8_000
"""Smaller partitions take several times as long, for hardly less memory."""
_ROW_OF_ONE: Final = 7_500
"""Memory for each row of a member with very many, whose claims are made and held together."""
MANY_ROWS: Final = 20_000
"""A member with fewer rows is no reason to look how much memory is free."""
_WORTH_A_PROCESS: Final = 25_000
"""Rows that a process's partition should have before another process is worth its memory."""


def partition_memory(row_bytes: int) -> int:
    """Return about how much memory a partition takes while it is worked on.

    Args:
        row_bytes: bytes of its rows as they are in the work folder.
    """
    return _FACTOR * row_bytes


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """A budget of memory that all processes of a run share.

    Attributes:
        total: bytes.
        suites: whether suites run as well.
        is_set: whether the setting says so; else it is what there is.
    """

    total: int
    suites: bool
    is_set: bool = True

    def processes(self, most: int) -> int:
        """Return how many processes work: as many as have room for a partition worth it.

        Args:
            most: as many as there would be without a budget.
        """
        fitting = (count for count in range(most, 1, -1) if self._rows(count) >= _WORTH_A_PROCESS)
        return next(fitting, 1)

    def partition_rows(self, processes: int, most: int) -> int:
        """Return about how many rows a partition may have.

        Raises:
            UsageError: none worth working on fits.
        """
        rows = min(self._rows(processes), most)
        if rows < min(LEAST_ROWS, most):
            least = self._fixed(1) + partition_memory(_ROW * LEAST_ROWS)
            raise UsageError(
                f"run.memory is {_shown(self.total)}, but a run needs at least {_shown(least)}: "
                "raise the setting, or leave it out"
            )
        return rows

    def check_largest(self, row_bytes: int, processes: int) -> None:
        """Check that the largest partition of an extract that was read fits.

        One holds all rows of a member, however many there are.

        Args:
            row_bytes: bytes of its rows as they are in the work folder.
            processes: how many processes there are.

        Raises:
            StoreError: it does not.
        """
        needed = self._fixed(processes) + partition_memory(row_bytes)
        if needed > self.total:
            raise StoreError(
                f"run.memory is {_shown(self.total)}, and the rows of the members that must be "
                f"processed together need about {_shown(needed)}: raise the setting"
            )

    def check_member(self, rows: int, processes: int) -> None:
        """Check that the member with most rows fits.

        Args:
            rows: of that member, in all tables.
            processes: how many processes there are.

        Raises:
            StoreError: it does not.
        """
        needed = self._fixed(processes) + _ROW_OF_ONE * rows
        if needed > self.total:
            have = "run.memory is" if self.is_set else "this machine has free"
            give = "raise the setting" if self.is_set else "use a machine with that much memory"
            raise StoreError(
                f"one member has {rows:,} rows, which are processed together and need about "
                f"{_shown(needed)}; {have} {_shown(self.total)}: {give}"
            )

    def _rows(self, processes: int) -> int:
        left = self.total - self._fixed(processes)
        return max(0, left // (processes * partition_memory(_ROW)))

    def _fixed(self, processes: int) -> int:
        beside = processes if processes > 1 else 0  # one process does everything itself
        suites = _SUITES * (1 + beside) if self.suites else 0
        return _RUN + _WORKER * beside + suites


def free_here(
    meminfo: Path = Path("/proc/meminfo"), limit: Path = Path("/sys/fs/cgroup/memory.max")
) -> MemoryBudget | None:
    """Return what this machine has free, for all processes of a run; None where it does not say.

    Args:
        meminfo: the system's file on its memory.
        limit: the container's file on its own; there may be none.
    """
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        free = sizes["MemAvailable"]
    except (OSError, ValueError, IndexError, KeyError):
        return None
    with suppress(OSError, ValueError):  # no container, or one without a limit
        free = min(free, int(limit.read_text(encoding="ascii")))
    return MemoryBudget(free, suites=False, is_set=False)


def _shown(size: int) -> str:
    return f"{-(-size // _MB):,} MB"
