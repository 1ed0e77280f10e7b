"""Money by claim type and amount category: what came in, what goes out, and what stays behind.

The source is summed over the rows as they were read, in cents that `columns.numbers` makes of their
text; the published side over the accepted tables, with text that Arrow reads as decimals. The two
sides read amounts and find claim types independently, so that their agreement means something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import as_array
from etl.columns.places import places_of
from etl.model.canonical_tables import AMOUNT_CATEGORIES, CLAIM_TYPES
from etl.quality.checks.cascade import DecidedRows
from etl.quality.checks.frames import Work

UNKNOWN_TYPE: Final = "unknown"
"""Claim type of rows without a claim, or with a claim of no known type."""

LEVELS: Final = ("claim", "claim_line")
MONEY_TYPES: Final = (*CLAIM_TYPES, UNKNOWN_TYPE)
_LARGEST: Final = 2**63

OwnerOf: TypeAlias = Callable[[Any, Any], Any]
"""Takes numpy arrays of files and rows, gives each row's owner, from 0."""


def one_owner(files: Any, rows: Any) -> Any:
    """Return the one owner, 0, of all rows: for totals that are not divided."""
    del files
    return np.zeros(len(rows), dtype=np.int64)


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
        source: over all rows with an amount that could be read.
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
    return (
        LEVELS.index(key.level),
        MONEY_TYPES.index(key.claim_type),
        AMOUNT_CATEGORIES.index(key.category),
    )


@dataclass(frozen=True, slots=True)
class ClaimsOfRows:
    """Claim of each row of a level, and the row's fate.

    Attributes:
        claims: numpy `int64`, shape (rows,): number of the claim.
        types: numpy `int64`, shape (claims,): place of its type in `MONEY_TYPES`.
        fates: numpy `bool`, shape (rows,) each: published, quarantined, superseded, net.
    """

    claims: Any
    types: Any
    fates: tuple[Any, Any, Any, Any]

    def among(self, rows: Any) -> tuple[Any, ...]:
        """Return the numbers of the claims that some rows belong to, for each fate."""
        codes = []
        for fate in self.fates:
            there = np.zeros(len(self.types), dtype=bool)
            there[self.claims[rows & fate]] = True
            codes.append(np.flatnonzero(there))
        return tuple(codes)


def _claims_of_rows(decided: DecidedRows, level: str) -> ClaimsOfRows:
    """Return the claims behind the rows of a level.

    Rows with one claim id are one claim, however often it was sent; of two members, they are two.
    """
    work, rejected = decided.work, decided.rejected[level]
    frame, types = work.frames[level], _type_codes(work, level)
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
    gone, old = rejected.rows & ~frame.superseded, frame.superseded
    kept = ~(rejected.rows | old)
    net = kept if decided.counted is None else kept & _counting(decided, level)
    return ClaimsOfRows(numbers, of_claims, (kept, gone, old, net))


def _counting(decided: DecidedRows, level: str) -> Any:
    """Return which rows are of accepted claims that count."""
    work = decided.work
    claims = work.frames["claim"]
    counting = np.zeros(claims.count, dtype=bool)
    counting[~(decided.rejected["claim"].rows | claims.superseded)] = decided.counted
    if level == "claim":
        return counting
    return np.append(counting, False)[work.parents(work.frames[level], "claim")]


@dataclass(frozen=True, slots=True)
class AmountSums:
    """Sums of one category of amounts on one level, by a key of the rows.

    Attributes:
        level, category: as `MoneyKey`.
        sums: source, published, quarantined, superseded and net cents: numpy `int64`, shape
            (keys,) each; Python integers in it (`object`) where 64 bits might not hold them.
        claims: published, quarantined, superseded and net: how many claims have an amount; numpy
            `int64`, shape (keys,) each.
        present: numpy `bool`, shape (keys,): where there is anything.
    """

    level: str
    category: str
    sums: tuple[Any, ...]
    claims: tuple[Any, ...]
    present: Any


def amount_sums(decided: DecidedRows, owner_of: OwnerOf, owners: int) -> Iterator[AmountSums]:
    """Yield the sums of a partition's amounts by owner and claim type.

    The key of a sum is owner * `len(MONEY_TYPES)` + claim type; categories without an amount are
    left out.

    Args:
        decided: the rows.
        owner_of: takes numpy arrays of files and rows, gives each row's owner, from 0.
        owners: how many owners there are.
    """
    size, everything = owners * len(MONEY_TYPES), decided.counted is None or decided.counted.all()
    accepted = decided.accepted
    net = accepted if everything else _of_counted(accepted, decided.counted)
    for level in (level for level in LEVELS if level in decided.work.frames):
        frame = decided.work.frames[level]
        owned = owner_of(frame.files, frame.rows)
        keys = owned * len(MONEY_TYPES) + _type_codes(decided.work, level)
        behind = _claims_of_rows(decided, level)
        owner_of_claims = np.zeros(len(behind.types), dtype=np.int64)
        owner_of_claims[behind.claims] = owned
        keys_of_claims = owner_of_claims * len(MONEY_TYPES) + behind.types
        _, gone, old, _ = behind.fates
        keys_out = _keys_of(accepted, level, owner_of)
        keys_net = keys_out if everything else _keys_of(net, level, owner_of)
        for category in AMOUNT_CATEGORIES:
            column = f"amount_{category}"
            texts = accepted[level].column(column)
            if frame.cells(column).empty and texts.null_count == len(texts):
                continue
            cents, filled = frame.cents(column), frame.filled(column)
            exact = int(np.abs(cents).max(initial=0)) * len(cents) < _LARGEST
            add = partial(_sum_by, size=size, exact=exact)
            published = add(*_published(texts, keys_out))
            sums = (
                add(cents[filled], keys[filled]),
                published,
                add(cents[filled & gone], keys[filled & gone]),
                add(cents[filled & old], keys[filled & old]),
                published if everything else add(*_published(net[level].column(column), keys_net)),
            )
            claims = tuple(
                np.bincount(keys_of_claims[role], minlength=size) for role in behind.among(filled)
            )
            there = np.bincount(keys[filled], minlength=size)
            yield AmountSums(
                level, category, sums, claims, np.any([there, *claims, published != 0], axis=0)
            )


def _sum_by(amounts: Any, keys: Any, *, size: int, exact: bool) -> Any:
    sums = np.zeros(size, dtype=np.int64 if exact else object)
    np.add.at(sums, keys, amounts if exact else amounts.astype(object))
    return sums


def money_totals(decided: DecidedRows) -> dict[MoneyKey, MoneyTotals]:
    """Return the money of one partition; only cells in which some amount stands."""
    return {
        MoneyKey(sums.level, MONEY_TYPES[code], sums.category): MoneyTotals(
            *(int(column[code]) for column in (*sums.sums, *sums.claims))
        )
        for sums in amount_sums(decided, one_owner, 1)
        for code in np.flatnonzero(sums.present).tolist()
    }


def _of_counted(accepted: Mapping[str, pa.Table], counted: Any) -> dict[str, pa.Table]:
    """Return claims and lines of the claims that count."""
    claims = accepted["claim"].filter(pa.array(counted))
    lines = accepted["claim_line"]
    is_counted = pc.is_in(
        lines.column("claim_id"), value_set=claims.column("claim_id").combine_chunks()
    )
    return {"claim": claims, "claim_line": lines.filter(is_counted)}


def _type_codes(work: Work, level: str) -> Any:
    """Return the place of each row's claim type in `MONEY_TYPES`."""
    cells = work.frames["claim"].cells("claim_type")
    index = pc.index_in(cells.words, value_set=pa.array(CLAIM_TYPES, pa.string()))
    unknown = len(CLAIM_TYPES)
    codes = cells.spread(pc.fill_null(index, unknown).to_numpy(zero_copy_only=False), unknown)
    if level == "claim":
        return codes
    return np.append(codes, unknown)[work.parents(work.frames[level], "claim")]


def types_of_accepted(accepted: Mapping[str, pa.Table], table: str) -> Any:
    """Return the place of each accepted row's claim type in `MONEY_TYPES`.

    It is found in the accepted tables alone.

    Args:
        accepted: accepted rows of every table.
        table: `claim`, or one with rows that belong to a claim.
    """
    claims, unknown = accepted["claim"], len(CLAIM_TYPES)
    index = pc.index_in(claims.column("claim_type"), value_set=pa.array(CLAIM_TYPES, pa.string()))
    types = pc.fill_null(index, unknown).to_numpy().astype(np.int64)
    if table != "claim":
        ids = claims.column("claim_id").combine_chunks()
        position = pc.index_in(accepted[table].column("claim_id"), value_set=ids)
        types = np.append(types, unknown)[pc.fill_null(position, len(claims)).to_numpy()]
    return types


def _keys_of(accepted: Mapping[str, pa.Table], level: str, owner_of: OwnerOf) -> Any:
    """Return the key of each accepted row."""
    types = types_of_accepted(accepted, level)
    return owner_of(*places_of(accepted[level])) * len(MONEY_TYPES) + types


def _published(texts: pa.ChunkedArray, keys: Any) -> tuple[Any, Any]:
    """Return cents and keys of the accepted amounts, read from their text again."""
    there = np.asarray(pc.is_valid(texts))
    exact = as_array(pc.cast(pc.drop_null(texts), pa.decimal128(18, 2)))
    # An Arrow decimal is its unscaled number in 128 bits; 18 digits are in the lower 64.
    words = np.frombuffer(exact.buffers()[1] or b"", dtype="<i8")
    return words[2 * exact.offset :: 2][: len(exact)], keys[there]
