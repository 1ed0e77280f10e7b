"""Garbage collection policy: off while modules load and mappings compile."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_disabled() -> Iterator[None]:
    """Disable garbage collection for a while.

    Objects loaded at the start stay alive; scanning them repeatedly takes a tenth of the start.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def gc_relaxed() -> Iterator[None]:
    """Collect garbage rarely, and not among present objects, within this context."""
    thresholds = gc.get_threshold()
    relax_gc()
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def relax_gc() -> None:
    """Collect garbage less often: a scan of a full cache takes a tenth of a second."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
