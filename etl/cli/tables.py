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
