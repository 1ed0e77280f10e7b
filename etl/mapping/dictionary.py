"""The data dictionary: which column goes where, read off the plans."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape

from etl.mapping.expressions import ColumnOf, Condition, Expr, walk
from etl.mapping.plan import Entry, Guarded, Leaf, Loop, Plan, nodes_of
from etl.mapping.rows import LIST_ITEM, Many, One, columns_of, relations_of


@dataclass(frozen=True, slots=True, order=True)
class DictionaryRow:
    """One column that one mapping writes to one element.

    Attributes:
        table: canonical table.
        column: its column.
        map_ids: MapIDs of the CPCDS Data Dictionary that the column carries, ascending.
        path: FHIR path of the element.
        profile: name of the profile.
        decides: the column only decides whether the element is there, or which value it has.
    """

    table: str
    column: str
    map_ids: tuple[int, ...]
    path: str
    profile: str
    decides: bool = False


def dictionary(plans: Iterable[Plan]) -> tuple[DictionaryRow, ...]:
    """Return every column that the plans read, with where it goes, in order."""
    return tuple(sorted({row for plan in plans for row in _rows(plan)}))


def _rows(plan: Plan) -> Iterator[DictionaryRow]:
    profile = plan.profile.rpartition("/")[2].partition("|")[0]
    sources = sources_of(plan)
    for path, node in nodes_of(plan.body):
        name = f"{plan.resource}.{path.replace('[]', '')}"
        match node:
            case Leaf(expr=expr):
                yield from _read(expr, name, profile, sources)
            case Guarded(condition=condition):
                yield from _read(condition, name, profile, sources, decides=True)
            case Loop(condition=condition) if condition is not None:
                yield from _read(condition, name, profile, sources, decides=True)
            case _:
                continue
    yield from _read(plan.id, f"{plan.resource}.id", profile, sources)
    if plan.last_updated is not None:
        yield from _read(plan.last_updated, f"{plan.resource}.meta.lastUpdated", profile, sources)


def _read(
    node: Expr | Condition,
    path: str,
    profile: str,
    sources: dict[int, tuple[str, str]],
    *,
    decides: bool = False,
) -> Iterator[DictionaryRow]:
    """Yield a row for each column that an expression or condition reads."""
    for part in walk(node):
        if isinstance(part, ColumnOf):
            yield _row(part, path, profile, sources, decides=decides)


def _row(
    column: ColumnOf,
    path: str,
    profile: str,
    sources: Mapping[int, tuple[str, str]],
    *,
    decides: bool,
) -> DictionaryRow:
    table, name = column_read(column, sources)
    ids = tuple(sorted(columns_of(table)[name].map_ids))
    return DictionaryRow(table, name, ids, path, profile, decides)


def column_read(column: ColumnOf, sources: Mapping[int, tuple[str, str]]) -> tuple[str, str]:
    """Return the table and the column that an expression reads.

    Args:
        column: the expression.
        sources: of its plan, as `sources_of` gives them.
    """
    table, name = sources[column.level]
    if table == LIST_ITEM:
        table, name = name.split(".", 1)
    else:
        name = column.column
    for step in column.via:
        relation = relations_of(table)[step]
        if not isinstance(relation, One):
            raise AssertionError(step)
        table = relation.table
    return table, name


def sources_of(plan: Plan) -> dict[int, tuple[str, str]]:
    """Return, for each level, its table; for the values of a list, `table.column` beside it."""
    sources = {0: (plan.table, "")}
    loops = [node for _, node in _everything(plan) if isinstance(node, Loop)]
    for loop in sorted(loops, key=lambda one: one.level):
        if isinstance(loop.relation, Many):
            sources[loop.level] = (loop.relation.table, "")
        else:
            owner = sources[loop.parent][0]
            sources[loop.level] = (LIST_ITEM, f"{owner}.{loop.relation}")
    return sources


def _everything(plan: Plan) -> Iterator[tuple[str, Entry]]:
    yield from nodes_of(plan.body)
    for values in plan.search.values():
        yield from nodes_of(values)


_HEADER = ("table", "column", "MapIDs", "FHIR path", "profile", "role")


def _cells(row: DictionaryRow) -> tuple[str, ...]:
    return (
        row.table,
        row.column,
        ", ".join(map(str, row.map_ids)),
        row.path,
        row.profile,
        "decides" if row.decides else "value",
    )


def as_csv(rows: Iterable[DictionaryRow]) -> str:
    """Return the dictionary as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    writer.writerows(_cells(row) for row in rows)
    return text.getvalue()


def as_markdown(rows: Iterable[DictionaryRow]) -> str:
    """Return the dictionary as a Markdown table."""
    lines = [f"| {' | '.join(_HEADER)} |", f"|{'---|' * len(_HEADER)}"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    return "# Data dictionary\n\n" + "\n".join(lines) + "\n"


def as_html(rows: Iterable[DictionaryRow]) -> str:
    """Return the dictionary as one page that asks the network for nothing."""
    head = "".join(f"<th>{escape(name)}</th>" for name in _HEADER)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(row)) + "</tr>"
        for row in rows
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">\n<title>Data dictionary</title>\n<style>\n"
        ":root { color-scheme: light dark; }\n"
        "body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; "
        "padding: 0 1rem; }\n"
        "table { border-collapse: collapse; width: 100%; }\n"
        "th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8884; "
        "vertical-align: top; overflow-wrap: anywhere; }\n"
        "th { position: sticky; top: 0; background: Canvas; }\n"
        "</style>\n</head>\n<body>\n<h1>Data dictionary</h1>\n"
        f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
        "</body>\n</html>\n"
    )
