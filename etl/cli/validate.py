"""`cpcds validate`: checks only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import click

from etl.bootstrap.use_cases import validate_extract
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
from etl.cli.result_tables import show_summary, summary_json
from etl.errors import if_interrupted

NO_REPORT: Final = "no report was written; running the same again goes on from here"


@click.command("validate")
@click.argument("extract", type=click.Path(path_type=Path))
@click.option(
    "--report",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("cpcds-report"),
    show_default=True,
    help="Folder for the report and the quarantine.",
)
@view_option
@layout_option
@workers_option
@memory_option
@json_option
@click.pass_context
def validate_command(
    context: click.Context,
    extract: Path,
    report: Path,
    view: str | None,
    layout: str | None,
    workers: int | None,
    memory: str | None,
    as_json: bool,
) -> None:
    """Check the CPCDS extract EXTRACT and write the auditor's report.

    Nothing is published. Exit code 4 says that more was rejected than the limits allow.
    """
    settings = context.obj.settings(
        layout=layout, publish=viewing(view), run=running(memory=memory)
    ).with_workers(workers)
    with if_interrupted(NO_REPORT), progress(quiet=as_json) as emit:
        validated = validate_extract(settings, extract, report, emit)
    page = validated.reported.page
    if as_json:
        body = summary_json(validated.reported.report)
        click.echo(json.dumps({**body, "report": str(page)}, indent=2))
    else:
        show_summary(validated.reported.report)
        click.echo(f"report: {page}")
    validated.enforce()
