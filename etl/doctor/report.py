"""The report of an examination as plain values and as an HTML page."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import jinja2

from etl.doctor.elements import NOTHING
from etl.doctor.examination import Examination, ExaminedColumn, ExaminedFile
from etl.sources.files.listed_files import ENDINGS
from etl.sources.files.stored_files import DELIMITER_NAMES, describe_problem


def report_json(examination: Examination) -> dict[str, Any]:
    """Return the findings: places, names, shares and outlines of values, never a value."""
    return {
        "files": [_file(file) for file in examination.files],
        "joins": [
            {
                "file": join.file,
                "column": join.header,
                "to_file": join.to_file,
                "to_column": join.to_header,
                "share": round(join.share, 3),
                "cardinality": "many to one" if join.many else "one to one",
            }
            for join in examination.joins
        ],
        "questions": [
            {
                "file": file.name,
                "column": column.header,
                "candidates": [other.key for other in column.match.rivals],
            }
            for file, column in examination.questions
        ],
        "missing": {table: list(columns) for table, columns in examination.missing.items()},
    }


def _file(file: ExaminedFile) -> dict[str, Any]:
    form = file.form
    lowered = file.name.lower().removesuffix(".gz")
    ending = next((cells for end, cells in ENDINGS.items() if lowered.endswith(end)), "")
    is_named = form.physical.kind in ("parquet", "fixed width")
    notes = [] if is_named else [describe_problem(form.physical, file.name, ending)]
    if form.encoding and not form.encoding.startswith("UTF-"):
        notes.append(
            f"text is {form.encoding}, not UTF-8; write it as UTF-8 "
            f"(iconv -f {form.encoding} -t UTF-8 {file.name})"
        )
    notes += [form.not_drafted, *form.notes]
    return {
        "file": file.name,
        "form": _form(file),
        "holds": file.kind,
        "rows": file.rows,
        "all_rows": file.is_complete,
        "notes": [note for note in notes if note],
        "columns": [_column(column) for column in file.columns],
    }


def _form(file: ExaminedFile) -> str:
    form = file.form
    parts = [form.physical.kind]
    if form.physical.delimiter:
        parts.append(DELIMITER_NAMES[form.physical.delimiter])
    if form.encoding:
        parts.append(form.encoding)
    if form.quoted:
        parts.append("quoted")
    return ", ".join(parts)


def _column(column: ExaminedColumn) -> dict[str, Any]:
    match, profile = column.match, column.profile
    left_out = match.element is not None and match.element.table == NOTHING
    why = list(match.why)
    if profile.ambiguous_date:
        why.append("day and month cannot be distinguished")
    elif column.advice:
        why.append(column.advice)
    return {
        "column": column.header,
        "element": column.element,
        "map_ids": list(match.element.map_ids) if match.element is not None else [],
        "confidence": round(column.confidence, 2),
        "state": "asked"
        if match.question
        else "left out"
        if left_out
        else "named"
        if column.element
        else "unknown",
        "why": why,
        "reason": match.element.reason if match.element is not None else "",
        "others": [other.key for other in match.rivals if other.table != NOTHING],
        "filled": round(profile.filled / profile.rows, 3) if profile.rows else 0.0,
        "distinct": profile.distinct,
        "looks_like": list(profile.sample),
    }


def report_page(examination: Examination, extract: str) -> str:
    """Return the HTML page; it loads nothing and runs no script."""
    source = files("etl.doctor").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["share"] = lambda value: f"{value:.0%}"
    return environment.from_string(source).render(report=report_json(examination), extract=extract)
