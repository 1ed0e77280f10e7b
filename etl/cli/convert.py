"""`cpcds convert`: the one-off use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import click

from etl.bootstrap.jobs import convert_extract
from etl.cli.options import json_option, layout_option, view_option, viewing, workers_option
from etl.cli.progress import progress
from etl.cli.tables import counts_json, show_counts
from etl.errors import if_interrupted

NOT_WHOLE: Final = "the files were not written; running the same again goes on from here"


@click.command("convert")
@click.argument("extract", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for <ResourceType>.ndjson; made where it is missing.",
)
@view_option
@layout_option
@workers_option
@json_option
@click.pass_context
def convert_command(
    context: click.Context,
    extract: Path,
    out: Path,
    view: str | None,
    layout: str | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Convert the CPCDS extract in folder EXTRACT into plain bulk NDJSON.

    Nothing is configured, published or kept: one file a resource type, for the tools you like.
    """
    settings = context.obj.settings(layout=layout, publish=viewing(view)).with_workers(workers)
    with if_interrupted(NOT_WHOLE), progress(quiet=as_json) as emit:
        converted = convert_extract(settings, extract, out, emit)
    counts = converted.settled.totals.tally.counts
    if as_json:
        files = {name: str(path) for name, path in converted.files.items()}
        body = {
            "layout": converted.settled.read.extract.layout.name,
            "tables": counts_json(counts),
            "resources": dict(converted.resources),
            "files": files,
        }
        click.echo(json.dumps(body, indent=2))
        return
    show_counts(counts)
    for name, count in converted.resources.items():
        click.echo(f"{count:>9,} {name:<21} {converted.files[name]}")
