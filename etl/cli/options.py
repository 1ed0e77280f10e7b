"""Options that several commands share, said once."""

from __future__ import annotations

from typing import Final

import click

layout_option: Final = click.option(
    "--layout", help="Layout of the extract; found out where not given."
)
workers_option: Final = click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Processes; one a processor where not given, or 0.",
)
json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
