"""Tables for people."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from etl.quality import RowCounts


def show(table: Table) -> None:
    """Print a table."""
    Console(highlight=False).print(table)


def new_table(title: str, *columns: str) -> Table:
    """Return an empty table; the first column is text, the others numbers."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def rows_table(counts: Mapping[str, RowCounts]) -> Table:
    """Return what became of the rows of each table."""
    table = new_table("", "rows", "in", "published", "quarantined", "superseded")
    for name, each in counts.items():
        if each.rows_in:
            numbers = (each.rows_in, each.published, each.quarantined, each.superseded)
            table.add_row(name, *(f"{number:,}" for number in numbers))
    return table


def resources_table(resources: Mapping[str, int]) -> Table:
    """Return how many resources of each type there are."""
    table = new_table("", "resources", "count")
    for name, count in resources.items():
        table.add_row(name, f"{count:,}")
    return table


def counts_of(counts: Mapping[str, RowCounts]) -> dict[str, dict[str, int]]:
    """Return what became of the rows of each table, for JSON."""
    return {
        table: {
            "in": each.rows_in,
            "published": each.published,
            "quarantined": each.quarantined,
            "superseded": each.superseded,
        }
        for table, each in counts.items()
        if each.rows_in
    }
