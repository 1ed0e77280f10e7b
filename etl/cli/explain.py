"""`cpcds explain`: where each element of a published resource came from."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from etl.bootstrap.use_cases import explain_resource
from etl.cli.options import json_option, layout_option, view_option, viewing
from etl.cli.progress import progress
from etl.errors import UsageError
from etl.pipeline.explain import CellOrigin, Explanation, Origin


@click.command("explain")
@click.argument("target")
@click.argument("resource", metavar="TYPE/ID")
@click.argument("path", required=False, default="")
@click.option(
    "--extract",
    type=click.Path(path_type=Path),
    help="Folder that the release was made of; not needed where the target keeps its rows.",
)
@view_option
@layout_option
@json_option
@click.pass_context
def explain_command(
    context: click.Context,
    target: str,
    resource: str,
    path: str,
    extract: Path | None,
    view: str | None,
    layout: str | None,
    as_json: bool,
) -> None:
    """Tell where each element of the resource TYPE/ID in TARGET came from.

    PATH narrows it down: `item[0].net`, or `item` for all items. What is printed is a member's
    data; it goes to the terminal and nowhere else.
    """
    resource_type, separator, logical_id = resource.partition("/")
    if not separator or not logical_id:
        raise UsageError(f"{resource!r} names no resource: write its type and id, like Patient/abc")
    settings = context.obj.settings(target=target, layout=layout, publish=viewing(view))
    with progress(quiet=as_json) as emit:
        found = explain_resource(settings, extract, resource_type, logical_id, emit)
    wanted = path.removeprefix(f"{resource_type}.")
    origins = [one for one in found.origins if _is_under(one.path, wanted)]
    if not origins:
        raise UsageError(f"{resource} has no element {path}; leave PATH out to see what it has")
    if as_json:
        body = {**asdict(found), "origins": [asdict(one) for one in origins]}
        click.echo(json.dumps(body, indent=2, ensure_ascii=False))
        return
    _show(found, origins)


def _is_under(path: str, wanted: str) -> bool:
    return not wanted or path == wanted or path.startswith((f"{wanted}.", f"{wanted}["))


def _show(found: Explanation, origins: list[Origin]) -> None:
    click.echo(f"{found.resource}, {found.profile}, made by {found.mapping}")
    click.echo(
        "the published resource holds just this"
        if found.agrees
        else "WARNING: the published resource differs; other mappings or settings made it"
    )
    for origin in origins:
        cited = f", MapID {', '.join(map(str, origin.map_ids))}" if origin.map_ids else ""
        click.echo(f"\n{origin.path} = {origin.json}")
        click.echo(f"  by {origin.place}{cited}")
        for cell in origin.cells:
            click.echo(f"  from {_told(cell)}")


def _told(cell: CellOrigin) -> str:
    where = f"{cell.file} row {cell.row}, " if cell.file is not None else ""
    derived = " (worked out)" if cell.derived else ""
    return f"{where}{cell.table}.{cell.column}{derived} = {cell.value}"
