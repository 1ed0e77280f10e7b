"""Money by claim type and amount category: what came in, what goes out, and what stays behind.

The source is summed as 64-bit cents over the rows as they were read; the published side as Arrow
decimals over the accepted tables. Two ways that share no code, so that their agreement means
something.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.numbers import exact_sum
from etl.model.canonical_tables import AMOUNT_CATEGORIES, CLAIM_TYPES
from etl.quality.checks.cascade import Rejections
from etl.quality.checks.frames import Work

UNKNOWN_TYPE: Final = "unknown"
"""Claim type of rows whose claim has none that is known, or is not there."""

LEVELS: Final = ("claim", "claim_line")
_EXACT: Final = pa.decimal128(38, 2)


@dataclass(frozen=True, slots=True)
class MoneyKey:
    """One cell of the table of money.

    Attributes:
        level: `claim` (the header's amounts) or `claim_line`.
        claim_type: one of `CLAIM_TYPES`, or `unknown`.
        category: of `AMOUNT_CATEGORIES`.
    """

    level: str
    claim_type: str
    category: str


@dataclass(frozen=True, slots=True)
class MoneyTotals:
    """Sums of one cell, in cents of whatever currency the claims are in.

    Attributes:
        source: over all rows whose amount could be read.
        published: over accepted rows.
        quarantined: over rejected rows.
        superseded: over superseded rows.
        net: over accepted rows of the claims that count: of a chain of adjustments one, or none
            where it ends in a void. It is a part of `published`, and in no sum with the others.
        published_claims, quarantined_claims, superseded_claims, net_claims: how many claims have
            an amount in that sum.
    """

    source: int = 0
    published: int = 0
    quarantined: int = 0
    superseded: int = 0
    net: int = 0
    published_claims: int = 0
    quarantined_claims: int = 0
    superseded_claims: int = 0
    net_claims: int = 0

    def __add__(self, other: MoneyTotals) -> MoneyTotals:
        return MoneyTotals(
            self.source + other.source,
            self.published + other.published,
            self.quarantined + other.quarantined,
            self.superseded + other.superseded,
            self.net + other.net,
            self.published_claims + other.published_claims,
            self.quarantined_claims + other.quarantined_claims,
            self.superseded_claims + other.superseded_claims,
            self.net_claims + other.net_claims,
        )

    @property
    def adds_up(self) -> bool:
        """Whether no cent was lost."""
        return self.source == self.published + self.quarantined + self.superseded


def add_money(parts: Iterable[Mapping[MoneyKey, MoneyTotals]]) -> dict[MoneyKey, MoneyTotals]:
    """Return the totals of partitions, in the order of the canonical tables."""
    totals: dict[MoneyKey, MoneyTotals] = {}
    for part in parts:
        for key, each in part.items():
            totals[key] = totals.get(key, MoneyTotals()) + each
    return dict(sorted(totals.items(), key=lambda entry: _order(entry[0])))


def _order(key: MoneyKey) -> tuple[int, int, int]:
    types = (*CLAIM_TYPES, UNKNOWN_TYPE)
    return (
        LEVELS.index(key.level),
        types.index(key.claim_type),
        AMOUNT_CATEGORIES.index(key.category),
    )


@dataclass(frozen=True, slots=True)
class ClaimsOfRows:
    """Which claim each row of a level belongs to, and what becomes of the row.

    Attributes:
        claims: numpy `int64`, shape (rows,): number of the claim.
        types: numpy `int64`, shape (claims,): place of its type, as `type_codes`.
        fates: numpy `bool`, shape (rows,) each: published, quarantined, superseded, net.
    """

    claims: Any
    types: Any
    fates: tuple[Any, Any, Any, Any]

    def among(self, rows: Any) -> tuple[Any, ...]:
        """Return the numbers of the claims that some rows belong to, for each fate."""
        found = []
        for fate in self.fates:
            there = np.zeros(len(self.types), dtype=bool)
            there[self.claims[rows & fate]] = True
            found.append(np.flatnonzero(there))
        return tuple(found)


def claims_of_rows(
    work: Work, level: str, rejected: Mapping[str, Rejections], counted: Any
) -> ClaimsOfRows:
    """Return the claims behind the rows of a level.

    Rows with one claim id are one claim, however often it was sent; of two members, they are two.
    """
    frame, types = work.frames[level], type_codes(work, level)
    ids = frame.cells("claim_id")
    numbers = ids.codes.astype(np.int64) + 1
    size = len(ids.words) + 1
    if level == "claim":
        members = frame.cells("member_id").codes.astype(np.int64) + 1
        keys = (members * size + numbers) * (len(CLAIM_TYPES) + 1) + types
        _, first, numbers = np.unique(keys, return_index=True, return_inverse=True)
        of_claims = types[first]
    else:
        of_claims = np.full(size, len(CLAIM_TYPES), dtype=np.int64)
        of_claims[numbers] = types
    gone, old = rejected[level].rows & ~frame.superseded, frame.superseded
    kept = ~(rejected[level].rows | old)
    net = kept if counted is None else kept & _counting(work, level, rejected, counted)
    return ClaimsOfRows(numbers, of_claims, (kept, gone, old, net))


def _counting(work: Work, level: str, rejected: Mapping[str, Rejections], counted: Any) -> Any:
    """Return which rows are of accepted claims that count."""
    claims = work.frames["claim"]
    counting = np.zeros(claims.count, dtype=bool)
    counting[~(rejected["claim"].rows | claims.superseded)] = counted
    if level == "claim":
        return counting
    return np.append(counting, False)[work.above(work.frames[level], "claim")]


def money_totals(
    work: Work,
    rejected: Mapping[str, Rejections],
    accepted: Mapping[str, pa.Table],
    counted: Any = None,
) -> dict[MoneyKey, MoneyTotals]:
    """Return the money of one partition; only cells in which some amount stands.

    Args:
        work: the partition, checked.
        rejected: rejected rows of every table.
        accepted: accepted rows of every table.
        counted: numpy `bool`, shape (accepted claims,): whose money is net; None for all.
    """
    totals: dict[MoneyKey, MoneyTotals] = {}
    published = _published(accepted)
    everything = counted is None or bool(counted.all())
    net = published if everything else _published(of_counted(accepted, counted))
    types = np.array([*CLAIM_TYPES, UNKNOWN_TYPE])
    for level in LEVELS:
        frame = work.frames[level]
        codes = type_codes(work, level)
        behind = claims_of_rows(work, level, rejected, counted)
        _, gone, old, _ = behind.fates
        for category in AMOUNT_CATEGORIES:
            column = f"amount_{category}"
            if frame.cells(column).empty:
                continue
            cents, filled = frame.cents(column), frame.filled(column)
            present = np.bincount(codes[filled], minlength=len(types))
            claims = [
                np.bincount(behind.types[each], minlength=len(types)).tolist()
                for each in behind.among(filled)
            ]
            for code in np.flatnonzero(present).tolist():
                here = filled & (codes == code)
                key = MoneyKey(level, str(types[code]), category)
                totals[key] = MoneyTotals(
                    exact_sum(cents[here]),
                    published.get(key, 0),
                    exact_sum(cents[here & gone]),
                    exact_sum(cents[here & old]),
                    net.get(key, 0),
                    *(each[code] for each in claims),
                )
    for key in published.keys() - totals.keys():  # would be a bug; let it show as one
        totals[key] = MoneyTotals(published=published[key])
    return totals


def of_counted(accepted: Mapping[str, pa.Table], counted: Any) -> dict[str, pa.Table]:
    """Return claims and lines of the claims that count."""
    claims = accepted["claim"].filter(pa.array(counted))
    lines = accepted["claim_line"]
    mine = pc.is_in(lines.column("claim_id"), value_set=claims.column("claim_id").combine_chunks())
    return {"claim": claims, "claim_line": lines.filter(mine)}


def type_codes(work: Work, level: str) -> Any:
    """Return the place of each row's claim type in `CLAIM_TYPES`; one past the end if unknown."""
    claims = work.frames["claim"]
    cells = claims.cells("claim_type")
    index = pc.index_in(cells.words, value_set=pa.array(CLAIM_TYPES, pa.string()))
    unknown = len(CLAIM_TYPES)
    codes = cells.spread(pc.fill_null(index, unknown).to_numpy(zero_copy_only=False), unknown)
    if level == "claim":
        return codes
    return np.append(codes, unknown)[work.above(work.frames[level], "claim")]


def _published(accepted: Mapping[str, pa.Table]) -> dict[MoneyKey, int]:
    found: dict[MoneyKey, int] = {}
    claims = accepted["claim"]
    for level in LEVELS:
        table = accepted[level]
        columns = [
            category
            for category in AMOUNT_CATEGORIES
            if table.column(f"amount_{category}").null_count < table.num_rows
        ]
        if not columns:
            continue
        types = claims.column("claim_type")
        if level == "claim_line":
            at = pc.index_in(table.column("claim_id"), value_set=claims.column("claim_id"))
            types = types.take(at)
        for word in pc.unique(types).to_pylist():
            here = pc.fill_null(pc.equal(types, word), False) if word else pc.is_null(types)
            claim_type = word if word in CLAIM_TYPES else UNKNOWN_TYPE
            for category in columns:
                texts = table.column(f"amount_{category}").filter(here)
                if texts.null_count == len(texts):
                    continue
                total = pc.sum(pc.cast(texts, _EXACT)).as_py()
                key = MoneyKey(level, claim_type, category)
                found[key] = found.get(key, 0) + int(total * 100)
    return found
