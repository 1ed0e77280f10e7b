"""Sums of claims' amounts, by dimension: exact cents, and how many claims."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.certificate.published import ABSENT, CATEGORIES, NO_CENTS, PublishedClaims

LEVELS: Final = ("claim", "claim_line")
COUNTED: Final = ("claim", "claim_line", "member", "coverage", "prior_auth", "prior_auth_line")
"""Tables with rows that are counted in the bytes: EOBs, items, Patients, Coverages."""
JOINT: Final = ("type", "payer", "plan")
"""Dimensions that claims are counted by together: a plan is of one payer, a payer of one type."""

Cell: TypeAlias = tuple[str, str, str, str]
"""Dimension (type, plan, payer, month or status: each divides the same claims), its value, level,
category."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums of some claims.

    Attributes:
        money: cell -> cents, and how many claims have such an amount.
        claims: (dimension, value) -> how many claims.
        joint: a value of each dimension of `JOINT` -> how many claims.
        counts: table -> how many rows.
    """

    money: Mapping[Cell, tuple[int, int]] = field(default_factory=dict)
    claims: Mapping[tuple[str, str], int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    joint: Mapping[tuple[str, ...], int] = field(default_factory=dict)

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
            _added(self.joint, other.joint, sign),
        )

    def without_money(self) -> Sums:
        """Return the counts alone."""
        return Sums({}, self.claims, self.counts, self.joint)

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
            "joint": [[*key, count] for key, count in sorted(self.joint.items())],
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
            {tuple(values): count for *values, count in value["joint"]},
        )


def _added(mine: Mapping[Any, int], others: Mapping[Any, int], sign: int) -> dict[Any, int]:
    added = dict(mine)
    for key, count in others.items():
        added[key] = added.get(key, 0) + sign * count
    return {key: count for key, count in added.items() if count}


def published_sums(published: PublishedClaims) -> Sums:
    """Return the sums of some blocks."""
    texts = published.texts
    labels = {
        "type": texts["type"],
        "plan": texts["plan"],
        "payer": texts["insurer"],
        "month": pc.utf8_slice_codeunits(texts["start"], 0, 7),
        "status": texts["status"],
    }
    counts = {
        "claim": len(published),
        "claim_line": len(published.claims),
        "member": published.resources.get("Patient", 0),
        "coverage": published.resources.get("Coverage", 0),
    }
    if published.prior_auths:
        counts["prior_auth"] = len(published.prior_auths)
        counts["prior_auth_line"] = sum(len(one.lines) for _, one in published.prior_auths)
    return claim_sums(labels, published.totals, published.claims, published.lines, counts)


def claim_sums(
    labels: Mapping[str, pa.StringArray],
    headers: Any,
    claims: Any,
    lines: Any,
    counts: Mapping[str, int],
) -> Sums:
    """Return the sums of some claims.

    Args:
        labels: dimension -> its value for each claim.
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
            LEVELS, (headers, sums_by(claims, lines, len(headers))), strict=True
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
    together, numbers = np.unique(
        np.stack([codes[by][first] for by in JOINT], axis=1), axis=0, return_inverse=True
    )
    joint = {
        tuple(names[by][code] for by, code in zip(JOINT, values, strict=True)): count
        for values, count in zip(
            together.tolist(),
            _added_up(numbers.ravel(), sizes, len(together)).tolist(),
            strict=True,
        )
    }
    return Sums(money, of_claims, dict(counts), joint)


def _grouped(group: Any, size: int, cents: Any) -> tuple[Any, Any]:
    """Return sums of the claims of each group, and how many have such an amount.

    Two of numpy `int64`, shape (groups, categories).
    """
    claims, categories, amounts = amounts_of(cents)
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


def amounts_of(cents: Any) -> tuple[Any, Any, Any]:
    """Return claim, category and cents of each amount that a claim has: numpy `int64`."""
    claims, categories = entries_where(cents > NO_CENTS)
    return claims, categories, cents[claims, categories]


def entries_where(mask: Any) -> tuple[Any, Any]:
    """Return row and column of each true entry: `numpy.nonzero`, which is slow on two axes."""
    at, width = np.flatnonzero(mask), mask.shape[1]
    rows = at // width
    return rows, at - rows * width


def sums_by(owners: Any, amounts: Any, size: int) -> Any:
    """Return sums of rows by owner, -1 for no owner; `ABSENT` where there is nothing to add."""
    width = amounts.shape[1]
    rows, columns = entries_where((amounts > NO_CENTS) & (owners >= 0)[:, np.newaxis])
    at = owners[rows] * width + columns
    sums, some = np.zeros(size * width, dtype=np.int64), np.zeros(size * width, dtype=np.bool_)
    np.add.at(sums, at, amounts[rows, columns])
    some[at] = True
    sums[~some] = ABSENT
    return sums.reshape(size, width)
