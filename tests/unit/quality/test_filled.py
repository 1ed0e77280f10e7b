"""Filled cells by claim type and month: each accepted row counts once, under its claim's type."""

from collections import Counter

from etl.quality.totals.counts import SERVICE_COLUMN, FilledKey
from tests.unit.quality.world import run, world


def test_cells_are_counted_by_the_type_of_the_claim_that_their_row_belongs_to():
    checked = run(world())
    claims = checked.tables["claim"].to_pylist()
    types = {row["claim_id"]: row["claim_type"] for row in claims}
    expected: Counter[FilledKey] = Counter()
    for name, table in checked.tables.items():
        for row in table.to_pylist():
            for column, cell in row.items():
                if cell is None or column.startswith("_"):
                    continue
                month = cell[:7] if (name, column) == ("claim", SERVICE_COLUMN) else ""
                expected[FilledKey(name, types.get(row.get("claim_id"), ""), column, month)] += 1
    assert len({key.claim_type for key in expected}) > 3
    assert dict(checked.filled) == dict(expected)
