"""Options shared by several commands."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import click

from etl.errors import UsageError

layout_option: Final = click.option(
    "--layout", help="Layout of the extract; detected where not given."
)
workers_option: Final = click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Processes; one a processor where not given, or 0.",
)
memory_option: Final = click.option(
    "--memory",
    metavar="SIZE",
    help="Most memory of all processes together, such as 1.5GB; no bound where not given.",
)
json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
page_option: Final = click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it as an HTML page as well.",
)
view_option: Final = click.option(
    "--view",
    type=click.Choice(["financial", "basis"]),
    help="basis: the guide's Basis profiles, without any amount; else the setting publish.view.",
)


executor_option: Final = click.option(
    "--executor",
    type=click.Choice(["local", "spark"]),
    help="Where members' rows are worked on: this machine, or Apache Spark.",
)
master_option: Final = click.option(
    "--master",
    metavar="URL",
    help="Where Spark runs, as for spark-submit; the platform's session where not given.",
)


def running(**given: str | None) -> dict[str, Any] | None:
    """Return the settings of the group `run` that were given; None where none was."""
    return {name: value for name, value in given.items() if value is not None} or None


def print_json(value: object) -> None:
    """Print a value as indented JSON: what `--json` asks for."""
    click.echo(json.dumps(value, indent=2))


def write_file(path: Path, text: str) -> None:
    """Write a page or table that only its owner can read, whatever was there before.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        with open(path, "w", encoding="utf-8", opener=_private) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
    except OSError as error:
        raise UsageError(f"{path}: the file cannot be written: {error.strerror}") from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def viewing(view: str | None) -> dict[str, Any] | None:
    """Return the settings of `--view`; None where it was not given."""
    return None if view is None else {"view": view}


def endpoint(url: str | None) -> dict[str, str] | None:
    """Return the settings of `--endpoint-url`."""
    return None if url is None else {"endpoint_url": url}
