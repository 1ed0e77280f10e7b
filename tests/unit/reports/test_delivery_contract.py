"""Data contracts of layouts: valid, complete, and of one opinion with our own checks."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema_rs
import pytest
import yaml
from open_data_contract_standard.model import OpenDataContractStandard

from etl.bootstrap.settings import Settings
from etl.documents.yaml_text import write_yaml
from etl.model.canonical_tables import CLAIMS_TABLES
from etl.model.data_models import DIRECTORY
from etl.quality import RuleBook
from etl.quality.rules import kinds
from etl.quality.rules.book import SINGLE
from etl.reports.delivery_contract import ContractTerms, contract
from etl.sources import CANONICAL_LAYOUTS, Layout
from tests.e2e.commands import same_definitions
from tests.unit.quality.test_rules_find import CASES, after
from tests.unit.quality.world import World, standard_book, world
from tests.unit.sources.dialects import shipped_layouts

NAMES = (*CANONICAL_LAYOUTS, *(layout.name for layout in shipped_layouts()))
LEFT_OUT = (*SINGLE, kinds.Reading, kinds.Rewrite, kinds.Unmet)
IN_THE_SCHEMA = (kinds.Required, kinds.Unreadable)


@cache
def book(directory: bool) -> RuleBook:
    if not directory:
        return standard_book()
    return same_definitions(Settings(), DIRECTORY).book


@cache
def layouts() -> Mapping[str, Layout]:
    return {**CANONICAL_LAYOUTS, **{layout.name: layout for layout in shipped_layouts()}}


@cache
def text(name: str) -> str:
    layout = layouts()[name]
    return write_yaml(contract(layout, ContractTerms("1.0.0", book(layout.model is DIRECTORY))))


@cache
def validator() -> jsonschema_rs.Validator:
    """Return the standard's own JSON Schema, as its Python package has it."""
    schema = files("open_data_contract_standard") / "schema.json"
    return jsonschema_rs.validator_for(json.loads(schema.read_text(encoding="utf-8")))


@cache
def parsed(name: str) -> Mapping[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    made: Mapping[str, Any] = yaml.load(text(name), Loader=loader)  # noqa: S506 # both are safe
    return made


def entries(of: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield table, column ("" for the table) and entry of every quality check."""
    for table in of["schema"]:
        for entry in table.get("quality", ()):
            yield table["name"], "", entry
        for column in table["properties"]:
            for entry in column.get("quality", ()):
                yield table["name"], column["name"], entry


@pytest.mark.parametrize("name", NAMES)
def test_the_contract_of_each_layout_is_valid_by_the_standards_own_schema(name: str) -> None:
    made = parsed(name)
    assert [str(error) for error in validator().iter_errors(made)] == []
    read = OpenDataContractStandard.from_string(text(name))
    assert read.schema_ is not None
    assert len(read.schema_) == len(made["schema"]) > 0


@pytest.mark.parametrize("name", ["cpcds", "synthea-members"])
def test_the_same_layout_gives_the_same_bytes(name: str) -> None:
    assert write_yaml(contract(layouts()[name], ContractTerms("1.0.0", book(False)))) == text(name)


@pytest.mark.parametrize("name", NAMES)
def test_every_column_of_a_layout_is_in_its_contract(name: str) -> None:
    made = parsed(name)
    columns = {
        table["name"]: [one["name"] for one in table["properties"]] for table in made["schema"]
    }
    layout = layouts()[name]
    if layout.canonical:
        assert columns == {one.name: list(one.names) for one in layout.model.tables.values()}
    else:
        assert columns == {raw.name: list(raw.columns) for raw in layout.raw.values()}


@pytest.mark.parametrize("name", [*CANONICAL_LAYOUTS])
def test_every_rule_is_a_check_or_text_or_in_the_schema(name: str) -> None:
    layout = layouts()[name]
    said = {entry["name"] for _, _, entry in entries(parsed(name))}
    rules = book(layout.model is DIRECTORY).rules
    named = {rule.id for rule in rules if {rule.id, f"{rule.id}-1"} & said}
    assert named == {
        rule.id for rule in rules if not isinstance(rule.kind, (*LEFT_OUT, *IN_THE_SCHEMA))
    }


def test_severities_are_those_of_the_payer() -> None:
    by_name = {entry["name"]: entry for _, _, entry in entries(parsed("cpcds"))}
    assert by_name["claim-unknown-member"]["severity"] == "error"
    assert by_name["gender-unknown"]["severity"] == "warning"


# --- what SQL finds is what our own checks find


@pytest.fixture(scope="module")
def queries() -> Mapping[str, list[tuple[str, str]]]:
    """Rule -> table and query of each of its checks in SQL."""
    found: dict[str, list[tuple[str, str]]] = {}
    for table, _, entry in entries(parsed("cpcds")):
        if entry["type"] == "sql":
            rule = next(
                rule.id
                for rule in sorted(standard_book().rules, key=lambda rule: -len(rule.id))
                if entry["name"] == rule.id or entry["name"].rpartition("-")[0] == rule.id
            )
            found.setdefault(rule, []).append((table, entry["query"]))
    return found


def database(of: World) -> sqlite3.Connection:
    """Return the tables as SQL has them: an empty cell is NULL, numbers are numbers."""
    made = parsed("cpcds")
    types = {"number": "REAL", "integer": "INTEGER"}
    connection = sqlite3.connect(":memory:")
    for table in made["schema"]:
        columns = {
            one["name"]: types.get(one["logicalType"], "TEXT") for one in table["properties"]
        }
        listed = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
        connection.execute(f"CREATE TABLE {table['name']} ({listed})")
        marks = ", ".join("?" * len(columns))
        rows = [[row.get(name) or None for name in columns] for row in of.get(table["name"], ())]
        insert = f"INSERT INTO {table['name']} VALUES ({marks})"  # noqa: S608 # table names
        connection.executemany(insert, rows)
    return connection


def failing(connection: sqlite3.Connection, table: str, query: str) -> int:
    # SQLite has no date literals: its dates are texts, which compare alike.
    plain = query.replace("${table}", table).replace("DATE '", "'")
    (count,) = connection.execute(plain).fetchone()
    return int(count)


def test_sql_finds_nothing_in_rows_without_a_fault(
    queries: Mapping[str, list[tuple[str, str]]],
) -> None:
    connection = database(world())
    counts = {rule: sum(failing(connection, *one) for one in of) for rule, of in queries.items()}
    assert {rule: count for rule, count in counts.items() if count} == {}


def test_sql_finds_what_each_rule_finds(queries: Mapping[str, list[tuple[str, str]]]) -> None:
    cases = [case for case in CASES if case.rule in queries]
    assert set(queries) - {case.rule for case in cases} == {"practitioner-without-name"}
    for case in cases:
        connection = database(after(case))
        counts = [failing(connection, table, query) for table, query in queries[case.rule]]
        assert sum(counts) > 0, case


def test_most_rules_can_be_run(queries: Mapping[str, list[tuple[str, str]]]) -> None:
    asked = [
        rule
        for rule in standard_book().rules
        if not isinstance(rule.kind, (*LEFT_OUT, *IN_THE_SCHEMA))
    ]
    library = {
        entry["name"] for _, _, entry in entries(parsed("cpcds")) if entry["type"] == "library"
    }
    run = [rule.id for rule in asked if rule.id in queries or library & {rule.id, f"{rule.id}-1"}]
    assert len(CLAIMS_TABLES) == len(parsed("cpcds")["schema"])
    assert len(run) * 2 > len(asked)
