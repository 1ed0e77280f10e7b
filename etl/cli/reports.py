"""`cpcds report`: what a payer hands to others."""

from __future__ import annotations

import json
from pathlib import Path

import click

from etl.cli.options import json_option, write_file


@click.group("report")
def report_group() -> None:
    """Make the numbers that payers report to others."""


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
