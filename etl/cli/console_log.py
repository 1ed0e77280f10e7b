"""Log lines of the program, on standard error."""

from __future__ import annotations

import logging
import sys
from typing import Final

import click

LOG_TIME: Final = "%Y-%m-%dT%H:%M:%S%z"
"""Time of a line of a log: ISO 8601, with its zone."""


def log_to_console(*, verbose: bool) -> None:
    """Print warnings and errors; with `verbose` all lines."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        datefmt=LOG_TIME,
        handlers=[_StandardError()],
    )


class _StandardError(logging.Handler):
    """Prints to the present standard error, which is above the bars where some are shown."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), file=sys.stderr)
