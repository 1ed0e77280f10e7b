"""docs/mapping.md has every filter, derived column and relation, and every error id."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from etl.mapping.filters import NAMES
from etl.mapping.headers import MappingHeader
from etl.mapping.rows import columns_of
from etl.model.canonical_tables import AMOUNT_CATEGORIES, TABLES
from etl.model.code_shapes import SHAPES
from etl.model.relations import RELATIONS, Many
from tests.docs.pages import ROOT, codes, page, rows, section

PAGE = page("docs/mapping.md")
LANGUAGE = PAGE.split("## Error ids")[0]
ID = re.compile(r"(?:map|crosswalk|rule|config|yaml|layout|sql)(?:-[a-z]+)+")


def first_cells(text: str) -> set[str]:
    return {code for cells in rows(text) for code in codes(cells[0])}


def test_every_filter_is_listed_and_nothing_else():
    table = section(PAGE, "## Expressions").split("| filter |")[1]
    names = {code.split("(")[0] for code in first_cells("| filter |" + table)}
    assert names == set(NAMES)


def test_every_shape_is_listed():
    (row,) = [cells for cells in rows(PAGE) if cells[0].startswith("`shape(")]
    assert set(SHAPES) <= codes(row[2])


@pytest.mark.parametrize("operator", ["==", "!=", "in", "not in", "<", "<=", ">", ">="])
def test_every_comparison_is_shown(operator):
    forms = first_cells(section(PAGE, "## Expressions"))
    assert any(f" {operator} " in form for form in forms)


def derived() -> Iterator[str]:
    for table, known in TABLES.items():
        own = {column.name for column in known.columns}
        for name in columns_of(table):
            if name not in own and name != "position":
                yield f"{table}.{name}"


def test_every_derived_column_is_listed_and_nothing_else():
    text = section(PAGE, "## Rows and columns").split("| column | meaning |")[1]
    listed = first_cells("| column | meaning |" + text)
    totals = {f"claim.total_{category}" for category in AMOUNT_CATEGORIES}
    assert listed - {"position"} == set(derived()) - totals | {"claim.total_<category>"}


def test_every_relation_is_listed():
    tables = {cells[0]: cells for cells in rows(section(PAGE, "## Rows and columns"))}
    assert "claim" in RELATIONS
    for table, relations in RELATIONS.items():
        for name, relation in relations.items():
            column = 1 if isinstance(relation, Many) else 2
            assert name in codes(tables[table][column]), (table, name)


def test_every_key_of_a_mapping_is_listed():
    keys = first_cells(section(PAGE, "## A mapping"))
    assert keys == set(MappingHeader.known_keys())


def raised() -> dict[str, str]:
    """Return every error id that the program can raise, with a file that raises it."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "etl").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            for argument in [*node.args, *(one.value for one in node.keywords)]:
                text = argument.value if isinstance(argument, ast.Constant) else None
                if isinstance(text, str) and ID.fullmatch(text):
                    found[text] = path.relative_to(ROOT).as_posix()
    return found


def listed() -> set[str]:
    mapping = first_cells(section(PAGE, "## Error ids"))
    layouts = first_cells(section(page("docs/layouts.md"), "## Mistakes"))
    return {code for code in mapping | layouts if ID.fullmatch(code)}


def test_every_error_id_is_listed_and_nothing_else():
    assert set(raised()) == listed()


def test_the_kinds_of_error_ids_are_all_known_here():
    """A new kind of id (`other-…`) would pass by the test above."""
    ids = {
        str(node.args[1].value): f"{path}:{node.lineno}"
        for path in sorted((ROOT / "etl").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "MappingError"
        if isinstance(node.args[1], ast.Constant)
    }
    assert "config-value" in ids
    assert {name: place for name, place in ids.items() if not ID.fullmatch(name)} == {}
