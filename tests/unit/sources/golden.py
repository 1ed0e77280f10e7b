"""Canonical rows as the golden cases of layouts have them written down."""

import os

from etl.cli.layout_samples import canonical_rows, rows_text


def as_text(parts):
    """Every canonical row and every finding, one a line."""
    return rows_text(canonical_rows(parts))


def assert_written_down(parts, folder):
    """Check that rows are those that a person has read; their order is that of one partition.

    WRITE_GOLDEN=1 writes the rows of one partition anew.
    """
    got, expected = as_text(parts), folder / "expected.ndjson"
    in_order = list if parts.facts.count == 1 else sorted
    if os.environ.get("WRITE_GOLDEN") == "1" and parts.facts.count == 1:
        expected.write_text(got, encoding="utf-8")
    assert in_order(got.splitlines()) == in_order(expected.read_text("utf-8").splitlines())
