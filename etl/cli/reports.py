"""`cpcds report`: what a payer hands to others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from etl.cli.options import endpoint, json_option, write_file
from etl.errors import UsageError

if TYPE_CHECKING:
    from etl.reports.certificate_pdf import Paper


@click.group("report")
def report_group() -> None:
    """Make what payers hand to others: numbers for CMS, a certificate for auditors."""


@report_group.command("cms")
@click.option("--year", type=click.IntRange(2016, 9999), required=True, help="Calendar year, UTC.")
@click.option(
    "--csv", "to_csv", type=click.Path(path_type=Path, dir_okay=False), help="Write CSV to a file."
)
@click.option(
    "--html", "to_page", type=click.Path(path_type=Path, dir_okay=False), help="Write a page."
)
@json_option
@click.pass_context
def cms_command(
    context: click.Context,
    year: int,
    to_csv: Path | None,
    to_page: Path | None,
    as_json: bool,
) -> None:
    """Count the members whose data went to an app in a year, and to one more than once.

    These are the yearly numbers on the Patient Access API; no identity is in them.
    """
    from etl.auth.yearly_numbers import as_csv, as_document, as_page, yearly_numbers
    from etl.bootstrap import auth

    settings = context.obj.settings()
    with auth.services(settings) as services:
        today = services.clock().date()
        numbers = yearly_numbers(services.database, year, settings.payer.name, today)
    if to_csv is not None:
        write_file(to_csv, as_csv(numbers))
    if to_page is not None:
        write_file(to_page, as_page(numbers))
    if as_json:
        click.echo(json.dumps(as_document(numbers), indent=2))
        return
    click.echo(f"members whose data went to an app: {numbers.members:,}")
    click.echo(f"members whose data went to an app more than once: {numbers.more_than_once:,}")
    for name, members in numbers.apps:
        click.echo(f"  {name}: {members:,}")
    if not numbers.is_whole:
        click.echo(f"The year is not over: counted until {numbers.until}.")


@report_group.command("pdf")
@click.argument("target")
@click.argument("release", default="current")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The file to write.",
)
@click.option(
    "--paper",
    type=click.Choice(["letter", "A4"]),
    default="letter",
    show_default=True,
    help="Size of a sheet.",
)
@click.option("--endpoint-url", help="S3-compatible server other than AWS.")
@click.pass_context
def pdf_command(
    context: click.Context,
    target: str,
    release: str,
    out: Path,
    paper: Paper,
    endpoint_url: str | None,
) -> None:
    """Write the certificate of a release of TARGET as PDF, to print and to hand on.

    RELEASE is an id, or a beginning of it that no other has; what readers see where it is not
    given.
    """
    try:
        from etl.bootstrap.targets import target_store
        from etl.pipeline.earlier_reports import printed_certificate
        from etl.publish.history import find_release
    except ModuleNotFoundError as error:
        if (error.name or "etl").partition(".")[0] == "etl":
            raise
        what = f"this command needs the package {error.name}, which is not installed"
        raise UsageError(f"{what}: pip install 'cpcds-bluebutton[batch,pdf]'") from error
    settings = context.obj.settings(target=target, store=endpoint(endpoint_url))
    chosen = find_release(target_store(settings), release)
    out.write_bytes(printed_certificate(chosen, paper))
    click.echo(f"certificate: {out}")
