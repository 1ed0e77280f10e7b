"""`cpcds layouts`: the supported extract layouts, and layouts of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from etl.bootstrap.definition_compiler import mistakes_of, read_own_layout
from etl.bootstrap.definitions import load_definitions
from etl.bootstrap.extracts import sql_layouts
from etl.bootstrap.mappings import shipped
from etl.bootstrap.settings import Settings
from etl.cli import layout_samples, options
from etl.errors import DataRejected, MappingErrors, UsageError, counted, nearest
from etl.pipeline.definitions import Definitions
from etl.sources.extract.sql_extract import check_sql_extract, read_sql_extract, read_sql_layout
from etl.sources.extract.staging import DEFINITION
from etl.sources.extract.tables import read_tables
from etl.sources.files.stored_files import FolderFiles
from etl.sources.layout.model import Layout, LayoutText, canonical_layouts


def known_layout(name: str, definitions: Definitions) -> Layout:
    """Return the layout of a name.

    Raises:
        UsageError: there is none.
    """
    layouts = {
        **canonical_layouts(),
        **{layout.name: layout for layout in definitions.layouts},
    }
    if name not in layouts:
        hint = nearest(name, list(layouts)) or f"there are {', '.join(layouts)}"
        raise UsageError(f"no layout {name!r}; {hint}")
    return layouts[name]


def named_or_read(layout: str, definitions: Definitions) -> Layout:
    """Return the layout of a name, or that of a file.

    Raises:
        UsageError: there is no such layout, or no such file.
        MappingErrors: the file has mistakes.
    """
    path = Path(layout)
    if path.suffix in (".yaml", ".yml") or path.exists():
        return read_own_layout(layout_text(path), str(path), definitions)
    return known_layout(layout, definitions)


def layout_text(path: Path) -> str:
    """Return the text of a layout file.

    Raises:
        UsageError: there is no such file, or it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(f"{path}: the file does not exist") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 at byte {error.start + 1}") from None


def check_extract_file(path: Path, settings: Settings) -> Iterator[str]:
    """Check an `extract.toml`: its queries by the files beside it, or the layout that it names.

    Yields what was checked, a line each.

    Raises:
        UsageError: it has neither queries nor a layout, or the layout is unknown.
        ExtractError: a file is missing, or cannot be read.
        MappingErrors: queries have mistakes.
    """
    files = FolderFiles(path.parent)
    tables = read_tables(files, path.name)
    if tables.tables:
        for name in check_sql_extract(read_sql_extract(files, path.name, tables), files):
            yield f"not read: {name}"
        return
    if tables.layout is None:
        raise UsageError(
            f"{path} has no [tables] and names no layout, so it has nothing to check: write "
            'layout = "…" (`cpcds layouts` lists them)'
        )
    if tables.layout not in sql_layouts(settings):
        known_layout(tables.layout, load_definitions(settings))
    yield f"the tables are compared with layout {tables.layout} when they are read"


_PLACE = ("finding", "table", "place")


@click.command("test")
@click.argument("layout", metavar="LAYOUT")
@click.option(
    "--samples",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the samples. Default: the folder next to the layout with the layout's name.",
)
@click.option("--write", is_flag=True, help="Save the rows as the expected rows.")
@options.json_option
@click.pass_context
def test_command(
    context: click.Context, layout: str, samples: Path | None, *, write: bool, as_json: bool
) -> None:
    """Show the canonical rows of the sample rows of LAYOUT, which is a file or a known layout.

    Exit code 4 means that they differ from the expected rows.
    """
    settings = context.obj.settings()
    tested_layout, folders = named_or_read(layout, load_definitions(settings)), [Path()]
    if tested_layout.file != layout:
        folders = [*map(Path, reversed(settings.mappings)), shipped()]
    folder = samples or layout_samples.samples_of(tested_layout, folders)
    rows = layout_samples.sample_rows(tested_layout, folder)
    path = folder / layout_samples.EXPECTED
    is_new = not path.exists()
    differences = layout_samples.row_differences(layout_samples.expected_rows(path), rows)
    if write:
        path.write_text(layout_samples.rows_text(rows), encoding="utf-8")
    if as_json:
        body = {
            "layout": tested_layout.name,
            "samples": str(folder),
            "rows": list(rows),
            "differences": [{"expected": d.expected, "found": d.actual} for d in differences],
        }
        options.print_json(body)
    else:
        for line in _lines(rows, differences):
            click.echo(line)
    sizes = f"{counted(len(rows), 'row')} and findings of {folder}"
    if write:
        click.echo(f"{sizes}: written to {path}", err=as_json)
    elif is_new:
        raise DataRejected(
            f"{sizes}: {path} does not exist; check the rows, and save them with --write"
        )
    elif differences:
        raise DataRejected(f"{sizes}: {len(differences):,} differ from {path}")
    else:
        click.echo(f"{sizes}: as expected", err=as_json)


def _lines(
    rows: Sequence[layout_samples.Row], differences: Sequence[layout_samples.RowDifference]
) -> Iterator[str]:
    """Yield every row, those that differ with both texts; then those that are not there."""
    changed = {id(change.actual): change for change in differences if change.actual is not None}
    title = ""
    for row in rows:
        if _title(row) != title:
            title = _title(row)
            yield click.style(title, bold=True)
        change = changed.get(id(row))
        if change is None:
            yield f"    {_cells(row)}"
        elif change.expected is None:
            yield click.style(f"  + {_cells(row)}", fg="green")
        else:
            yield f"  ~ {_position(row)}"
            for name in change.columns:
                was, actual = change.expected.get(name), row.get(name)
                yield "      " + " ".join(
                    [
                        f"{name}:",
                        click.style(f"-{was}" if was is not None else "-", fg="red"),
                        click.style(f"+{actual}" if actual is not None else "+", fg="green"),
                    ]
                )
    missing_rows = [
        change.expected
        for change in differences
        if change.actual is None and change.expected is not None
    ]
    if missing_rows:
        yield click.style("expected, but missing", bold=True)
    for row in missing_rows:
        yield click.style(f"  - {_title(row)} {_cells(row)}", fg="red")


def _title(row: layout_samples.Row) -> str:
    return "findings" if "finding" in row else str(row["table"])


def _position(row: layout_samples.Row) -> str:
    finding = f"{row['finding']} {row['table']} " if "finding" in row else ""
    return f"{finding}{row['place']}"


def _cells(row: layout_samples.Row) -> str:
    cells = (f"{name}={text}" for name, text in row.items() if name not in _PLACE and text)
    return "  ".join((_position(row), *cells))


@click.group("layouts", invoke_without_command=True)
@options.json_option
@click.pass_context
def layouts_group(context: click.Context, as_json: bool) -> None:
    """List the known layouts of extracts, the canonical layout first."""
    if context.invoked_subcommand is not None:
        return
    settings = context.obj.settings()
    layouts = [
        (layout.name, layout.title, layout.description)
        for layout in (*canonical_layouts().values(), *load_definitions(settings).layouts)
    ]
    for name, layout in sorted(sql_layouts(settings).items()):
        tables = read_sql_layout(layout).tables
        layouts.append((name, tables.title or name, tables.description or ""))
    if as_json:
        keys = ("name", "title", "description")
        options.print_json([dict(zip(keys, layout, strict=True)) for layout in layouts])
        return
    for name, title, description in layouts:
        click.echo(f"{name}: {title}")
        click.echo(f"    {' '.join(description.split())}")


@layouts_group.command("show")
@click.argument("name")
@click.pass_context
def show_command(context: click.Context, name: str) -> None:
    """Print the file of the layout NAME, then the layouts that it extends.

    For a canonical layout, print its tables with the columns' marks, types, MapIDs, and meanings.
    """
    settings = context.obj.settings()
    if (folder := sql_layouts(settings).get(name)) is not None:
        for path in (folder / DEFINITION, *sorted(folder.glob("*.sql"))):
            click.echo(f"# layouts/{name}/{path.name}")
            click.echo(path.read_text(encoding="utf-8").rstrip("\n"))
        return
    layout = known_layout(name, load_definitions(settings))
    if not layout.text:
        from etl.cli.references import canonical_lines  # it loads the rules' checks

        for line in canonical_lines(layout):
            click.echo(line)
        return
    for layout_file in (LayoutText(layout.file, layout.text), *layout.bases.values()):
        click.echo(f"# {layout_file.file}")
        click.echo(layout_file.text.rstrip("\n"))


@layouts_group.command("check")
@click.argument("layout", type=click.Path(path_type=Path))
@click.pass_context
def check_command(context: click.Context, layout: Path) -> None:
    """Check the layout in the file LAYOUT, and report all mistakes. No data is read.

    For an extract.toml, each query is checked against the headers of the files next to it. Without
    queries, only the name of its layout is checked.
    """
    settings = context.obj.settings()
    if layout.suffix == ".toml":
        for line in check_extract_file(layout, settings):
            click.echo(line)
        click.echo(f"{layout}: no mistakes")
        return
    mistakes = mistakes_of(layout_text(layout), str(layout), load_definitions(settings))
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
    help="File to write. An existing file is never overwritten.",
)
@click.pass_context
def init_command(context: click.Context, extract: Path, layout: Path) -> None:
    """Draft a layout from what `cpcds doctor` finds in EXTRACT."""
    from etl.cli.doctor import diagnose, write_draft  # its imports are needed here only

    definitions = load_definitions(context.obj.settings())
    for line in write_draft(diagnose(context, definitions, extract), definitions, layout):
        click.echo(line)


layouts_group.add_command(test_command)
