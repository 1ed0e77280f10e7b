"""Counts that must add up by table: in = published + quarantined + superseded + withdrawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


class CountsDoNotAddUp(AssertionError):
    """Rows were lost or made by the program itself: a bug, never the data's fault."""


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Counts of the rows of one table, by fate.

    Attributes:
        rows_in: rows that the extract holds.
        published: rows that were accepted.
        quarantined: rows that were rejected.
        superseded: rows replaced by another row with their key.
        withdrawn: rows of a directory that are not in force, or depend on one that is not.
    """

    rows_in: int = 0
    published: int = 0
    quarantined: int = 0
    superseded: int = 0
    withdrawn: int = 0

    def __add__(self, other: RowCounts) -> RowCounts:
        return RowCounts(
            self.rows_in + other.rows_in,
            self.published + other.published,
            self.quarantined + other.quarantined,
            self.superseded + other.superseded,
            self.withdrawn + other.withdrawn,
        )

    @property
    def adds_up(self) -> bool:
        """Whether no row was lost or counted twice."""
        fates = (self.published, self.quarantined, self.superseded, self.withdrawn)
        return self.rows_in == sum(fates)


def add_counts(parts: Iterable[Mapping[str, RowCounts]]) -> dict[str, RowCounts]:
    """Return the totals of partitions, table by table."""
    totals: dict[str, RowCounts] = {}
    for part in parts:
        for table, counts in part.items():
            totals[table] = totals.get(table, RowCounts()) + counts
    return totals


def reconcile(counts: Mapping[str, RowCounts], causes: Iterable[int] | None = None) -> None:
    """Check that no row was lost, and that every row in quarantine has a rule that put it there.

    Args:
        counts: table -> counts of its rows, by fate.
        causes: of each rule, rows in quarantine for which it began the chain; None to check rows
            alone.

    Raises:
        CountsDoNotAddUp: naming the table and its counts, or both sums.
    """
    for table, rows in counts.items():
        if not rows.adds_up:
            raise CountsDoNotAddUp(
                f"table {table}: {rows.rows_in} rows in, but {rows.published} published, "
                f"{rows.quarantined} quarantined, {rows.superseded} superseded and "
                f"{rows.withdrawn} withdrawn"
            )
    quarantined = sum(rows.quarantined for rows in counts.values())
    put = quarantined if causes is None else sum(causes)
    if put != quarantined:
        raise CountsDoNotAddUp(f"{quarantined} rows are in quarantine, but rules put {put} there")
