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
"""Tables whose rows are counted in the bytes, as EOBs, items, Patients, and Coverages."""
JOINT: Final = ("type", "payer", "plan")
"""Dimensions by which claims are counted together."""

Cell: TypeAlias = tuple[str, str, str, str]
"""Dimension (type, plan, payer, month or status: each divides the same claims), its value, level,
category."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums of some claims.

    Attributes:
        money: cell -> cents, and number of claims that have such an amount.
        claims: (dimension, value) -> number of claims.
        counts: table -> number of rows.
        joint: values of the dimensions of `JOINT` -> number of claims.
    """

    money: Mapping[Cell, tuple[int, int]] = field(default_factory=dict)
    claims: Mapping[tuple[str, str], int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    joint: Mapping[tuple[str, ...], int] = field(default_factory=dict)

    def __add__(self, other: Sums) -> Sums:
        return self._add(other, 1)

    def __sub__(self, other: Sums) -> Sums:
        return self._add(other, -1)

    def _add(self, other: Sums, sign: int) -> Sums:
        """Add or subtract other sums."""
        money = dict(self.money)
        for cell, (cents, claims) in other.money.items():
            current = money.get(cell, (0, 0))
            money[cell] = (current[0] + sign * cents, current[1] + sign * claims)
        return Sums(
            {cell: amounts for cell, amounts in money.items() if amounts != (0, 0)},
            _add_counts(self.claims, other.claims, sign),
            _add_counts(self.counts, other.counts, sign),
            _add_counts(self.joint, other.joint, sign),
        )

    def without_money(self) -> Sums:
        """Return the counts alone."""
        return Sums({}, self.claims, self.counts, self.joint)

    def by_category(self, level: str) -> dict[str, int]:
        """Return the cents of a level by category, over all claim types."""
        categories: dict[str, int] = {}
        for (dimension, _, cell_level, category), (cents, _) in self.money.items():
            if dimension == "type" and cell_level == level:
                categories[category] = categories.get(category, 0) + cents
        return categories

    def to_json(self) -> dict[str, Any]:
        """Return the sums as plain values, sorted."""
        return {
            "money": [[*cell, *amounts] for cell, amounts in sorted(self.money.items())],
            "claims": [[*key, count] for key, count in sorted(self.claims.items())],
            "counts": dict(sorted(self.counts.items())),
            "joint": [[*key, count] for key, count in sorted(self.joint.items())],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Sums:
        """Restore sums from plain values."""
        return cls(
            {
                (dimension, name, level, category): (cents, claims)
                for dimension, name, level, category, cents, claims in value["money"]
            },
            {(dimension, name): count for dimension, name, count in value["claims"]},
            dict(value["counts"]),
            {tuple(values): count for *values, count in value["joint"]},
        )


def _add_counts(counts: Mapping[Any, int], added: Mapping[Any, int], sign: int) -> dict[Any, int]:
    result = dict(counts)
    for key, count in added.items():
        result[key] = result.get(key, 0) + sign * count
    return {key: count for key, count in result.items() if count}


def published_sums(published: PublishedClaims) -> Sums:
    """Return the sums of published claims."""
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
        counts["prior_auth_line"] = sum(
            len(prior_auth.lines) for _, prior_auth in published.prior_auths
        )
    return claim_sums(labels, published.totals, published.claims, published.lines, counts)


def claim_sums(
    labels: Mapping[str, pa.StringArray],
    headers: Any,
    claims: Any,
    lines: Any,
    counts: Mapping[str, int],
) -> Sums:
    """Sum claims' amounts by dimension.

    Args:
        labels: dimension -> its value for each claim.
        headers: cents of each claim, shape (claims, categories).
        claims: the claim of each line; -1 for none.
        lines: cents of each line, shape (lines, categories).
        counts: table -> number of rows.
    """
    # Claims with equal labels are summed first: there are fewer such groups than claims.
    names, codes, groups = {}, {}, np.zeros(len(headers), dtype=np.int64)
    for by, values in labels.items():
        encoded = values.dictionary_encode()
        names[by], codes[by] = (encoded.dictionary.to_pylist(), encoded.indices.to_numpy())
        groups = np.unique(groups * (len(names[by]) + 1) + codes[by], return_inverse=True)[1]
    sizes = np.bincount(groups)
    first = np.empty(len(sizes), dtype=np.int64)
    first[groups] = np.arange(len(groups))
    level_sums = [
        (level, *_sum_by_group(groups, len(sizes), cents))
        for level, cents in zip(
            LEVELS, (headers, sums_by(claims, lines, len(headers))), strict=True
        )
    ]
    money: dict[Cell, tuple[int, int]] = {}
    claims_by_value: dict[tuple[str, str], int] = {}
    for by, words in names.items():
        value_of = codes[by][first]
        for value, count in zip(
            words, _sum_by_index(value_of, sizes, len(words)).tolist(), strict=True
        ):
            claims_by_value[by, value] = count
        for level, cents, claim_counts in level_sums:
            sums, value_counts = (
                _sum_by_index(value_of, group_values, len(words))
                for group_values in (cents, claim_counts)
            )
            for index, category in zip(*entries_where(value_counts > 0), strict=True):
                cell = (by, words[index], level, CATEGORIES[category])
                money[cell] = (int(sums[index, category]), int(value_counts[index, category]))
    combinations, numbers = np.unique(
        np.stack([codes[by][first] for by in JOINT], axis=1), axis=0, return_inverse=True
    )
    joint = {
        tuple(names[by][code] for by, code in zip(JOINT, values, strict=True)): count
        for values, count in zip(
            combinations.tolist(),
            _sum_by_index(numbers.ravel(), sizes, len(combinations)).tolist(),
            strict=True,
        )
    }
    return Sums(money, claims_by_value, dict(counts), joint)


def _sum_by_group(group: Any, size: int, cents: Any) -> tuple[Any, Any]:
    """Return amounts by group and category, and how many claims have them.

    Two of numpy `int64`, shape (groups, categories).
    """
    claims, categories, amounts = amounts_of(cents)
    cells = group[claims] * len(CATEGORIES) + categories
    sums = np.zeros(size * len(CATEGORIES), dtype=np.int64)
    np.add.at(sums, cells, amounts)
    amount_counts = np.bincount(cells, minlength=len(sums))
    return sums.reshape(-1, len(CATEGORIES)), amount_counts.reshape(-1, len(CATEGORIES))


def _sum_by_index(indices: Any, numbers: Any, size: int) -> Any:
    """Sum the rows of numbers that share an index."""
    sums = np.zeros((size, *numbers.shape[1:]), dtype=np.int64)
    np.add.at(sums, indices, numbers)
    return sums


def amounts_of(cents: Any) -> tuple[Any, Any, Any]:
    """Return claim, category and cents of each stated amount: numpy `int64`."""
    claims, categories = entries_where(cents > NO_CENTS)
    return claims, categories, cents[claims, categories]


def entries_where(mask: Any) -> tuple[Any, Any]:
    """Return row and column of each true entry: `numpy.nonzero`, which is slow on two axes."""
    flat_indices, width = np.flatnonzero(mask), mask.shape[1]
    rows = flat_indices // width
    return rows, flat_indices - rows * width


def sums_by(owners: Any, amounts: Any, size: int) -> Any:
    """Sum rows by owner, -1 for no owner; `ABSENT` if nothing is added."""
    width = amounts.shape[1]
    rows, columns = entries_where((amounts > NO_CENTS) & (owners >= 0)[:, np.newaxis])
    cells = owners[rows] * width + columns
    sums, is_filled = np.zeros(size * width, dtype=np.int64), np.zeros(size * width, dtype=np.bool_)
    np.add.at(sums, cells, amounts[rows, columns])
    is_filled[cells] = True
    sums[~is_filled] = ABSENT
    return sums.reshape(size, width)
