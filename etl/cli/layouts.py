"""`cpcds layouts`: the supported extract layouts."""

from __future__ import annotations

import json

import click

from etl.bootstrap.wiring import load_definitions
from etl.cli.options import json_option
from etl.sources import CANONICAL


@click.command("layouts")
@json_option
@click.pass_context
def layouts_command(context: click.Context, as_json: bool) -> None:
    """List the layouts of extracts that are known, the canonical one first."""
    layouts = (CANONICAL, *load_definitions(context.obj.settings()).layouts)
    if as_json:
        body = [
            {"name": layout.name, "title": layout.title, "description": layout.description}
            for layout in layouts
        ]
        click.echo(json.dumps(body, indent=2))
        return
    for layout in layouts:
        click.echo(f"{layout.name}: {layout.title}")
        click.echo(f"    {' '.join(layout.description.split())}")
