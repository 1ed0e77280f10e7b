"""What the column checks say of a mapping's resources, beside what the checker of JSON says."""

import json
import random
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from etl.claims.prepare import prepare_for_mapping
from etl.conform.checker import Checker
from etl.conform.findings import IssueSeverity
from etl.engine.obligation_checks import broken_rows
from etl.engine.partition_columns import Partition
from etl.engine.render import render
from etl.mapping.obligations import data_obligations, obligations
from etl.mapping.plan import Environment
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.model.canonical_tables import ROW_COLUMN
from tests.golden.mapping.everything import everything, thinned
from tests.golden.mapping.rendering import ID_KEY, mapping_set, providers_of, tables_of


@dataclass(frozen=True, slots=True)
class Verdict:
    """What both say of one resource.

    Attributes:
        kind: FHIR type.
        checks: rules that the column checks say are broken.
        errors: rule and path of what the checker says.
    """

    kind: str
    checks: frozenset[str]
    errors: frozenset[str]


def some_rows(seed, copies):
    """Return rows of several members, everything of the first and less of the others."""
    chance = random.Random(seed)
    rows = {name: [] for name in TABLES}
    for number in range(copies):
        own = everything(f"-{number}")
        for table, found in (thinned(own, chance) if number else own).items():
            rows[table] += found
    return rows


def world(rows):
    """Return rows as the engine looks at them."""
    tables = tables_of(rows)
    numbered = {
        name: table.set_column(
            table.schema.get_field_index(ROW_COLUMN),
            ROW_COLUMN,
            pa.array(range(table.num_rows), pa.int64()),
        )
        for name, table in tables.items()
    }
    crosswalks = mapping_set().crosswalks
    environment = Environment("golden", ID_KEY, crosswalks, providers_of(rows))
    return Partition(prepare_for_mapping(numbered, environment)), environment


def verdicts(plan, partition, environment):
    """Yield what both say of every resource that a plan makes."""
    rendering = render(plan, partition, environment)
    runs = list(rendering)
    due = data_obligations(obligations(plan, environment.crosswalks))
    none_made = pa.nulls(0, pa.string())
    found = broken_rows(rendering.values, due, references=none_made, types=frozenset())
    told = _by_root(plan, partition, found)
    checker = Checker(strict=True)
    for run in runs:
        numbers = _numbers(plan, partition, run)
        for body, logical_id, number in zip(
            run.bodies.to_pylist(), run.ids.to_pylist(), numbers, strict=True
        ):
            head = f'{{"resourceType":"{plan.resource}","id":"{logical_id}","meta":{{'
            resource = json.loads(f'{head}"lastUpdated":"2024-01-01T00:00:00Z",{body}')
            errors = frozenset(
                f"{issue.rule.id} {issue.path}"
                for _, issue in checker.check(resource).issues
                if issue.rule.severity is IssueSeverity.ERROR
            )
            yield Verdict(plan.resource, frozenset(told.get(number, ())), errors)


def _numbers(plan, partition, run):
    column = partition.tables[plan.table].column(ROW_COLUMN)
    return column.take(pa.array(run.rows)).to_pylist()


def _by_root(plan, partition, found):
    """Return the rules by the row that the resource is made of; a line's are its claim's."""
    told = {}
    for finding in found.to_pylist():
        row = finding["row"]
        if finding["table"] != plan.table:
            lines, claims = partition.tables["claim_line"], partition.tables["claim"]
            at = pc.index(lines.column(ROW_COLUMN), row).as_py()
            claim = lines.column("claim_id")[at]
            row = claims.column(ROW_COLUMN)[pc.index(claims.column("claim_id"), claim).as_py()]
            row = row.as_py()
        told.setdefault(row, set()).add(finding["rule"])
    return told
