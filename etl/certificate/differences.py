"""Differences between published facts and their rows, explained by rules or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

MOST: Final = 1_000
"""Unexplained differences of a unit that are listed; the others are counted."""


@dataclass(frozen=True, slots=True)
class FactDifference:
    """A fact that is published otherwise than its row states it.

    Attributes:
        table: table of the row.
        file: index of its file; -1 where no row is known.
        row: number of the row.
        fact: which fact; an amount by level and category, such as `claim.benefit`.
        reason: the rule that left it out or derived it; empty where nothing explains it.
        cents: what is published less what the row states, of amounts; else 0.
    """

    table: str
    file: int
    row: int
    fact: str
    reason: str = ""
    cents: int = 0


@dataclass
class Differences:
    """The differences so far.

    Attributes:
        places: (file, row, column) of cells that a rule found something in -> the rule.
        explained: those with a reason.
        unexplained: the first `MOST` of the others.
        count: how many others there are.
        facts: how many facts were compared.
    """

    places: Mapping[tuple[int, int, str], str]
    explained: list[FactDifference] = field(default_factory=list)
    unexplained: list[FactDifference] = field(default_factory=list)
    count: int = 0
    facts: int = 0

    @classmethod
    def of(cls, findings: pa.Table) -> Differences:
        """Return no differences yet, of rows with these findings."""
        names = ("file", "row", "column", "rule")
        cells = zip(*(findings.column(name).to_pylist() for name in names), strict=True)
        return cls(
            {
                (file, row, column): rule
                for file, row, column, rule in cells
                if file is not None and row is not None and column
            }
        )

    def add(self, table: str, place: Any, fact: str, reason: str = "", cents: int = 0) -> None:
        """Note the difference of a fact of a row."""
        difference = FactDifference(table, int(place[0]), int(place[1]), fact, reason, cents)
        if reason:
            self.explained.append(difference)
            return
        self.count += 1
        if len(self.unexplained) < MOST:
            self.unexplained.append(difference)

    def rule(self, place: Any, column: str) -> str:
        """Return the rule that found something in a cell; empty for none."""
        return self.places.get((int(place[0]), int(place[1]), column), "")
