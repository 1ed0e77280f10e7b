"""The data dictionary: the FHIR paths of each column, and the elements without one."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Final, Literal

from etl.mapping.expressions import ColumnOf, Condition, Expr, walk, written_parts
from etl.mapping.plan import CitedMark, Guard, JsonConstant, Leaf, Loop, Plan, nodes_of
from etl.mapping.row_columns import LIST_ITEM, columns_of
from etl.model.canonical_tables import TABLES, column_meaning
from etl.model.data_models import DataModel
from etl.model.relations import Many, One, relations_of

Role = Literal["value", "decides", "constant", "left out"]

_PROFILE_ID: Final = 190
"""MapID of `meta.profile`, which the engine writes."""
_CODING_SUFFIXES: Final = (".system", ".version")
_CLAIM_PROFILES: Final = "C4BB-ExplanationOfBenefit-"


@dataclass(frozen=True, slots=True, order=True)
class DictionaryRow:
    """One column that one mapping writes to one element, or a MapID that needs no column.

    Attributes:
        table: canonical table; empty for constants and for what is left out.
        column: column of the table.
        map_ids: MapIDs of the CPCDS Data Dictionary, ascending: those of the column, and those that
            the mapping's line cites and that no column has.
        path: FHIR path of the element.
        profile: name of the profile.
        role: `value`: it is written to the element, unchanged or converted; `decides`: it only
            decides whether the element is present, or which value it has; `constant`: the same in
            every row; `left out`.
        note: why it is left out; for a payer's own column, what it means.
    """

    table: str
    column: str
    map_ids: tuple[int, ...]
    path: str
    profile: str
    role: Role = "value"
    note: str = ""


def build_dictionary(plans: Iterable[Plan]) -> tuple[DictionaryRow, ...]:
    """Return each column with its elements, then the elements without a column."""
    rows = {row for plan in plans for row in _plan_rows(plan)}
    return tuple(sorted(rows, key=lambda row: (row.role == "left out", not row.table, row)))


def _plan_rows(plan: Plan) -> Iterator[DictionaryRow]:
    profile = plan.profile_name
    rows = list(_column_rows(plan))
    written_cells = {_cell_key(row) for row, _ in rows if row.role == "value"}
    # A column that is written to an element isn't also listed as deciding on it.
    rows = [
        (row, mark)
        for row, mark in rows
        if row.role == "value" or _cell_key(row) not in written_cells
    ]
    cited = {map_id for _, node in nodes_of(plan.body) for map_id in node.mark.map_ids}
    uncarried = cited.difference(*(row.map_ids for row, _ in rows))
    attached: set[int] = set()
    for row, mark in rows:
        carried_ids = uncarried.intersection(mark.map_ids) if mark is not None else set()
        attached |= carried_ids
        yield replace(row, map_ids=tuple(sorted({*row.map_ids, *carried_ids})))
    for path, node in nodes_of(plan.body):
        if not isinstance(node, JsonConstant) or path.endswith(_CODING_SUFFIXES):
            continue
        if map_ids := (uncarried - attached).intersection(node.mark.map_ids):
            name = _element_name(plan, path)
            yield DictionaryRow("", "", tuple(sorted(map_ids)), name, profile, "constant")
    name = f"{plan.resource}.meta.profile"
    yield DictionaryRow("", "", (_PROFILE_ID,), name, profile, "constant")
    skipped: dict[str, list[int]] = defaultdict(list)
    for map_id, reason in plan.skipped_map_ids.items():
        skipped[reason].append(map_id)
    for reason, skipped_ids in skipped.items():
        yield DictionaryRow("", "", tuple(sorted(skipped_ids)), "", profile, "left out", reason)
    for path, reason in plan.skipped_elements.items():
        name = f"{plan.resource}.{path}"
        yield DictionaryRow("", "", (), name, profile, "left out", reason)


def _column_rows(plan: Plan) -> Iterator[tuple[DictionaryRow, CitedMark | None]]:
    """Yield a row per column that a plan reads, with the line that writes it.

    A line that only writes constants is cited for the columns that choose between them.
    """
    tables = level_tables(plan)

    def rows(parts: Iterable[Expr | Condition], element: str, role: Role) -> list[DictionaryRow]:
        result = []
        for part in parts:
            if isinstance(part, ColumnOf):
                table, name = table_and_column(part, tables)
                column = columns_of(table)[name]
                ids, meaning = tuple(sorted(column.map_ids)), column.meaning
                row = DictionaryRow(table, name, ids, element, plan.profile_name, role, meaning)
                result.append(row)
        return result

    for path, node in nodes_of(plan.body):
        element = _element_name(plan, path)
        match node:
            case Leaf(expr=expr, mark=mark):
                values = rows(written_parts(expr), element, "value")
                yield from ((row, mark) for row in values)
                deciding_mark = None if values else mark
                yield from ((row, deciding_mark) for row in rows(walk(expr), element, "decides"))
            case Guard(condition=condition) | Loop(condition=condition):
                yield from ((row, None) for row in rows(walk(condition), element, "decides"))
            case _:
                continue
    for name, stamp in (("id", plan.id), ("meta.lastUpdated", plan.last_updated)):
        if stamp is not None:
            written = rows(written_parts(stamp), f"{plan.resource}.{name}", "value")
            yield from ((row, None) for row in written)


def _cell_key(row: DictionaryRow) -> tuple[str, str, str]:
    return row.table, row.column, row.path


def _element_name(plan: Plan, path: str) -> str:
    return f"{plan.resource}.{path.replace('[]', '')}"


def table_and_column(column: ColumnOf, tables: Mapping[int, tuple[str, str]]) -> tuple[str, str]:
    """Return the table and the column that an expression reads.

    Args:
        column: the expression.
        tables: `level_tables` of its plan.
    """
    table, list_column = tables[column.level]
    if table == LIST_ITEM:
        table, _, name = list_column.partition(".")
    else:
        name = column.column
    for step in column.via:
        relation = relations_of(table)[step]
        if not isinstance(relation, One):
            raise AssertionError(step)
        table = relation.table
    return table, name


def level_tables(plan: Plan) -> dict[int, tuple[str, str]]:
    """Return the table of each level, and "" or, if it iterates over a list, `table.column`."""
    tables = {0: (plan.table, "")}
    loops = [node for root in plan.roots for _, node in nodes_of(root) if isinstance(node, Loop)]
    for loop in sorted(loops, key=lambda loop: loop.level):
        if isinstance(loop.relation, Many):
            tables[loop.level] = (loop.relation.table, "")
        else:
            tables[loop.level] = (LIST_ITEM, f"{tables[loop.parent][0]}.{loop.relation}")
    return tables


_CSV_HEADER: Final = ("table", "column", "MapIDs", "FHIR path", "profile", "role", "note")
_SECTION_HEADER: Final = ("column", "MapIDs", "FHIR path", "profiles", "role")


def dictionary_csv(rows: Iterable[DictionaryRow]) -> str:
    """Return the dictionary as CSV: one line per column, path and profile."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV_HEADER)
    for row in rows:
        cells = (row.table, row.column, _format_map_ids(row), row.path, row.profile)
        writer.writerow((*cells, row.role, row.note))
    return text.getvalue()


def published_dictionary(rows: Iterable[DictionaryRow], model: DataModel) -> bytes:
    """Return the dictionary of a release as JSON: one of `rows` for each element, column and role.

    Its keys are `type`, `path` (without the type), `column` (`table.column`, empty for a constant
    and what is left out), `mapIds`, `role`, `profiles`, and `meaning`: what the column holds, or
    why the element is left out.
    """
    profiles: dict[DictionaryRow, list[str]] = defaultdict(list)
    for row in rows:
        if row.path:
            profiles[replace(row, profile="")].append(row.profile)
    published = []
    for row, names in profiles.items():
        resource, _, path = row.path.partition(".")
        meaning = row.note
        if row.table:
            table, column = TABLES[row.table], columns_of(row.table)[row.column]
            meaning = column_meaning(model.layout, table, column) or row.column.replace("_", " ")
        published.append(
            {
                "type": resource,
                "path": path,
                "column": f"{row.table}.{row.column}" if row.table else "",
                "mapIds": row.map_ids,
                "role": row.role,
                "profiles": sorted(names),
                "meaning": meaning,
            }
        )
    body = {"format": 1, "rows": published}
    return json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def dictionary_markdown(rows: Iterable[DictionaryRow]) -> str:
    """Return the dictionary as Markdown: a section per table, a line per column and path."""
    rows = tuple(rows)
    lines = ["# Data dictionary", "", _legend(rows)]
    for title, header, rows_of_section in _sections(rows):
        lines += ["", f"## {title}", "", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
        lines += [f"| {' | '.join(cells)} |" for cells in rows_of_section]
    return "\n".join(lines) + "\n"


def dictionary_html(rows: Iterable[DictionaryRow]) -> str:
    """Return the dictionary as one page that loads nothing from the network."""
    rows = tuple(rows)
    sections = list(_sections(rows))
    contents = " · ".join(
        f'<a href="#{_anchor(title)}">{escape(title)}</a>' for title, _, _ in sections
    )
    body = "\n".join(_section_html(*section) for section in sections)
    return _PAGE.format(legend=escape(_legend(rows)), contents=contents, body=body)


_CLAIMS_LEGEND: Final = (
    "Profiles of claims are named without what they all begin with, "
    f"{_CLAIM_PROFILES}; all claims are all of them. "
)


def _legend(rows: Iterable[DictionaryRow]) -> str:
    has_claims = any(row.profile.startswith(_CLAIM_PROFILES) for row in rows)
    return (
        f"Where each column goes. {_CLAIMS_LEGEND if has_claims else ''}"
        "A column with the role decides is not written: "
        "whether the element is there, or which value it has, depends on it."
    )


def _sections(
    rows: Sequence[DictionaryRow],
) -> Iterator[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Yield title, header and lines of each section; a line's profiles share a cell."""
    claims = {row.profile for row in rows if row.profile.startswith(_CLAIM_PROFILES)}
    profiles: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for row in rows:
        title = row.table or ("Left out" if row.role == "left out" else "Without a column")
        line = (title, row.column, _format_map_ids(row), row.path, row.role, row.note)
        profiles[line].append(row.profile)
    sections: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for (title, column, map_ids, path, role, note), names in profiles.items():
        is_all = len(names) > 1 and claims == set(names)
        short = ", ".join(name.removeprefix(_CLAIM_PROFILES) for name in names)
        cells = (map_ids, path, "all claims" if is_all else short)
        if role == "left out":
            sections[title].append((*cells, note))
        elif role == "constant":
            sections[title].append(cells)
        else:
            sections[title].append((f"{column}: {note}" if note else column, *cells, role))
    for title, lines in sections.items():
        header = {
            "Left out": ("MapIDs", "FHIR path", "profiles", "why"),
            "Without a column": _SECTION_HEADER[1:4],
        }
        yield title, header.get(title, _SECTION_HEADER), lines


def _format_map_ids(row: DictionaryRow) -> str:
    is_own_column = row.column and row.note
    return ", ".join(map(str, row.map_ids)) or ("own" if is_own_column else "")


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _section_html(title: str, header: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>" for cells in lines
    )
    return (
        f'<h2 id="{_anchor(title)}">{escape(title)}</h2>\n<div class="wide"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>"
    )


_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Data dictionary</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem;
  padding: 0 1rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #8884;
  vertical-align: top; }}
td:first-child {{ white-space: nowrap; }}
</style>
</head>
<body>
<h1>Data dictionary</h1>
<p>{legend}</p>
<nav>{contents}</nav>
{body}
</body>
</html>
"""
