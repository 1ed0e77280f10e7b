"""The catalog's shards: rows as they are written, and as they are read."""

import pytest

from etl.publish.catalog import (
    CatalogEntry,
    find_row,
    parse_rows,
    parse_shard,
    render_shard,
    row_lines,
)

THERE = CatalogEntry(
    "a-1", "index/1", 9, "blocks/1", 7, "c", {"Patient": 1}, "2026-01-01T00:00:00Z"
)
OTHER = CatalogEntry(
    "b.2", "index/2", 9, "blocks/2", 8, "d", {"Patient": 1}, "2026-01-02T00:00:00Z"
)
GONE = CatalogEntry("c", "index/3", 5, retracted="2026-01-03T00:00:00Z")


@pytest.mark.parametrize("units", [[THERE], [GONE, THERE], [OTHER, GONE, THERE]])
def test_rows_are_the_same_line_by_line_and_all_together(units):
    data = render_shard(0, 0, units)
    lines = row_lines(data)
    assert len(lines) == len(units)
    whole = sorted(parse_shard(data, "shard"), key=lambda unit: unit.id)
    assert sorted(parse_rows(lines, "shard"), key=lambda unit: unit.id) == whole
    assert whole == sorted(units, key=lambda unit: unit.id)
    for unit in units:
        assert find_row(data, unit.id, "shard") == unit


def test_no_lines_are_no_rows():
    assert parse_rows([], "shard") == []
