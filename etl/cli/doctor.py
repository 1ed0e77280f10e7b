"""`cpcds doctor`: what the files of an unknown extract may be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from etl.bootstrap.definition_compiler import mistakes_of
from etl.bootstrap.definitions import load_definitions
from etl.bootstrap.extracts import extract_files
from etl.bootstrap.mappings import mapping_roots, read_folder
from etl.cli.options import json_option, print_json, write_file
from etl.doctor.drafting import LayoutDraft, can_be_drafted
from etl.doctor.elements import read_elements
from etl.doctor.examination import Examination, examine
from etl.doctor.report import report_json, report_page
from etl.doctor.sql_drafting import draft_sql
from etl.errors import UsageError
from etl.pipeline.definitions import Definitions
from etl.sources.extract.staging import DEFINITION

_ELEMENTS = "elements.yaml"
_WIDE = 120
_SQL = Path("sql")
"""What `--write` says in place of a file for a draft in SQL."""


@click.command("doctor")
@click.argument("extract", type=click.Path(path_type=Path))
@click.option(
    "--write",
    "layout",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a draft of a layout to this file. With the word sql, write an extract.toml and "
    "its queries into EXTRACT. Existing files are never overwritten.",
)
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the findings as an HTML page.",
)
@json_option
@click.pass_context
def doctor_command(
    context: click.Context, extract: Path, layout: Path | None, page: Path | None, as_json: bool
) -> None:
    """Examine the files of an unknown layout in EXTRACT: format, columns, and joins.

    Nothing is published. Values are shown only as outlines: 9 for a digit, A or a for a letter.
    """
    definitions = load_definitions(context.obj.settings())
    examination = diagnose(context, definitions, extract)
    if page is not None:
        write_file(page, report_page(examination, extract.name))
    sentences: tuple[str, ...] = ()
    if layout == _SQL:
        sentences = write_sql_draft(examination, extract)
    elif layout is not None:
        sentences = write_draft(examination, definitions, layout)
    if as_json:
        print_json(report_json(examination))
        return
    _show(report_json(examination))
    for line in sentences or _next_steps(extract, examination):
        click.echo(line)
    if page is not None:
        click.echo(f"page: {page}")


def diagnose(context: click.Context, definitions: Definitions, extract: Path) -> Examination:
    """Return the likely tables and columns of the files of an extract.

    Raises:
        ExtractError: there is no such extract, or a file cannot be read.
    """
    texts = read_folder(mapping_roots(context.obj.settings()), "doctor", "*.yaml").texts
    elements = read_elements(
        texts[_ELEMENTS], f"doctor/{_ELEMENTS}", definitions.crosswalks, definitions.layouts
    )
    with extract_files(context.obj.settings(), extract, None, as_sent=True) as stored:
        return examine(stored, elements)


def write_draft(examination: Examination, definitions: Definitions, path: Path) -> tuple[str, ...]:
    """Write a draft layout; return a message about it.

    Raises:
        UsageError: the name does not end in `.yaml`, the file exists, or the files say too
            little for a layout without mistakes.
    """
    if path.suffix != ".yaml":
        raise UsageError(
            f"{path}: the name of a layout file must end in .yaml, such as {path}.yaml"
        )
    _refuse_nothing(examination)
    name = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-") or "mine"
    text = LayoutDraft(examination, name, definitions.layouts).text()
    if mistakes := mistakes_of(text, str(path), definitions):
        raise UsageError(f"no layout was written: {'; '.join(map(str, mistakes))}")
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise UsageError(f"{path} already exists; use another file name") from None
    return (
        f"layout: {path}; put it into layouts/ in a folder of your own, and use that folder with "
        "--mappings",
    )


def write_sql_draft(examination: Examination, folder: Path) -> tuple[str, ...]:
    """Write a draft in SQL beside the files; return a message about it.

    Raises:
        UsageError: a file exists, or the files are in no folder, or say too little.
    """
    _refuse_nothing(examination)
    if not folder.is_dir():
        raise UsageError(
            f"a draft in SQL is written next to the files, but {folder} is not a folder"
        )
    drafts = draft_sql(examination)
    if existing := next((path for path in drafts if (folder / path).exists()), ""):
        raise UsageError(f"{folder / existing} already exists; move it first")
    for path, text in drafts.items():
        (folder / path).parent.mkdir(exist_ok=True)
        write_file(folder / path, text)
    draft = folder / DEFINITION
    return (
        f"draft: {draft}; check it with `cpcds layouts check {draft}`, then pass it as EXTRACT",
    )


def _refuse_nothing(examination: Examination) -> None:
    if not any(map(can_be_drafted, examination.files)):
        reasons = [
            f"{file.name}: {file.form.not_drafted}"
            for file in examination.files
            if file.form.not_drafted
        ]
        cause = "; ".join(reasons) or "no file has columns that could be recognized"
        raise UsageError(f"no layout was written: {cause}")


def _next_steps(extract: Path, examination: Examination) -> tuple[str, ...]:
    if not any(file.kind for file in examination.files):
        return ()
    return (
        f"cpcds doctor {extract} --write LAYOUT.yaml drafts a layout, --write sql a layout in SQL "
        "(docs/layouts.md)",
    )


def _show(report: dict[str, Any]) -> None:
    console = Console(highlight=False)
    for file in report["files"]:
        holds = file["holds"] or "its rows belong to no known table"
        ending = "" if file["all_rows"] else ", there are more"
        console.print(f"\n[bold]{_escape(file['file'])}[/bold]: {holds}", soft_wrap=True)
        console.print(f"{_escape(file['form'])}; {file['rows']:,} rows{ending}", soft_wrap=True)
        for note in file["notes"]:
            console.print(f"! {note}", markup=False, soft_wrap=True)
        if file["columns"]:
            _show_columns(console, file["columns"])
    for join in report["joins"]:
        console.print(
            f"{join['file']} {join['column']} → {join['to_file']} {join['to_column']}: "
            f"{join['share']:.0%}, {join['cardinality']}",
            markup=False,
            soft_wrap=True,
        )
    for question in report["questions"]:
        may = " or ".join(question["candidates"])
        text = f"question: {question['file']}: is {question['column']} {may}?"
        console.print(text, markup=False, soft_wrap=True)
    for table, columns in report["missing"].items():
        text = f"missing for CARIN Blue Button: {', '.join(f'{table}.{name}' for name in columns)}"
        console.print(text, markup=False, soft_wrap=True)


def _show_columns(console: Console, columns: list[dict[str, Any]]) -> None:
    """Print the columns of a file; the reason for each name only where there is room."""
    headings = ["column", "may be", "sure", "looks like", "why"]
    headings = headings if console.width >= _WIDE else headings[:-1]
    widest = max(len(column["element"]) for column in columns)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(
            heading,
            overflow="fold",
            justify="right" if heading == "sure" else "left",
            min_width=widest if heading == "may be" else 4,
        )
    for column in columns:
        meaning = column["element"] or {
            "asked": f"question: {' or '.join(column['others'])}",
            "left out": f"left out: {column['reason']}",
            "unknown": "not known",
        }.get(column["state"], "")
        sure = f"{column['confidence']:.0%}" if column["element"] else ""
        looks = column["looks_like"][0] if column["looks_like"] else ""
        cells = (column["column"], meaning, sure, looks, "; ".join(column["why"]))
        table.add_row(*map(_escape, cells[: len(headings)]))
    console.print(table)


def _escape(text: str) -> str:
    """Return a text of a file escaped for rich: no markup, no control characters."""
    plain = "".join(char if char.isprintable() else "·" for char in text)
    return plain.replace("[", r"\[")
