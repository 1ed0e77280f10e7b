"""The certificate compares published prior authorizations with their rows."""

import csv

import pytest

from etl.model.canonical_tables import TABLES
from tests.golden.mapping.rendering import read_rows
from tests.golden.mapping.test_cases import CASES, SHARED
from tests.integration.certified import Unit

HEADER, LINE = "prior_auth", "prior_auth_line"


@pytest.fixture(scope="module")
def unit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certified")
    (folder / "extract").mkdir()
    rows = {"claim": [], "claim_line": []} | SHARED | read_rows(CASES / "prior-auth")
    for table, of_table in rows.items():
        with (folder / "extract" / f"{table}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, TABLES[table].names)
            writer.writeheader()
            writer.writerows(of_table)
    return Unit.read(folder / "extract", folder / "work")


@pytest.fixture(scope="module")
def right(unit):
    return unit.outcome()


def test_what_is_published_as_the_rows_state_it_is_certified(unit, right):
    assert (right.wrong, right.facts) == (0, ())
    assert unit.loaded.tables[HEADER].num_rows == 4
    assert right.rows == 0


def with_cell(table, key, column, text):
    """Return a change that puts a text into a cell of the row with a key."""

    def change(tables, random):
        del random
        (row,) = (
            row
            for row in tables[table]
            if (row["prior_auth_id"], *([row["line_number"]] if table == LINE else [])) == key
        )
        row[column] = text

    return change


def without(table, number):
    """Return a change that loses the rows of a prior authorization in a table."""

    def change(tables, random):
        del random
        tables[table] = [row for row in tables[table] if row["prior_auth_id"] != number]

    return change


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        (without(HEADER, "A2"), {"superseded by nothing"}),
        (without(LINE, "A1"), {"superseded by nothing"}),
        (with_cell(HEADER, ("A2",), "prior_auth_id", "A9"), {"lost", "without a row"}),
        (with_cell(HEADER, ("A2",), "amount_submitted", "1000.01"), {"submitted"}),
        (with_cell(HEADER, ("A2",), "amount_utilized", None), {"utilized"}),
        (with_cell(HEADER, ("A4",), "review_action", "A1"), {"action"}),
        (with_cell(HEADER, ("A1",), "type", "vision"), {"type"}),
        (with_cell(HEADER, ("A1",), "valid_to", "2025-05-01"), {"end"}),
        (with_cell(HEADER, ("A1",), "received_at", "2025-01-01"), {"received"}),
        (with_cell(LINE, ("A2", "1"), "amount_eligible", "800.10"), {"eligible"}),
        (with_cell(LINE, ("A2", "1"), "units_approved", "4"), {"approved"}),
        (with_cell(LINE, ("A2", "1"), "review_action", "A1"), {"action"}),
        (with_cell(LINE, ("A1", "1"), "units_used", "5"), {"used"}),
        (with_cell(LINE, ("A1", "1"), "service_to_date", "2025-04-29"), {"served"}),
        (with_cell(LINE, ("A1", "2"), "line_number", "7"), {"lost", "without a row"}),
    ],
)
def test_a_row_that_is_lost_or_changed_is_named(unit, right, change, facts):
    found = unit.outcome(change)
    assert found.bytes_of != right.bytes_of
    assert found.wrong
    assert facts <= set(found.facts)
