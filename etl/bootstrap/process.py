"""What a served process is set to beside its application: logging."""

from __future__ import annotations

import logging
import sys

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
