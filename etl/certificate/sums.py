"""Sums of claims' amounts, by dimension: exact cents, and how many claims."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa

from etl.certificate.published import ABSENT, CATEGORIES, NO_CENTS

BY: Final = ("type", "plan", "payer", "month", "status")
"""Dimensions of the sums: each divides the same claims."""
LEVELS: Final = ("claim", "claim_line")
COUNTED: Final = ("claim", "claim_line", "member", "coverage")
"""Tables with rows that are counted in the bytes: EOBs, items, Patients, Coverages."""

Cell: TypeAlias = tuple[str, str, str, str]
"""Dimension, its value, level, category."""
FileCell: TypeAlias = tuple[int, str, str]
"""Index of a file of the extract, -1 where no row is known; level, category."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums of some claims.

    Attributes:
        money: cell -> cents, and how many claims have such an amount.
        claims: (by, value) -> how many claims.
        counts: table -> how many rows.
    """

    money: Mapping[Cell, tuple[int, int]] = field(default_factory=dict)
    claims: Mapping[tuple[str, str], int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Sums) -> Sums:
        return self._joined(other, 1)

    def __sub__(self, other: Sums) -> Sums:
        return self._joined(other, -1)

    def _joined(self, other: Sums, sign: int) -> Sums:
        money = dict(self.money)
        for cell, (cents, claims) in other.money.items():
            added = money.get(cell, (0, 0))
            money[cell] = (added[0] + sign * cents, added[1] + sign * claims)
        return Sums(
            {cell: each for cell, each in money.items() if each != (0, 0)},
            _added(self.claims, other.claims, sign),
            _added(self.counts, other.counts, sign),
        )

    def without_money(self) -> Sums:
        """Return the counts alone."""
        return Sums({}, self.claims, self.counts)

    def by_category(self, level: str) -> dict[str, int]:
        """Return the cents of a level by category, over all types of claims."""
        categories: dict[str, int] = {}
        for (by, _, of, category), (cents, _) in self.money.items():
            if by == "type" and of == level:
                categories[category] = categories.get(category, 0) + cents
        return categories

    def to_json(self) -> dict[str, Any]:
        """Return them as plain values, in an order of their own."""
        return {
            "money": [[*cell, *each] for cell, each in sorted(self.money.items())],
            "claims": [[*key, count] for key, count in sorted(self.claims.items())],
            "counts": dict(sorted(self.counts.items())),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Sums:
        """Return the sums of plain values."""
        return cls(
            {
                (by, name, level, category): (cents, claims)
                for by, name, level, category, cents, claims in value["money"]
            },
            {(by, name): count for by, name, count in value["claims"]},
            dict(value["counts"]),
        )


@dataclass(frozen=True, slots=True)
class FileSum:
    """Sum of the amounts that rows of one file brought, in cents.

    Attributes:
        source: what the rows state.
        explained: what is published less what they state, where a reason is known.
        published: what is published of these rows.
        claims: how many published claims have such an amount.
        differences: how many differences `explained` is made of.
    """

    source: int = 0
    explained: int = 0
    published: int = 0
    claims: int = 0
    differences: int = 0

    def __add__(self, other: FileSum) -> FileSum:
        return FileSum(
            self.source + other.source,
            self.explained + other.explained,
            self.published + other.published,
            self.claims + other.claims,
            self.differences + other.differences,
        )

    @property
    def holds(self) -> bool:
        """Whether the published amounts are those of the rows, or explained."""
        return self.source + self.explained == self.published


def sums_by_file(files: Any, claims: Any, cents: Any) -> dict[tuple[int, str], tuple[int, int]]:
    """Return (file, category) -> cents, and how many claims have such an amount.

    Args:
        files: numpy `int64`, shape (rows, categories): the file of each amount.
        claims: the claim of each row; rows of -1 are left out.
        cents: of each row, shape (rows, categories).
    """
    rows, categories, amounts = _amounts(cents)
    owners, known = claims[rows], claims[rows] >= 0
    of, size = files[rows, categories], int(claims.max(initial=-1)) + 1
    sums = {}
    for file in (np.flatnonzero(np.bincount(of + 1)) - 1).tolist():
        of_file = known & (of == file)
        at = categories[of_file]
        totals = np.zeros(len(CATEGORIES), dtype=np.int64)
        np.add.at(totals, at, amounts[of_file])
        some = np.zeros((len(CATEGORIES), size), dtype=np.bool_)
        some[at, owners[of_file]] = True
        for category in np.flatnonzero(some.any(axis=1)).tolist():
            count = int(np.count_nonzero(some[category]))
            sums[file, CATEGORIES[category]] = (int(totals[category]), count)
    return sums


def _added(mine: Mapping[Any, int], others: Mapping[Any, int], sign: int) -> dict[Any, int]:
    added = dict(mine)
    for key, count in others.items():
        added[key] = added.get(key, 0) + sign * count
    return {key: count for key, count in added.items() if count}


def claim_sums(
    labels: Mapping[str, pa.StringArray],
    headers: Any,
    claims: Any,
    lines: Any,
    counts: Mapping[str, int],
) -> Sums:
    """Return the sums of some claims.

    Args:
        labels: one of `BY` -> its value for each claim.
        headers: cents of each claim, shape (claims, categories).
        claims: the claim of each line; -1 for none.
        lines: cents of each line, shape (lines, categories).
        counts: table -> how many rows.
    """
    # Claims with equal labels are summed first: those sums are fewer than claims.
    names, codes, group = {}, {}, np.zeros(len(headers), dtype=np.int64)
    for by, values in labels.items():
        found = values.dictionary_encode()
        names[by], codes[by] = found.dictionary.to_pylist(), found.indices.to_numpy()
        group = np.unique(group * (len(names[by]) + 1) + codes[by], return_inverse=True)[1]
    sizes = np.bincount(group)
    first = np.empty(len(sizes), dtype=np.int64)
    first[group] = np.arange(len(group))
    parts = [
        (level, *_grouped(group, len(sizes), cents))
        for level, cents in zip(
            LEVELS, (headers, _by_claim(claims, lines, len(headers))), strict=True
        )
    ]
    money: dict[Cell, tuple[int, int]] = {}
    of_claims: dict[tuple[str, str], int] = {}
    for by, words in names.items():
        of = codes[by][first]
        for name, count in zip(words, _added_up(of, sizes, len(words)).tolist(), strict=True):
            of_claims[by, name] = count
        for level, cents, some in parts:
            sums, counted = (_added_up(of, each, len(words)) for each in (cents, some))
            for at, category in zip(*entries_where(counted > 0), strict=True):
                cell = (by, words[at], level, CATEGORIES[category])
                money[cell] = (int(sums[at, category]), int(counted[at, category]))
    return Sums(money, of_claims, dict(counts))


def _grouped(group: Any, size: int, cents: Any) -> tuple[Any, Any]:
    """Return sums of the claims of each group, and how many have such an amount.

    Two of numpy `int64`, shape (groups, categories).
    """
    claims, categories, amounts = _amounts(cents)
    at = group[claims] * len(CATEGORIES) + categories
    sums = np.zeros(size * len(CATEGORIES), dtype=np.int64)
    np.add.at(sums, at, amounts)
    some = np.bincount(at, minlength=len(sums))
    return sums.reshape(-1, len(CATEGORIES)), some.reshape(-1, len(CATEGORIES))


def _added_up(of: Any, numbers: Any, size: int) -> Any:
    """Return the sums of rows of numbers with the same place in the result."""
    sums = np.zeros((size, *numbers.shape[1:]), dtype=np.int64)
    np.add.at(sums, of, numbers)
    return sums


def _amounts(cents: Any) -> tuple[Any, Any, Any]:
    """Return claim, category and cents of each amount that a claim has: numpy `int64`."""
    claims, categories = entries_where(cents > NO_CENTS)
    return claims, categories, cents[claims, categories]


def entries_where(mask: Any) -> tuple[Any, Any]:
    """Return row and column of each true entry: `numpy.nonzero`, which is slow on two axes."""
    at, width = np.flatnonzero(mask), mask.shape[1]
    rows = at // width
    return rows, at - rows * width


def _by_claim(claims: Any, lines: Any, size: int) -> Any:
    """Return the sums of lines by their claims; `ABSENT` where there is nothing to add."""
    rows, categories, cents = _amounts(lines)
    known = claims[rows] >= 0
    at = (claims[rows] * len(CATEGORIES) + categories)[known]
    sums, some = np.zeros(size * len(CATEGORIES), np.int64), np.zeros(size * len(CATEGORIES), bool)
    np.add.at(sums, at, cents[known])
    some[at] = True
    sums[~some] = ABSENT
    return sums.reshape(size, len(CATEGORIES))
