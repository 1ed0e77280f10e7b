"""`cpcds layouts`: the supported extract layouts, and layouts of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import click

from etl.bootstrap.definitions import load_definitions
from etl.cli.layout_files import known_layout, layout_text, mistakes_of
from etl.cli.layout_test import test_command
from etl.cli.options import json_option
from etl.errors import MappingErrors
from etl.sources import CANONICAL_LAYOUTS, LayoutText


@click.group("layouts", invoke_without_command=True)
@json_option
@click.pass_context
def layouts_group(context: click.Context, as_json: bool) -> None:
    """List the layouts of extracts that are known, the canonical one first."""
    if context.invoked_subcommand is not None:
        return
    layouts = (*CANONICAL_LAYOUTS.values(), *load_definitions(context.obj.settings()).layouts)
    if as_json:
        body = [
            {"name": layout.name, "title": layout.title, "description": layout.description}
            for layout in layouts
        ]
        click.echo(json.dumps(body, indent=2))
        return
    for layout in layouts:
        click.echo(f"{layout.name}: {layout.title}")
        click.echo(f"    {' '.join(layout.description.split())}")


@layouts_group.command("show")
@click.argument("name")
@click.pass_context
def show_command(context: click.Context, name: str) -> None:
    """Print the layout NAME as its file has it, then the layouts that it extends.

    For a canonical layout: its tables, with the columns' marks, types, MapIDs and meanings.
    """
    layout = known_layout(name, load_definitions(context.obj.settings()))
    if not layout.text:
        from etl.cli.references import canonical_lines  # it loads the rules' checks

        for line in canonical_lines(layout):
            click.echo(line)
        return
    for each in (LayoutText(layout.file, layout.text), *layout.bases.values()):
        click.echo(f"# {each.file}")
        click.echo(each.text.rstrip("\n"))


@layouts_group.command("check")
@click.argument("layout", type=click.Path(path_type=Path))
@click.pass_context
def check_command(context: click.Context, layout: Path) -> None:
    """Check the layout in file LAYOUT; nothing is read. All mistakes are reported together."""
    text = layout_text(layout)
    mistakes = mistakes_of(text, str(layout), load_definitions(context.obj.settings()))
    if mistakes:
        raise MappingErrors(mistakes)
    click.echo(f"{layout}: no mistakes")


@layouts_group.command("init")
@click.argument("extract", type=click.Path(path_type=Path))
@click.option(
    "--write",
    "layout",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("layout.yaml"),
    show_default=True,
    help="The file; one that is there is never overwritten.",
)
@click.pass_context
def init_command(context: click.Context, extract: Path, layout: Path) -> None:
    """Start a layout from what `cpcds doctor` finds in EXTRACT."""
    from etl.cli.doctor import diagnose, write_draft  # its imports are needed here only

    definitions = load_definitions(context.obj.settings())
    for line in write_draft(diagnose(context, definitions, extract), definitions, layout):
        click.echo(line)


layouts_group.add_command(test_command)
