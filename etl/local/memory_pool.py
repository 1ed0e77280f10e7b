"""The allocator of Arrow's arrays in the processes of a run."""

from __future__ import annotations

import os
from typing import Final

import pyarrow as pa

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
