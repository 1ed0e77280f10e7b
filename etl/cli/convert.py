"""`cpcds convert`: the one-off use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from etl.bootstrap.use_cases import convert_extract
from etl.cli.options import (
    json_option,
    layout_option,
    memory_option,
    running,
    view_option,
    viewing,
    workers_option,
)
from etl.cli.progress import progress
from etl.cli.result_tables import (
    counts_json,
    rejected_json,
    show_counts,
    show_rejected,
    show_unowned,
)
from etl.errors import if_interrupted
from etl.pipeline.process import Processed
from etl.pipeline.report import LimitBroken
from etl.reports import Rejected

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
@memory_option
@json_option
@click.pass_context
def convert_command(
    context: click.Context,
    extract: Path,
    out: Path,
    view: str | None,
    layout: str | None,
    workers: int | None,
    memory: str | None,
    as_json: bool,
) -> None:
    """Convert the CPCDS extract EXTRACT into plain bulk NDJSON.

    Nothing is configured, published or kept: one file a resource type, for the tools you like.
    """
    settings = context.obj.settings(
        layout=layout, publish=viewing(view), run=running(memory=memory)
    ).with_workers(workers)
    try:
        with if_interrupted(NOT_WHOLE), progress(quiet=as_json) as emit:
            converted = convert_extract(settings, extract, out, emit)
    except LimitBroken as stopped:
        _show(stopped.processed, stopped.processed.rejected, {}, as_json=as_json)
        raise
    files = {name: (count, converted.files[name]) for name, count in converted.resources.items()}
    _show(converted.processed, converted.processed.rejected, files, as_json=as_json)


def _show(
    processed: Processed,
    rejected: Rejected,
    files: Mapping[str, tuple[int, Path]],
    *,
    as_json: bool,
) -> None:
    counts = processed.totals.tally.counts
    if as_json:
        body = {
            "layout": processed.read.extract.layout.name,
            "tables": counts_json(counts),
            "resources": {name: count for name, (count, _) in files.items()},
            "files": {name: str(path) for name, (_, path) in files.items()},
            "unowned_rows": dict(processed.unowned),
            "rejected": rejected_json(rejected),
        }
        click.echo(json.dumps(body, indent=2))
        return
    show_counts(counts)
    show_rejected(rejected)
    show_unowned(processed.unowned)
    for name, (count, path) in files.items():
        click.echo(f"{count:>9,} {name:<21} {path}")
