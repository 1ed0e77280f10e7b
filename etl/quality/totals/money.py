"""Add up money by claim type and amount category: in the source, published, and left out.

The source side adds the rows as read, in cents that `columns.numbers` parses; the published side
adds the accepted tables, whose text Arrow parses as decimals. The two sides parse amounts and find
claim types independently, so that their agreement means something.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
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
"""Maps numpy arrays of files and rows to each row's owner, from 0."""


def one_owner(files: Any, rows: Any) -> Any:
    """Assign all rows to owner 0, for undivided totals."""
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
        net: over accepted rows of the claims that count: one per adjustment chain, or none if it
            ends in a void. It is part of `published`, so don't add it to the others.
        published_claims, quarantined_claims, superseded_claims, net_claims: the number of claims
            in that sum.
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
        return MoneyTotals(*map(operator.add, astuple(self), astuple(other)))

    @property
    def adds_up(self) -> bool:
        """Whether no cent was lost."""
        return self.source == self.published + self.quarantined + self.superseded


def add_money(parts: Iterable[Mapping[MoneyKey, MoneyTotals]]) -> dict[MoneyKey, MoneyTotals]:
    """Add up the money of partitions, in the order of the canonical tables."""
    totals: dict[MoneyKey, MoneyTotals] = {}
    for part in parts:
        for key, money in part.items():
            totals[key] = totals.get(key, MoneyTotals()) + money
    return dict(sorted(totals.items(), key=lambda entry: _sort_position(entry[0])))


def _sort_position(key: MoneyKey) -> tuple[int, int, int]:
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
        types: numpy `int64`, shape (claims,): index of its type in `MONEY_TYPES`.
        fates: numpy `bool`, shape (rows,) each: published, quarantined, superseded, net.
    """

    claims: Any
    types: Any
    fates: tuple[Any, Any, Any, Any]

    def select(self, rows: Any) -> tuple[Any, ...]:
        """Return the claims that some rows belong to, for each fate."""
        claims_by_fate = []
        for fate in self.fates:
            has_rows = np.zeros(len(self.types), dtype=bool)
            has_rows[self.claims[rows & fate]] = True
            claims_by_fate.append(np.flatnonzero(has_rows))
        return tuple(claims_by_fate)


def _claims_of_rows(decided: DecidedRows, level: str) -> ClaimsOfRows:
    """Return the claims behind the rows of a level.

    Rows with the same claim id and member are one claim, however often it was sent.
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
        claim_types = types[first]
    else:
        claim_types = np.full(size, len(CLAIM_TYPES), dtype=np.int64)
        claim_types[numbers] = types
    is_quarantined, is_superseded = rejected.rows & ~frame.superseded, frame.superseded
    is_kept = ~(rejected.rows | is_superseded)
    is_net = is_kept if decided.counted is None else is_kept & _is_counted(decided, level)
    return ClaimsOfRows(numbers, claim_types, (is_kept, is_quarantined, is_superseded, is_net))


def _is_counted(decided: DecidedRows, level: str) -> Any:
    """Return which rows are of accepted claims that count."""
    work = decided.work
    claims = work.frames["claim"]
    is_counted = np.zeros(claims.count, dtype=bool)
    is_counted[~(decided.rejected["claim"].rows | claims.superseded)] = decided.counted
    if level == "claim":
        return is_counted
    return np.append(is_counted, False)[work.parents(work.frames[level], "claim")]


@dataclass(frozen=True, slots=True)
class AmountSums:
    """Sums of one category of amounts on one level, by a key of the rows.

    Attributes:
        level, category: as `MoneyKey`.
        sums: source, published, quarantined, superseded and net cents: numpy `int64`, shape
            (keys,) each; `object` with Python integers if 64 bits might overflow.
        claims: published, quarantined, superseded and net claims with an amount; numpy `int64`,
            shape (keys,) each.
        present: numpy `bool`, shape (keys,): which keys have any amount.
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
        owner_of: maps numpy arrays of files and rows to each row's owner, from 0.
        owners: how many owners there are.
    """
    size, all_count = owners * len(MONEY_TYPES), decided.counted is None or decided.counted.all()
    accepted = decided.accepted
    net = accepted if all_count else _filter_counted(accepted, decided.counted)
    for level in (level for level in LEVELS if level in decided.work.frames):
        frame = decided.work.frames[level]
        row_owners = owner_of(frame.files, frame.rows)
        keys = row_owners * len(MONEY_TYPES) + _type_codes(decided.work, level)
        row_claims = _claims_of_rows(decided, level)
        claim_owners = np.zeros(len(row_claims.types), dtype=np.int64)
        claim_owners[row_claims.claims] = row_owners
        claim_keys = claim_owners * len(MONEY_TYPES) + row_claims.types
        _, is_quarantined, is_superseded, _ = row_claims.fates
        published_keys = _sum_keys(accepted, level, owner_of)
        net_keys = published_keys if all_count else _sum_keys(net, level, owner_of)
        for category in AMOUNT_CATEGORIES:
            column = f"amount_{category}"
            texts = accepted[level].column(column)
            if frame.cells(column).empty and texts.null_count == len(texts):
                continue
            cents, filled = frame.cents(column), frame.filled(column)
            exact = int(np.abs(cents).max(initial=0)) * len(cents) < _LARGEST
            add = partial(_sum_by, size=size, exact=exact)
            published = add(*_read_cents(texts, published_keys))
            sums = (
                add(cents[filled], keys[filled]),
                published,
                add(cents[filled & is_quarantined], keys[filled & is_quarantined]),
                add(cents[filled & is_superseded], keys[filled & is_superseded]),
                published if all_count else add(*_read_cents(net[level].column(column), net_keys)),
            )
            claims = tuple(
                np.bincount(claim_keys[role], minlength=size) for role in row_claims.select(filled)
            )
            has_rows = np.bincount(keys[filled], minlength=size)
            yield AmountSums(
                level, category, sums, claims, np.any([has_rows, *claims, published != 0], axis=0)
            )


def _sum_by(amounts: Any, keys: Any, *, size: int, exact: bool) -> Any:
    sums = np.zeros(size, dtype=np.int64 if exact else object)
    np.add.at(sums, keys, amounts if exact else amounts.astype(object))
    return sums


def money_totals(decided: DecidedRows) -> dict[MoneyKey, MoneyTotals]:
    """Add up the money of one partition; omits keys without any amount."""
    return {
        MoneyKey(sums.level, MONEY_TYPES[code], sums.category): MoneyTotals(
            *(int(column[code]) for column in (*sums.sums, *sums.claims))
        )
        for sums in amount_sums(decided, one_owner, 1)
        for code in np.flatnonzero(sums.present).tolist()
    }


def _filter_counted(accepted: Mapping[str, pa.Table], counted: Any) -> dict[str, pa.Table]:
    """Return the claims that count in net sums, and their lines."""
    claims = accepted["claim"].filter(pa.array(counted))
    lines = accepted["claim_line"]
    is_counted = pc.is_in(
        lines.column("claim_id"), value_set=claims.column("claim_id").combine_chunks()
    )
    return {"claim": claims, "claim_line": lines.filter(is_counted)}


def _type_codes(work: Work, level: str) -> Any:
    """Return the index of each row's claim type in `MONEY_TYPES`."""
    cells = work.frames["claim"].cells("claim_type")
    index = pc.index_in(cells.words, value_set=pa.array(CLAIM_TYPES, pa.string()))
    unknown = len(CLAIM_TYPES)
    codes = cells.spread(pc.fill_null(index, unknown).to_numpy(zero_copy_only=False), unknown)
    if level == "claim":
        return codes
    return np.append(codes, unknown)[work.parents(work.frames[level], "claim")]


def types_of_accepted(accepted: Mapping[str, pa.Table], table: str) -> Any:
    """Return the index of each accepted row's claim type in `MONEY_TYPES`.

    Uses only the accepted tables, to stay independent of the source side.

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


def _sum_keys(accepted: Mapping[str, pa.Table], level: str, owner_of: OwnerOf) -> Any:
    """Return the key of each accepted row's sum."""
    types = types_of_accepted(accepted, level)
    return owner_of(*places_of(accepted[level])) * len(MONEY_TYPES) + types


def _read_cents(texts: pa.ChunkedArray, keys: Any) -> tuple[Any, Any]:
    """Return cents and keys of the accepted amounts, parsed from their text again."""
    is_stated = np.asarray(pc.is_valid(texts))
    decimals = as_array(pc.cast(pc.drop_null(texts), pa.decimal128(18, 2)))
    # An Arrow decimal is its unscaled number in 128 bits; 18 digits are in the lower 64.
    words = np.frombuffer(decimals.buffers()[1] or b"", dtype="<i8")
    return words[2 * decimals.offset :: 2][: len(decimals)], keys[is_stated]
