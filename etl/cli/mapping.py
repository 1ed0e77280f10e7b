"""`cpcds mapping`: look at the mappings without any data."""

from __future__ import annotations

import json
from typing import Any

import click

from etl.bootstrap.wiring import check_mappings


@click.group("mapping")
def mapping_group() -> None:
    """Check the mappings, and print what they say."""


@mapping_group.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check(context: click.Context, as_json: bool) -> None:
    """Compile every mapping and hold it against its FHIR profile; nothing is read."""
    checked = check_mappings(context.obj.settings())
    found: list[dict[str, Any]] = [
        {"where": one.where, "id": one.error_id, "message": str(one)} for one in checked.problems
    ]
    if as_json:
        click.echo(json.dumps({"mappings": checked.names, "problems": found}, indent=2))
    else:
        for one in found:
            click.echo(one["message"])
        click.echo(f"{len(checked.names)} mappings, {len(found)} problems")
    context.exit(3 if found else 0)
