"""`cpcds mapping`: look at the mappings without any data."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from etl.bootstrap.wiring import check_mappings, make_tools
from etl.cli.options import json_option, view_option, viewing
from etl.mapping.dictionary import as_csv, as_html, as_markdown, dictionary


@click.group("mapping")
def mapping_group() -> None:
    """Check the mappings, and print what they say."""


@mapping_group.command("check")
@json_option
@click.pass_context
def check(context: click.Context, as_json: bool) -> None:
    """Compile every mapping and hold it against its FHIR profile; nothing is read."""
    checked = check_mappings(context.obj.settings())
    found: list[dict[str, Any]] = [
        {"where": one.where, "id": one.error_id, "message": str(one)} for one in checked.problems
    ]
    if as_json:
        body = {"mappings": checked.names, "views": checked.views, "problems": found}
        click.echo(json.dumps(body, indent=2))
    else:
        for one in found:
            click.echo(one["message"])
        views = " and ".join(checked.views)
        click.echo(f"{len(checked.names)} mappings (views: {views}), {len(found)} problems")
    context.exit(3 if found else 0)


@mapping_group.command("docs")
@click.option(
    "--format",
    "form",
    type=click.Choice(["markdown", "html", "csv"]),
    default="markdown",
    show_default=True,
    help="Form of the dictionary.",
)
@view_option
@json_option
@click.pass_context
def docs(context: click.Context, form: str, view: str | None, as_json: bool) -> None:
    """Print the data dictionary: column, MapIDs, FHIR path, profile."""
    settings = context.obj.settings(publish=viewing(view))
    rows = dictionary(make_tools(settings).mappings.plans)
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=2))
        return
    render = {"markdown": as_markdown, "html": as_html, "csv": as_csv}[form]
    click.echo(render(rows), nl=False)
