"""What becomes of rows of a drug formulary with one fault each."""

from functools import cache

import pyarrow as pa
import pytest

from etl.bootstrap.mappings import read_crosswalks
from etl.columns.dates import day_number
from etl.documents.yaml_text import read_yaml
from etl.model.data_models import FORMULARY
from etl.quality.check import check
from etl.quality.checks.frames import DirectoryIds, NoKeys, RuleContext
from etl.quality.rules.book import Policy, load_rules
from etl.quality.totals.counts import reconcile
from etl.rows import no_findings
from tests.given.tables import read_tables, table
from tests.unit.quality.world import MAPPINGS, accepted, found, tables

NOBODY = DirectoryIds(pa.array([], pa.string()), pa.array([], pa.string()))
CLEAN = read_tables(__file__)["clean"]


@cache
def book():
    texts = {
        path.name: path.read_text("utf-8")
        for folder in ("rules", "rules/formulary")
        for path in (MAPPINGS / folder).glob("*.yaml")
    }
    crosswalks = read_crosswalks((MAPPINGS,), FORMULARY)
    return load_rules(texts, Policy(), crosswalks, model=FORMULARY)


def checked(rows):
    """Check a formulary as of 2026-11-01; every row has one fate."""
    context = RuleContext(book(), NoKeys(), NOBODY, day_number("2026-11-01"))
    result = check(tables(rows, FORMULARY.tables), no_findings(), context)
    reconcile(result.counts, [result.rejected.num_rows])
    return result


def changed(changes):
    """Return the clean rows with other cells in the first row of tables, and with more rows."""
    rows = {name: [dict(row) for row in of_table] for name, of_table in CLEAN.items()}
    for name, change in changes.items():
        if isinstance(change, list):
            rows[name] += change
        else:
            rows[name][0] = {
                column: cell for column, cell in (rows[name][0] | change).items() if cell
            }
    return rows


def test_clean_rows_have_no_findings():
    result = checked(CLEAN)
    assert found(result) == set()
    assert result.rejected.num_rows == 0


@pytest.mark.parametrize(*table(__file__, "cases"))
def test_a_fault_is_told_with_its_place_and_does_what_the_rule_says(
    change, findings, rejected, published
):
    result = checked(changed(change))
    expected = {(rule, name, row, column or None) for rule, name, row, column in findings}
    assert found(result) == expected
    gone = {
        name: counts.quarantined for name, counts in result.counts.items() if counts.quarantined
    }
    assert gone == (rejected or {})
    for name, column, cells in published or ():
        assert accepted(result, name, column) == [cell or None for cell in cells]


def test_every_rule_about_rows_has_a_case():
    texts = (path.read_text("utf-8") for path in (MAPPINGS / "rules/formulary").glob("*.yaml"))
    entries = [rule for text in texts for rule in read_yaml(text, "rules")]
    rules = {rule["id"] for rule in entries if rule["check"] != "unmet"}
    fired = {finding[0] for case in read_tables(__file__)["cases"] for finding in case["findings"]}
    assert len(rules) > 30
    assert rules <= fired
