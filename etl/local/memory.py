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
_POOL_VARIABLE: Final = "ARROW_DEFAULT_MEMORY_POOL"
"""Arrow's own setting, which counts where somebody has set it."""


def choose_memory_pool() -> None:
    """Let Arrow allocate with jemalloc in this process, if its build has it.

    Existing buffers keep their allocator.
    """
    if _POOL_VARIABLE not in os.environ and _ALLOCATOR in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())


_MB: Final = 1_000_000
_RUN_BYTES: Final = 280 * _MB
"""Memory of the main process besides rows: libraries, definitions, parser blocks, one bulk file."""
_WORKER_BYTES: Final = 130 * _MB
"""Memory of each worker process besides rows; libraries are shared."""
_SUITES_BYTES: Final = 120 * _MB
"""Memory of Great Expectations and its rows, in each process of suites and in their parent."""
_PARTITION_FACTOR: Final = 20
"""Memory of a partition per byte of its rows in the work folder."""
_ROW_BYTES: Final = 500
"""Bytes of a row there: 250, doubled because the largest partition may be twice the mean if it has
few members. Wide layouts have larger rows, which `check_largest` finds."""
MIN_PARTITION_ROWS: Final = 8_000
"""Smaller partitions take several times as long, for hardly less memory."""
_LARGE_MEMBER_ROW_BYTES: Final = 7_500
"""Memory per row of a very large member, whose claims are processed together."""
MANY_ROWS: Final = 20_000
"""For members with fewer rows, free memory is not checked."""
_MIN_PROCESS_ROWS: Final = 25_000
"""Rows that a process's partition should have before another process is worth its memory."""


def partition_memory(row_bytes: int) -> int:
    """Estimate the memory of a partition while it is processed.

    Args:
        row_bytes: bytes of its rows in the work folder.
    """
    return _PARTITION_FACTOR * row_bytes


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

    def processes(self, max_processes: int) -> int:
        """Return how many processes fit, each with a partition worth it.

        Args:
            max_processes: as many as there would be without a budget.
        """
        fitting_counts = (
            count
            for count in range(max_processes, 1, -1)
            if self._fitting_rows(count) >= _MIN_PROCESS_ROWS
        )
        return next(fitting_counts, 1)

    def partition_rows(self, processes: int, max_rows: int) -> int:
        """Return about how many rows a partition may have.

        Raises:
            UsageError: not even a small partition fits.
        """
        rows = min(self._fitting_rows(processes), max_rows)
        if rows < min(MIN_PARTITION_ROWS, max_rows):
            min_bytes = self._fixed_bytes(1) + partition_memory(_ROW_BYTES * MIN_PARTITION_ROWS)
            raise UsageError(
                f"run.memory is {_format_size(self.total)}, but a run needs "
                f"at least {_format_size(min_bytes)}: raise the setting, or leave it out"
            )
        return rows

    def check_largest(self, row_bytes: int, processes: int) -> None:
        """Check that the largest partition of an extract fits.

        A partition has all rows of its members, however many there are.

        Args:
            row_bytes: bytes of its rows in the work folder.
            processes: number of processes.

        Raises:
            StoreError: it does not fit.
        """
        needed = self._fixed_bytes(processes) + partition_memory(row_bytes)
        if needed > self.total:
            raise StoreError(
                f"run.memory is {_format_size(self.total)}, and the rows of the members that must "
                f"be processed together need about {_format_size(needed)}: raise the setting"
            )

    def check_member(self, rows: int, processes: int) -> None:
        """Check that the member with the most rows fits.

        Args:
            rows: of that member, in all tables.
            processes: how many processes there are.

        Raises:
            StoreError: it does not fit.
        """
        needed = self._fixed_bytes(processes) + _LARGE_MEMBER_ROW_BYTES * rows
        if needed > self.total:
            available = "run.memory is" if self.is_set else "this machine has free"
            advice = "raise the setting" if self.is_set else "use a machine with that much memory"
            raise StoreError(
                f"one member has {rows:,} rows, which are processed together and need about "
                f"{_format_size(needed)}; {available} {_format_size(self.total)}: {advice}"
            )

    def _fitting_rows(self, processes: int) -> int:
        """Return how many rows fit into each process's partition."""
        free_bytes = self.total - self._fixed_bytes(processes)
        return max(0, free_bytes // (processes * partition_memory(_ROW_BYTES)))

    def _fixed_bytes(self, processes: int) -> int:
        """Return the memory that processes take besides rows."""
        worker_count = processes if processes > 1 else 0  # one process does everything itself
        suites_bytes = _SUITES_BYTES * (1 + worker_count) if self.suites else 0
        return _RUN_BYTES + _WORKER_BYTES * worker_count + suites_bytes


def free_memory(
    meminfo: Path = Path("/proc/meminfo"), limit: Path = Path("/sys/fs/cgroup/memory.max")
) -> MemoryBudget | None:
    """Return this machine's free memory as a budget; None if unknown.

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


def _format_size(size: int) -> str:
    """Format a size in megabytes, rounded up."""
    return f"{-(-size // _MB):,} MB"
