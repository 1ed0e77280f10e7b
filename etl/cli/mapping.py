"""`cpcds mapping`: look at the mappings without any data."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from etl.bootstrap.definitions import load_definitions
from etl.bootstrap.inspections import (
    CheckedMappings,
    check_mappings,
    extract_coverage,
    mapping_coverage,
)
from etl.cli import options
from etl.cli.progress import progress
from etl.cli.result_tables import print_table
from etl.errors import MappingError, UsageError
from etl.mapping.coverage import STATUSES, ProfileCoverage, coverage_markdown, format_status
from etl.mapping.dictionary import (
    build_dictionary,
    dictionary_csv,
    dictionary_html,
    dictionary_markdown,
)
from etl.model.data_models import CLAIMS, DATA_MODELS, data_model


@click.group("mapping")
def mapping_group() -> None:
    """Check the mappings, and print what they produce."""


@mapping_group.command("check")
@options.json_option
@click.pass_context
def check(context: click.Context, as_json: bool) -> None:
    """Compile every mapping and check it against its FHIR profile. No data is read."""
    try:
        checked = check_mappings(context.obj.settings())
    except MappingError as error:
        if not as_json:
            raise
        checked = CheckedMappings((), (), error.every)
    listed: list[dict[str, Any]] = [
        {"where": problem.where, "id": problem.error_id, "message": str(problem)}
        for problem in checked.problems
    ]
    if as_json:
        body = {"mappings": checked.names, "views": checked.views, "problems": listed}
        options.print_json(body)
    else:
        for problem in listed:
            click.echo(problem["message"])
        views = " and ".join(checked.views)
        click.echo(f"{len(checked.names)} mappings (views: {views}), {len(listed)} problems")
    context.exit(3 if listed else 0)


@mapping_group.command("docs")
@click.option(
    "--format",
    "form",
    type=click.Choice(["markdown", "html", "csv"]),
    default="markdown",
    show_default=True,
    help="Format of the dictionary.",
)
@click.option(
    "--model",
    "name",
    type=click.Choice([model.name for model in DATA_MODELS]),
    default=CLAIMS.name,
    show_default=True,
    help="Data model whose mappings to use.",
)
@options.view_option
@options.json_option
@click.pass_context
def docs(context: click.Context, form: str, name: str, as_json: bool) -> None:
    """Print the data dictionary: columns, MapIDs, FHIR paths, and profiles."""
    model = data_model(name)
    if model is not CLAIMS and "publish" in options.given_settings(context):
        raise UsageError(f"--view is only for claims: leave it out with --model {name}")
    rows = build_dictionary(load_definitions(options.read_settings(context), model).mappings.plans)
    if as_json:
        options.print_json([asdict(row) for row in rows])
        return
    render = {"markdown": dictionary_markdown, "html": dictionary_html, "csv": dictionary_csv}[form]
    click.echo(render(rows), nl=False)


@mapping_group.command("coverage")
@click.argument("extract", required=False, type=click.Path(path_type=Path))
@click.option("--all", "every", is_flag=True, help="Also list the elements that are produced.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown"]),
    default="text",
    show_default=True,
    help="Format of the tables. Markdown lists every element.",
)
@options.view_option
@options.layout_option
@options.workers_option
@options.json_option
@click.pass_context
def coverage_command(
    context: click.Context, extract: Path | None, every: bool, form: str, as_json: bool
) -> None:
    """List the must-support elements that are produced, could be produced, or cannot be, and why.

    Without EXTRACT, list what the mappings can produce from any rows. With EXTRACT, list what they
    produce from the rows in that folder, and how many resources have each element.
    """
    settings = options.read_settings(context)
    if extract is None:
        profiles = mapping_coverage(settings)
    else:
        with progress(quiet=as_json) as emit:
            profiles = extract_coverage(settings, extract, emit)
    if as_json:
        options.print_json([_coverage_json(profile) for profile in profiles])
    elif form == "markdown":
        click.echo(coverage_markdown(profiles), nl=False)
    else:
        _show_coverage(profiles, every=every)


def _show_coverage(profiles: tuple[ProfileCoverage, ...], *, every: bool) -> None:
    """Print the counts of each profile, then the elements that are not produced, or all."""
    counted = any(profile.resources is not None for profile in profiles)
    print_table(
        ("must-support of", *(("resources",) if counted else ()), "elements", *STATUSES),
        [
            (
                profile.profile.removeprefix("C4BB-ExplanationOfBenefit-"),
                *((f"{profile.resources or 0:,}",) if counted else ()),
                str(len(profile.elements)),
                *(str(len(profile.with_status(status))) for status in STATUSES),
            )
            for profile in profiles
        ],
    )
    for profile in profiles:
        shown = [element for element in profile.elements if every or element.status != "produced"]
        if shown:
            click.echo(f"\n{profile.profile}")
        for element in shown:
            click.echo(f"  {format_status(element):<20} {element.element}")
            if explanation := element.reason or ", ".join(element.columns):
                click.echo(f"  {'':<20}   {explanation}")


def _coverage_json(coverage: ProfileCoverage) -> dict[str, Any]:
    counts = {status: len(coverage.with_status(status)) for status in STATUSES}
    return {**asdict(coverage), "counts": counts}
