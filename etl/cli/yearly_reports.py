"""`cpcds report`: the numbers of a year that payers report to CMS, or make public."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from etl.cli import options
from etl.errors import UsageError

_year_option = click.option(
    "--year", type=click.IntRange(2016, 9999), required=True, help="Calendar year."
)
_csv_option = click.option(
    "--csv",
    "to_csv",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the numbers as a CSV file.",
)
_html_option = click.option(
    "--html",
    "to_page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write them as an HTML page.",
)
_post_option = click.option(
    "--post",
    "is_posted",
    is_flag=True,
    help="Make them public by writing them to the folder in the setting portal.reports.",
)


@click.group("report")
def report_group() -> None:
    """Make the yearly numbers that payers must report or publish."""


@report_group.command("cms")
@_year_option
@click.option(
    "--members",
    "members_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV file with member_id, program, and contract_id: also count by program and contract.",
)
@_csv_option
@_html_option
@_post_option
@options.json_option
@click.pass_context
def cms_command(
    context: click.Context,
    year: int,
    members_file: Path | None,
    to_csv: Path | None,
    to_page: Path | None,
    is_posted: bool,
    as_json: bool,
) -> None:
    """Count the members whose data went to an app in a year, once and more than once.

    These are the yearly numbers about the Patient Access API. They contain no identities. The year
    is in UTC. --post leaves out small numbers (report.small_cells).
    """
    from etl.auth.yearly_numbers import as_csv, as_document, as_page, yearly_numbers
    from etl.bootstrap import auth
    from etl.reports.public_numbers import post_numbers, public_api_use

    settings = context.obj.settings()
    programs = None if members_file is None else auth.read_programs(settings, members_file)
    with auth.services(settings) as services:
        today = services.clock().date()
        numbers = yearly_numbers(services.database, year, settings.payer.name, today, programs)
    if programs is not None and numbers.programs is None:
        raise UsageError(f"the members of {year} are no longer kept; leave out --members")
    document = as_document(numbers)
    if to_csv is not None:
        options.write_file(to_csv, as_csv(document))
    if to_page is not None:
        options.write_file(to_page, as_page(numbers))
    if is_posted:
        if not numbers.is_whole:
            raise UsageError(f"{year} is not over; post its numbers after its end")
        public = public_api_use(document, settings.report.small_cells)
        post_numbers(settings.portal.reports, f"api-use-{year}", public, as_csv(public))
    if as_json:
        options.print_json(document)
        return
    click.echo(f"members whose data went to an app: {numbers.members:,}")
    click.echo(f"members whose data went to an app more than once: {numbers.more_than_once:,}")
    for name, members in numbers.apps:
        click.echo(f"  {name}: {members:,}")
    for row in numbers.programs or ():
        names = ", ".join(filter(None, (row.program, row.contract_id))) or "program not stated"
        click.echo(f"{names}: {row.members:,} members, {row.more_than_once:,} more than once")
    if not numbers.is_whole:
        click.echo(f"The year is not over. Counted until {numbers.until}.")
    if is_posted:
        click.echo(f"posted: /public-reporting/api-use-{year}")


@report_group.command("prior-auth")
@options.target_argument()
@_year_option
@_csv_option
@_html_option
@_post_option
@click.option(
    "--without-counts",
    is_flag=True,
    help="Show percentages and times without the counts behind them; withhold none.",
)
@options.endpoint_option
@options.json_option
@click.pass_context
def prior_auth_command(
    context: click.Context,
    year: int,
    to_csv: Path | None,
    to_page: Path | None,
    is_posted: bool,
    without_counts: bool,
    as_json: bool,
) -> None:
    """Count how prior authorization requests were decided in a year, and how fast.

    TARGET must keep the rows that it publishes (publish.deltas). Small numbers are withheld
    (report.small_cells), and required figures among them are named.
    """
    from etl.bootstrap.prior_auth import prior_auth_metrics
    from etl.reports.prior_auth import prior_auth_csv, prior_auth_page
    from etl.reports.public_numbers import post_numbers

    settings = options.read_settings(context)
    document = prior_auth_metrics(settings, year, has_counts=not without_counts)
    is_whole = document["as_of"] > f"{year}-12-31"
    if to_csv is not None:
        options.write_file(to_csv, prior_auth_csv(document))
    if to_page is not None:
        options.write_file(to_page, prior_auth_page(document))
    if is_posted and not is_whole:
        raise UsageError(
            f"{year} is not complete in these rows; publish the rows up to its end first"
        )
    if as_json:
        options.print_json(document)
    else:
        _show_metrics(document)
    if is_posted:
        table = prior_auth_csv(document)
        post_numbers(settings.portal.reports, f"prior-auth-{year}", document, table)
        if not as_json:
            click.echo(f"posted: /public-reporting/prior-auth-{year}")


def _show_metrics(document: Mapping[str, Any]) -> None:
    """Print each required figure; name those that are withheld."""
    from etl.reports.prior_auth import program_name, required_figures
    from etl.web.pages import number_text

    for program in document["programs"]:
        click.echo(program_name(program))
        for kind, requests, figures in required_figures(program):
            click.echo(f"  {kind}: {number_text(requests)} decided")
            for name, value in figures.items():
                unit = "" if value is None else " hours" if name in ("mean", "median") else " %"
                click.echo(f"    {name.replace('_', ' ')}: {number_text(value)}{unit}")
    click.echo(f"services that need prior authorization: {len(document['required']):,}")
    for row in document["left_out"]:
        click.echo(f"left out, {row['reason']}: {number_text(row['requests'])}")
    for sentence in document["withheld"]:
        click.echo(f"withheld: {sentence}")
    if document["withheld"]:
        click.echo(document["choice"])
    if document["as_of"] <= f"{document['year']}-12-31":
        click.echo(f"The year is not over. Rows until {document['as_of']}.")
