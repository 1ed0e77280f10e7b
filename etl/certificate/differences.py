"""Differences between published facts and their rows, and the sums of amounts by file."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa

from etl.certificate.published import CATEGORIES, PublishedClaims
from etl.certificate.source import ADJUSTED, SourceClaims, find_pairs
from etl.certificate.sums import LEVELS, amounts_of

MAX_LISTED: Final = 1_000
"""Unexplained differences of a task that are listed; the others are only counted."""
NO_MONEY: Final = "amount in a view without money"
"""Fact of an amount that readers of a view must not see."""
_EXPOSING_FACTS: Final = frozenset({"member", "without a row", NO_MONEY})
"""Facts whose differences would show somebody what isn't theirs."""


@dataclass(frozen=True, slots=True)
class FactDifference:
    """A published fact that differs from its row.

    Attributes:
        table: table of the row.
        file: index of its file; -1 if no row is known.
        row: number of the row.
        fact: name of the fact; for amounts, level and category, such as `claim.benefit`.
        reason: the rule that left it out or derived it; empty if nothing explains it.
        cents: for amounts, the published amount minus the row's; else 0.
    """

    table: str
    file: int
    row: int
    fact: str
    reason: str = ""
    cents: int = 0


@dataclass
class Differences:
    """The differences found so far.

    Attributes:
        rules: (file, row, column) of cells with findings -> the rule.
        explained: differences with a reason.
        unexplained: the first `MAX_LISTED` of the others.
        count: number of the others.
        exposing: number of unexplained differences that would show somebody what isn't theirs.
        facts: number of compared facts.
    """

    rules: Mapping[tuple[int, int, str], str]
    explained: list[FactDifference] = field(default_factory=list)
    unexplained: list[FactDifference] = field(default_factory=list)
    count: int = 0
    exposing: int = 0
    facts: int = 0

    @classmethod
    def from_findings(cls, findings: pa.Table) -> Differences:
        """Return an empty list of differences for rows with these findings."""
        names = ("file", "row", "column", "rule")
        cells = zip(*(findings.column(name).to_pylist() for name in names), strict=True)
        return cls(
            {
                (file, row, column): rule
                for file, row, column, rule in cells
                if file is not None and row is not None and column
            }
        )

    def add(self, table: str, position: Any, name: str, reason: str = "", cents: int = 0) -> None:
        """Record a difference between a row and its published fact."""
        difference = FactDifference(table, int(position[0]), int(position[1]), name, reason, cents)
        if reason:
            self.explained.append(difference)
            return
        self.count += 1
        self.exposing += name in _EXPOSING_FACTS
        if len(self.unexplained) < MAX_LISTED:
            self.unexplained.append(difference)

    def rule(self, position: Any, column: str) -> str:
        """Return the rule that has a finding in a cell; empty for none."""
        return self.rules.get((int(position[0]), int(position[1]), column), "")


FileCell: TypeAlias = tuple[int, str, str]
"""Index of a file of the extract, -1 where no row is known; level, category."""


@dataclass(frozen=True, slots=True)
class FileSum:
    """Sum of the amounts that the rows of one file contributed, in cents.

    Attributes:
        source: amounts that the rows state.
        explained: sum of the explained differences: published minus stated.
        published: published amounts of these rows.
        claims: number of published claims that have such an amount.
        differences: number of differences in `explained`.
    """

    source: int = 0
    explained: int = 0
    published: int = 0
    claims: int = 0
    differences: int = 0

    def __add__(self, other: FileSum) -> FileSum:
        return FileSum(*map(operator.add, astuple(self), astuple(other)))

    @property
    def holds(self) -> bool:
        """Whether the published amounts are those of the rows, except for explained differences."""
        return self.source + self.explained == self.published


def file_sums(
    source: SourceClaims,
    published: PublishedClaims,
    matched_rows: tuple[Any, Any],
    line_cents: Any,
    explained: Iterable[FactDifference],
) -> dict[FileCell, FileSum]:
    """Sum amounts by the file whose row contributed them.

    Args:
        source: the rows.
        published: the bytes.
        matched_rows: rows of the claims and of the items that are published; -1 for none.
        line_cents: amounts of the lines, with those that rows of other tables add to them.
        explained: differences with a reason.
    """
    sums: dict[FileCell, FileSum] = {}

    def add(cell: FileCell, amount: FileSum) -> None:
        sums[cell] = sums.get(cell, FileSum()) + amount

    source_amounts = (
        (source.claim_files, np.arange(len(source.claims)), source.stated),
        (source.line_files, source.line_claims, line_cents),
    )
    published_amounts = (
        (np.arange(len(published)), published.totals),
        (published.claims, published.lines),
    )
    for level, (files, claims, cents), rows, (owners, amounts) in zip(
        LEVELS, source_amounts, matched_rows, published_amounts, strict=True
    ):
        for (file, category), (total, _) in _sums_by_file(files, claims, cents).items():
            add((file, level, category), FileSum(source=total))
        # Row -1, for what is published without a row, has no file.
        files_of = np.concatenate([files, np.full((1, len(CATEGORIES)), -1, dtype=np.int64)])[rows]
        for (file, category), (total, count) in _sums_by_file(files_of, owners, amounts).items():
            add((file, level, category), FileSum(published=total, claims=count))
    amount_differences = [
        (difference, level, category)
        for difference in explained
        for level, _, category in [difference.fact.partition(".")]
        if difference.cents and level in LEVELS
    ]
    files = _files_of_differences(source, [difference for difference, _, _ in amount_differences])
    for (difference, level, category), file in zip(amount_differences, files, strict=True):
        add((file, level, category), FileSum(explained=difference.cents, differences=1))
    return sums


def _files_of_differences(source: SourceClaims, differences: Sequence[FactDifference]) -> list[int]:
    """Return the file whose sums count each difference.

    It is the file of the row, except for adjustments: all those of one line are counted under
    the file of the first of them (`SourceClaims.line_files`).
    """
    positions = np.array([(change.file, change.row) for change in differences], dtype=np.int64)
    rows = find_pairs(positions.reshape(-1, 2), source.adjustments.positions)
    return [
        int(source.line_files[source.adjustment_lines[row], ADJUSTED])
        if difference.table == "claim_adjustment" and source.adjustment_lines[row] >= 0
        else difference.file
        for difference, row in zip(differences, rows.tolist(), strict=True)
    ]


def _sums_by_file(files: Any, claims: Any, cents: Any) -> dict[tuple[int, str], tuple[int, int]]:
    """Return (file, category) -> cents, and how many claims have such an amount.

    Args:
        files: numpy `int64`, shape (rows, categories): the file of each amount.
        claims: the claim of each row; rows of -1 are left out.
        cents: of each row, shape (rows, categories).
    """
    rows, categories, amounts = amounts_of(cents)
    owners, has_owner = claims[rows], claims[rows] >= 0
    amount_files, size = files[rows, categories], int(claims.max(initial=-1)) + 1
    sums = {}
    for file in (np.flatnonzero(np.bincount(amount_files + 1)) - 1).tolist():
        is_in_file = has_owner & (amount_files == file)
        file_categories = categories[is_in_file]
        totals = np.zeros(len(CATEGORIES), dtype=np.int64)
        np.add.at(totals, file_categories, amounts[is_in_file])
        has_amount = np.zeros((len(CATEGORIES), size), dtype=np.bool_)
        has_amount[file_categories, owners[is_in_file]] = True
        for category in np.flatnonzero(has_amount.any(axis=1)).tolist():
            count = int(np.count_nonzero(has_amount[category]))
            sums[file, CATEGORIES[category]] = (int(totals[category]), count)
    return sums
