"""`cpcds explain`: lineage of published elements, of claims and of rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from etl.bootstrap.explanations import explain_subject
from etl.cli import options
from etl.cli.progress import progress
from etl.errors import UsageError, nearest
from etl.reports import lineage as lineages
from etl.reports.lineage import HeaderSubject, ResourceSubject, RowSubject, Subject


@click.command("explain")
@options.on_target
@click.argument("subject", required=False)
@click.argument("path", required=False, default="")
@click.option(
    "--row",
    metavar="FILE:ROW",
    help="Trace this row of an extract file instead. The header is row 1.",
)
@click.option(
    "--extract",
    "extracts",
    multiple=True,
    type=click.Path(path_type=Path),
    help=(
        "Extract that the release was made from. Repeat it for each delta. Not needed if the "
        "target keeps the rows, or to see only file and row numbers."
    ),
)
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the answer as an HTML page. Values are shown as outlines.",
)
@click.option("--values", is_flag=True, help="Show values on the HTML page.")
@options.view_option
@options.layout_option
@click.pass_context
def explain_command(
    context: click.Context,
    subject: str | None,
    path: str,
    row: str | None,
    extracts: tuple[Path, ...],
    page: Path | None,
    values: bool,
    as_json: bool,
) -> None:
    """Trace a resource in TARGET to its source, or a claim or row to its resources.

    The subject is TYPE/ID of a resource, claim:NUMBER, prior-auth:NUMBER, or --row FILE:ROW. PATH
    selects a part of a resource, such as `item[0].net`, or `item` for all items. The output
    contains member data, and goes only to the terminal.
    """
    named = _subject(subject, row)
    settings = options.read_settings(context)
    with progress(quiet=as_json) as emit:
        lineage = explain_subject(settings, extracts, named, emit)
    if path:
        lineage = _elements_under(lineage, path)
    if page is not None:
        options.write_file(page, lineages.lineage_page(lineage, shows_values=values))
    if as_json:
        click.echo(json.dumps(lineages.lineage_document(lineage), indent=2, ensure_ascii=False))
    elif page is not None:
        click.echo(f"page: {page}{'' if values else '; values are shown as outlines (--values)'}")
    else:
        for line in _lineage_lines(lineage):
            click.echo(line)


def _subject(subject: str | None, row: str | None) -> Subject:
    if subject is None and row is not None:
        file, separator, number = row.rpartition(":")
        if not separator or not file or not number.isascii() or not number.isdigit():
            raise UsageError(
                f"{row!r} is not a row: write file and row, such as claim_line.csv:88412"
            )
        return RowSubject(file, int(number))
    if subject is None or row is not None:
        raise UsageError(
            "give one subject: TYPE/ID of a resource, claim:NUMBER, prior-auth:NUMBER, or "
            "--row FILE:ROW"
        )
    word, _, number = subject.partition(":")
    if word in lineages.HEADER_SUBJECTS and number:
        return HeaderSubject(word, number)
    resource_type, separator, logical_id = subject.partition("/")
    if not separator or not logical_id:
        raise UsageError(
            f"{subject!r} is not a subject: write a resource's type and ID, such as Patient/abc, "
            "claim:NUMBER, or prior-auth:NUMBER"
        )
    return ResourceSubject(resource_type, logical_id)


def _elements_under(lineage: lineages.Lineage, path: str) -> lineages.Lineage:
    """Return only the elements under a path.

    Raises:
        UsageError: no resource has such an element.
    """
    if lineage.through == "sidecar":
        raise UsageError(
            "without the extract, only rows are known, not elements: leave PATH out, or pass the "
            "extract with --extract"
        )
    resources = []
    for resource in lineage.resources:
        below = path.removeprefix(f"{resource.resource.partition('/')[0]}.")
        origins = tuple(origin for origin in resource.origins if _is_under(origin.path, below))
        if origins:
            resources.append(replace(resource, origins=origins))
    if not resources:
        paths = [origin.path for resource in lineage.resources for origin in resource.origins]
        hint = nearest(path, paths) or "leave PATH out to see all elements"
        raise UsageError(f"{lineage.subject} has no element {path}; {hint}")
    return replace(lineage, resources=tuple(resources))


def _is_under(path: str, below: str) -> bool:
    return path == below or path.startswith((f"{below}.", f"{below}["))


def _lineage_lines(lineage: lineages.Lineage) -> Iterator[str]:
    if lineage.rows:
        yield f"{lineage.subject}: its rows"
        for row in lineage.rows:
            yield from _row_lines(row)
    elif not lineage.resources:
        yield f"{lineage.subject}: the layout makes no row from it"
    for number, resource in enumerate(lineage.resources):
        if number or lineage.rows:
            yield ""
        yield from _resource_lines(resource)
    yield ""
    yield f"answered from {lineages.THROUGH[lineage.through]}"
    if lineage.searched:
        yield f"searched {' and '.join(lineage.searched)}"
    for file in lineage.files:
        prefix = _of_extract(file.extract)
        yield f"  {prefix}{file.file}: {file.bytes:,} bytes, SHA-256 {file.sha256}"


def _of_extract(extract: str) -> str:
    """Return the prefix that names the extract of a file."""
    return f"{extract}, " if extract else ""


def _row_lines(row: lineages.RowFate) -> Iterator[str]:
    table = "" if row.table == "*" else f" ({row.table})"
    outcome = lineages.FATES[row.fate]
    yield f"  {_of_extract(row.extract)}{row.file} row {row.row}{table}: {outcome}"
    for reason in row.reasons:
        first = " (the first cause)" if reason.is_cause else ""
        yield f"    {reason.rule}{first}: {reason.says}"
    for finding in row.findings:
        where = f"in {finding.column}" if finding.column else "in the row"
        yield f"    found {where}: {finding.rule}: {finding.says}"


def _resource_lines(resource: lineages.Explanation) -> Iterator[str]:
    yield f"{resource.resource}, {resource.profile}, made by {resource.mapping}"
    if resource.agrees is not None:
        yield (
            "the published resource is the same"
            if resource.agrees
            else "WARNING: the published resource differs: other mappings or settings made it"
        )
    for row in resource.rows:
        yield f"  made of {_of_extract(row.extract)}{row.file} row {row.row} ({row.table})"
    for origin in resource.origins:
        yield from _origin_lines(origin)


def _origin_lines(origin: lineages.Origin) -> Iterator[str]:
    cited = f", MapID {', '.join(map(str, origin.map_ids))}" if origin.map_ids else ""
    yield ""
    yield f"{origin.path} = {origin.json}"
    yield f"  by {origin.place}{cited}"
    for answer in origin.answers:
        says = "no code" if answer.answer is None else answer.answer
        answer_line = answer.place or f"no row of the crosswalk {answer.crosswalk}"
        yield f"  translated {answer.word} to {says}, {answer_line}"
    for cell in origin.cells:
        yield from _cell_lines(cell)


def _cell_lines(cell: lineages.CellOrigin) -> Iterator[str]:
    position = f"{_of_extract(cell.extract)}{cell.file} row {cell.row}, "
    where = position if cell.file is not None else ""
    derived = " (worked out)" if cell.derived else ""
    yield f"  from {where}{cell.table}.{cell.column}{derived} = {cell.value}"
    if cell.layout:
        yield f"    produced by {cell.layout}{'' if cell.source else ', not from a cell'}"
    if cell.query:
        yield f"    computed by {cell.query}"
    for raw in cell.source:
        is_same = (raw.file, raw.row, raw.header, raw.text) == (
            cell.file,
            cell.row,
            cell.column,
            cell.value,
        )
        if not is_same:
            text = (
                "(not kept: use --extract FOLDER to see it)"
                if raw.text is None
                else f"= {raw.text}"
            )
            yield f"    of {_of_extract(raw.extract)}{raw.file} row {raw.row}, {raw.header} {text}"
    for rule in cell.rules:
        yield f"    rule {rule} found something in it"
