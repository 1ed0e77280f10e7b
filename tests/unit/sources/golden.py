"""Canonical rows as the golden cases of layouts have them written down."""

from etl.cli.layout_samples import canonical_rows, rows_text


def as_text(parts):
    """Every canonical row and every finding, one a line."""
    return rows_text(canonical_rows(parts))
