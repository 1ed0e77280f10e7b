"""Garbage collection policy: off while modules load and mappings compile."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_disabled() -> Iterator[None]:
    """Have Python look for no cycles for a while.

    What a starting process loads stays; to look through it again and again is a tenth of its start.
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
    """Have Python look for cycles seldom, and not in what is there now, until this is over."""
    thresholds = gc.get_threshold()
    relax_gc()
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def relax_gc() -> None:
    """Have Python look for cycles less often: a look at a full cache takes a tenth of a second."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
