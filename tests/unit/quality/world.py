"""A small world without a fault, to be broken one cell at a time.

Two members, a coverage each, a claim of every type; made up here, of nobody.
"""

from collections import ChainMap
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow as pa
import pytest

from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.model.crosswalks import read_crosswalk
from etl.model.severity import Severity
from etl.quality.check import check_rows, check_totals
from etl.quality.checks.cascade import decide_rows
from etl.quality.checks.frames import DirectoryIds, RuleContext
from etl.quality.rules.book import Policy, load_rules
from etl.quality.totals.counts import reconcile
from etl.rows import no_findings, table_schema
from tests.given.tables import read_tables

MAPPINGS = Path(__file__).parents[3] / "mappings"
Row = dict[str, str]
World = dict[str, list[Row]]


_CELLS = read_tables(__file__)


def world():
    """Return a world that has not one finding."""
    return {table: [_filled(cells) for cells in found] for table, found in _CELLS["rows"].items()}


def _filled(cells):
    """Return a row with the parts that it names."""
    parts = [_CELLS["parts"][name] for name in cells.get("also", ())]
    row = dict(ChainMap({**cells}, *parts))
    row.pop("also", None)
    return row


def tables(of, model=TABLES):
    """Return canonical tables: file 0 is the first table, rows count from 2."""
    made = {}
    for number, (name, table) in enumerate(model.items()):
        found = list(of.get(name, ()))
        columns = [pa.array([row.get(c) for row in found], pa.string()) for c in table.names]
        for row in found:
            assert set(row) <= set(table.names), f"no such column: {set(row)}"
        columns.append(pa.array([number] * len(found), pa.int32()))
        columns.append(pa.array(range(2, len(found) + 2), pa.int64()))
        made[name] = pa.table(columns, schema=table_schema(name))
    return made


@cache
def crosswalks():
    return {
        path.stem: read_crosswalk(path.read_text("utf-8"), path.stem, file=path.name)
        for path in sorted((MAPPINGS / "crosswalks").glob("*.csv"))
    }


@cache
def rule_texts():
    return {path.name: path.read_text("utf-8") for path in (MAPPINGS / "rules").glob("*.yaml")}


@cache
def standard_book():
    return load_rules(rule_texts(), Policy(), crosswalks())


@dataclass(frozen=True)
class KeysInMemory:
    """`KnownKeys` over plain sets."""

    claims: frozenset[str] = frozenset()
    members: frozenset[str] = frozenset()
    coverages: frozenset[str] = frozenset()
    prior_auths: frozenset[str] = frozenset()
    shared_prior_auths: frozenset[str] = frozenset()
    shared_claims: frozenset[str] = frozenset()
    shared_coverages: frozenset[str] = frozenset()

    def exists(self, table, ids):
        return self._among(ids, getattr(self, f"{table}s"))

    def shared(self, table, ids):
        return self._among(ids, getattr(self, f"shared_{table}s"))

    def _among(self, ids, known):
        return pa.array([each in known for each in ids.to_pylist()], pa.bool_())


def book(**severities):
    """Return the product's rules, some with other severities (`_` for `-` in their ids)."""
    if not severities:
        return standard_book()
    told = {name.replace("_", "-"): Severity(word) for name, word in severities.items()}
    return load_rules(rule_texts(), Policy(severities=told), crosswalks())


LISTED = DirectoryIds(
    pa.array(["P1", "1234567893"]), pa.array(["1234567893", "D1"]), pa.array(["P1"])
)


def run(of, *, rules=None, known=None, findings=None, as_of=None, unread=None):
    """Check a world; its counts must add up, whatever is wrong with it."""
    context = RuleContext(rules or standard_book(), known or KeysInMemory(), LISTED, as_of)
    noted = no_findings() if findings is None else findings
    decided = decide_rows(check_rows(tables(of), noted, context, unread))
    checked = check_totals(decided)
    reconcile(checked.counts, [checked.rejected.num_rows])
    assert all(totals.adds_up for totals in checked.money.values())
    return checked


def found(checked):
    """Return rule, table, row and column of every finding."""
    names = ("rule", "table", "row", "column")
    return set(zip(*(checked.findings.column(name).to_pylist() for name in names), strict=True))


def rejected(checked):
    """Return table, row and first rule of every rejected row."""
    names = ("table", "row", "rule")
    return set(zip(*(checked.rejected.column(name).to_pylist() for name in names), strict=True))


def accepted(checked, table, column):
    return checked.tables[table].column(column).to_pylist()


def outcomes(test_file):
    """Return a test's parameter `outcome`: the rows of its table of outcomes."""
    rows = read_tables(test_file)["outcomes"]
    return pytest.mark.parametrize("outcome", rows, ids=[row["case"] for row in rows])


def changed_world(changes, of=None):
    """Return a world with rows changed: table → number of the row → its cells."""
    of = world() if of is None else of
    for table, by_number in changes.items():
        for number, cells in by_number.items():
            _change(of[table], int(number) - 2, cells)
    return of


def assert_outcome(outcome, of=None):
    """Change a world as a row of a table of outcomes says, and find all that it says of it."""
    of = changed_world(outcome["changes"], of)
    checked = run(of, rules=book(**outcome.get("severities", {})))
    rejecting, causes = rejected(checked), dict[str, dict[str, list[str]]]()
    for row in checked.rejected.to_pylist():
        rows = causes.setdefault(row["rule"], {}).setdefault(row["cause"], [])
        rows.append(f"{row['table']} {row['row']}")
    assert {
        rule: {cause: sorted(rows) for cause, rows in by_cause.items()}
        for rule, by_cause in causes.items()
    } == outcome.get("rejected", {})
    assert {
        (rule, table, row, column or "")
        for rule, table, row, column in found(checked)
        if (table, row, rule) not in rejecting
    } == set(map(tuple, outcome.get("findings", [])))
    superseded = {name: each.superseded for name, each in checked.counts.items() if each.superseded}
    assert superseded == outcome.get("superseded", {})
    withdrawn = {name: each.withdrawn for name, each in checked.counts.items() if each.withdrawn}
    assert withdrawn == outcome.get("withdrawn", {})
    for table, column, cells in outcome.get("published", []):
        assert accepted(checked, table, column) == [cell or None for cell in cells]


def _change(rows, at, cells):
    own = dict(cells)
    if at == len(rows):
        rows.append(dict(rows[own.pop("like") - 2]) if "like" in own else {})
    rows[at] = {name: cell for name, cell in (rows[at] | own).items() if cell}
