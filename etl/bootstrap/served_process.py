"""Logging and shutdown of a served process."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import wait

from etl.gateway.access_log import JsonFormatter


def configure_logging() -> None:
    """Log to standard error as JSON lines, without members' data."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def end_with_parent() -> None:
    """Let this process finish requests under way and end once its parent process is gone.

    A parent that ends normally ends its workers before. One that is killed cannot: they would go on
    answering, at the address that the next server needs, with outdated settings.
    """
    parent = multiprocessing.parent_process()
    if parent is None:  # a single process
        return

    def watch(sentinel: int) -> None:
        wait([sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()
