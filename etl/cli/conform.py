"""`cpcds conform`: checks of FHIR files against CARIN Blue Button or Plan-Net, offline."""

from __future__ import annotations

import click

from etl.bootstrap.inspections import conform_to_guide
from etl.cli.options import json_option, print_json
from etl.cli.progress import counting
from etl.conform.render import as_json as report_json
from etl.conform.render import text_lines


@click.command("conform")
@click.argument("what", nargs=-1, required=True)
@click.option("--profile", multiple=True, help="Check against this, whatever meta.profile says.")
@click.option("--strict", is_flag=True, help="Count as errors what the guide says in words only.")
@json_option
@click.pass_context
def conform_command(
    context: click.Context,
    what: tuple[str, ...],
    profile: tuple[str, ...],
    strict: bool,
    as_json: bool,
) -> None:
    """Check FHIR against CARIN Blue Button or Plan-Net: every resource, offline.

    WHAT is NDJSON or JSON files, folders of them, or a published tree. Exit code 4 says that
    something does not conform.
    """
    with counting("checking", "resources", quiet=as_json) as advance:
        report = conform_to_guide(what, profiles=profile, strict=strict, progress=advance)
    if as_json:
        print_json(report_json(report))
    else:
        for line in text_lines(report):
            click.echo(line)
    context.exit(4 if report.errors else 0)
