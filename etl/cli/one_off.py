"""`cpcds convert`, `cpcds validate` and `cpcds conform`: nothing is published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from etl.bootstrap.inspections import conform_to_guide, convert_extract, validate_extract
from etl.cli import options, result_tables
from etl.cli.progress import counting, progress
from etl.conform.render import as_json as report_json
from etl.conform.render import text_lines
from etl.errors import UsageError, if_interrupted
from etl.pipeline.process import ProcessedExtract
from etl.pipeline.reporting.report_files import LimitBroken
from etl.reports import finding_formats
from etl.reports.summary import Rejected, rows_by_fate

FORMATS: Final = {
    "text": finding_formats.text_lines,
    "json": finding_formats.json_lines,
    "sarif": finding_formats.sarif_lines,
}
NO_REPORT: Final = "the new report may be missing; run the same command again to finish"


@click.command("validate")
@options.extract_argument
@click.option(
    "--report",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("cpcds-report"),
    show_default=True,
    help="Folder for the report and the quarantine.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    help="Print each finding instead of the summary: file:row:column lines, JSON, or SARIF.",
)
@options.job_options
@options.json_option
@click.pass_context
def validate_command(
    context: click.Context, extract: Path, report: Path, form: str | None, as_json: bool
) -> None:
    """Check the CPCDS extract EXTRACT and write the auditor's report.

    Nothing is published. Exit code 4 means that more was rejected than the limits allow.
    """
    if form is not None and as_json:
        raise UsageError("--json prints the summary: leave out --json or --format")
    settings = options.read_settings(context)
    with if_interrupted(NO_REPORT), progress(quiet=as_json or form is not None) as emit:
        validated = validate_extract(settings, extract, report, emit)
    page = validated.reported.page
    if form is not None:
        for line in FORMATS[form](validated.reported.report, page.parent, extract):
            click.echo(line)
    elif as_json:
        body = result_tables.summary_json(validated.reported.report)
        options.print_json({**body, "report": str(page)})
    else:
        result_tables.show_summary(validated.reported.report)
        click.echo(f"report: {page}")
    validated.enforce()


NOT_WHOLE: Final = "some or all new files may be missing; run the same command again to finish"


@click.command("convert")
@options.extract_argument
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the <ResourceType>.ndjson files. Created if it is missing.",
)
@options.job_options
@options.json_option
@click.pass_context
def convert_command(context: click.Context, extract: Path, out: Path, as_json: bool) -> None:
    """Convert the CPCDS extract EXTRACT into plain bulk NDJSON.

    Writes one file for each resource type, for any tool. Needs no configuration, and publishes and
    keeps nothing else.
    """
    settings = options.read_settings(context)
    try:
        with if_interrupted(NOT_WHOLE), progress(quiet=as_json) as emit:
            converted = convert_extract(settings, extract, out, emit)
    except LimitBroken as stopped:
        _show(stopped.processed, stopped.processed.rejected, {}, as_json=as_json)
        raise
    files = {name: (count, converted.files[name]) for name, count in converted.resources.items()}
    _show(converted.processed, converted.processed.rejected, files, as_json=as_json)


def _show(
    processed: ProcessedExtract,
    rejected: Rejected,
    files: Mapping[str, tuple[int, Path]],
    *,
    as_json: bool,
) -> None:
    counts = processed.totals.tally.counts
    if as_json:
        body = {
            "layout": processed.read.extract.layout.name,
            "tables": rows_by_fate(counts),
            "resources": {name: count for name, (count, _) in files.items()},
            "files": {name: str(path) for name, (_, path) in files.items()},
            "unowned_rows": dict(processed.unowned),
            "rejected": result_tables.rejected_json(rejected),
        }
        options.print_json(body)
        return
    result_tables.show_counts(counts)
    result_tables.show_rejected(rejected)
    result_tables.show_unowned(processed.unowned)
    for name, (count, path) in files.items():
        click.echo(f"{count:>9,} {name:<21} {path}")


@click.command("conform")
@click.argument("what", nargs=-1, required=True)
@click.option(
    "--profile", multiple=True, help="Check against this profile, whatever meta.profile contains."
)
@click.option(
    "--strict", is_flag=True, help="Treat rules that the guide states only in its text as errors."
)
@options.json_option
@click.pass_context
def conform_command(
    context: click.Context,
    what: tuple[str, ...],
    profile: tuple[str, ...],
    strict: bool,
    as_json: bool,
) -> None:
    """Check every resource against its guide's profile, offline.

    WHAT is NDJSON or JSON files, folders of such files, or a published tree. Exit code 4 means
    that a resource does not conform.
    """
    with counting("checking", "resources", quiet=as_json) as advance:
        report = conform_to_guide(what, profiles=profile, strict=strict, progress=advance)
    if as_json:
        options.print_json(report_json(report))
    else:
        for line in text_lines(report):
            click.echo(line)
    context.exit(4 if report.errors else 0)
