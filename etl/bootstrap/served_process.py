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
    """Let what modules log go to standard error as JSON lines, without members' data."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def end_with_parent() -> None:
    """Let this process finish what is under way and end once the process that began it is gone.

    A parent that ends as it should ends its workers before. One that is killed cannot: they would
    go on answering, at the address that the next server wants, with settings of nobody's any more.
    """
    parent = multiprocessing.parent_process()
    if parent is None:  # it serves alone
        return

    def watch(sentinel: int) -> None:
        wait([sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()
