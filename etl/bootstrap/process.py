"""What a served process is set to beside its application: logging, and looking for garbage."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from etl.gateway.accounting import JsonLines


def configure_logging() -> None:
    """Let what modules log go to standard error as JSON lines, without members' data."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


@contextmanager
def collecting_nothing() -> Iterator[None]:
    """Have Python look for no cycles for a while.

    What a starting process loads stays; to look through it again and again is a tenth of its start.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def collect_rarely() -> None:
    """Have Python look for cycles less often: a look at a full cache takes a tenth of a second."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
