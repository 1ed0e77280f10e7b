"""Filled cells by claim type and month: each accepted row counts once, under its claim's type."""

from collections import Counter

import numpy as np

from etl.columns.places import places_of
from etl.quality.totals.counts import SERVICE_COLUMN, FilledKey, add_filled, filled_cells
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


def test_the_parts_of_all_owners_add_up_to_the_whole():
    accepted = run(world()).tables
    whole = run(world()).filled

    def by_row(files, rows):
        del files
        return np.asarray(rows) % 3

    parts: list[dict[FilledKey, int]] = [{}, {}, {}]
    for each in filled_cells(accepted, by_row, 3):
        for owner, claim_type, month, count in np.column_stack(
            [each.owner, each.claim_type, each.month, each.counts]
        ).tolist():
            key = FilledKey(each.table, each.types[claim_type], each.column, each.months[month])
            assert key not in parts[owner]
            parts[owner][key] = count
    assert add_filled(parts) == dict(sorted(whole.items()))
    assert all(parts)
    assert sum(len(places_of(table)[0]) for table in accepted.values())
