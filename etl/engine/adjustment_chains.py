"""Chains of adjustments in the rows of a partition, as columns.

Few claims are linked to others. Those are selected by column, and only they are processed one by
one (`etl.model.adjustment_chains`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, Indices, column_of, true_where
from etl.columns.navigation import positions
from etl.model.adjustment_chains import Linked, Role, places
from etl.model.canonical_tables import AMOUNT_COLUMNS

_TEXTS: Final = (
    "member_id",
    "claim_id",
    "adjusted_from_claim_id",
    "adjusted_to_claim_id",
    "adjudication_date",
    "last_updated",
)
"""Columns of a linked claim that chains read as they stand."""
_AMOUNTS: Final = (*AMOUNT_COLUMNS, "payment_amount")
_NOUGHT: Final = pa.array(["0.00", "-0.00"])
_VOID: Final = "8"
"""Bill frequency of a claim that voids or cancels a prior one (NUBC, type of bill, third digit)."""


@dataclass(frozen=True, slots=True)
class Chains:
    """Standing of each claim within its chain; every array has shape (claims,).

    Attributes:
        role: a `Role`'s value; never null.
        last: whether the claim is the last of its chain, as one without a chain is.
        priors: claims directly before it that it does not name itself, by `;`; null for none.
        successors: claims directly after it that it does not name itself.
        updated: `last_updated`, or that of the claim which superseded this one, if later.
        findings: rule -> the claims that it finds irregular.
    """

    role: pa.StringArray
    last: Bools
    priors: pa.StringArray
    successors: pa.StringArray
    updated: pa.StringArray
    findings: Mapping[str, Bools] = field(default_factory=dict)

    def only(self, keep: Bools) -> Chains:
        """Return the same of some of the claims."""
        mask = pa.array(keep)
        return Chains(
            self.role.filter(mask),
            self.last[keep],
            self.priors.filter(mask),
            self.successors.filter(mask),
            self.updated.filter(mask),
            {rule: where[keep] for rule, where in self.findings.items()},
        )


def chains_of(tables: Mapping[str, pa.Table], rejected: Bools | None = None) -> Chains:
    """Return the chains of the claims of a partition.

    Args:
        tables: rows of `claim` and `claim_line`.
        rejected: which of the claims are not published, shape (claims,); None for none. Their links
            count as those of the others do.
    """
    claims = tables["claim"]
    size = claims.num_rows
    is_void = voids(claims)
    positions = _linked(claims, is_void)
    negative = _negative(claims, tables["claim_line"])
    if rejected is None:
        rejected = np.zeros(size, dtype=np.bool_)
    linked = _as_linked(claims, is_void, negative, rejected, positions)
    chains = places(linked)
    negative[positions] = False
    both = list(zip(linked, chains, strict=True))
    nothing = pa.nulls(size, pa.string())
    return Chains(
        role=_spread(
            [place.role.value for place in chains],
            positions,
            pa.repeat(Role.CURRENT.value, size).cast(pa.string()),
        ),
        last=~_where([not place.last for place in chains], positions, size),
        priors=_spread(
            [_others(linked, place.priors, claim.prior) for claim, place in both],
            positions,
            nothing,
        ),
        successors=_spread(
            [_others(linked, place.successors, claim.successor) for claim, place in both],
            positions,
            nothing,
        ),
        updated=_spread(
            [place.updated for place in chains], positions, column_of(claims, "last_updated")
        ),
        findings={
            "claim-replaced-twice": _where([place.rival for place in chains], positions, size),
            "claim-chain-circle": _where([place.circular for place in chains], positions, size),
            "claim-successor-rejected": _where([place.bereft for place in chains], positions, size),
            "reversal-without-claim": negative,
        },
    )


def _where(flags: list[bool], positions: Indices, size: int) -> Bools:
    flags_of_all = np.zeros(size, dtype=np.bool_)
    flags_of_all[positions] = flags
    return flags_of_all


def _negative(claims: pa.Table, lines: pa.Table) -> Bools:
    """Return which claims have an amount below zero, and none above it; shape (claims,)."""
    negative = _with_minus(claims)
    owners = pc.unique(column_of(lines, "claim_id").filter(pa.array(_with_minus(lines))))
    if len(owners):
        negative |= true_where(pc.is_in(column_of(claims, "claim_id"), value_set=owners))
    positions = np.flatnonzero(negative)  # of most partitions none
    if len(positions):
        below, above = _signs_of_claims(
            claims.select(["claim_id", *_AMOUNTS]).take(pa.array(positions)), lines
        )
        negative[positions] = below & ~above
    return negative


def _with_minus(table: pa.Table) -> Bools:
    """Return the rows in which some amount begins with a minus."""
    has_minus = np.zeros(table.num_rows, dtype=np.bool_)
    for name in _AMOUNTS:
        if name in table.column_names and table.column(name).null_count < table.num_rows:
            minus = pc.starts_with(table.column(name), "-")
            if pc.any(minus).as_py():
                has_minus |= true_where(minus)
    return has_minus


def voids(claims: pa.Table) -> Bools:
    """Return which claims void another by their bill frequency; shape (claims,)."""
    stated = pc.coalesce(column_of(claims, "type_of_bill"), column_of(claims, "bill_frequency"))
    return true_where(pc.ends_with(stated, _VOID))


def _others(linked: list[Linked], neighbours: tuple[int, ...], stated: str | None) -> str | None:
    """Return the numbers of neighbours that the claim does not name itself.

    A number with the separator in it is left out: the other claim names this one. So is a rejected
    claim without a number.
    """
    numbers = dict.fromkeys(linked[neighbour].claim_id or "" for neighbour in neighbours)
    return (
        ";".join(number for number in numbers if number not in ("", stated) and ";" not in number)
        or None
    )


def _spread(
    texts: list[str | None], positions: Indices, otherwise: pa.StringArray
) -> pa.StringArray:
    """Return a column with other texts in some places."""
    if not texts:
        return otherwise
    own = np.full(len(otherwise), -1, dtype=np.int64)
    own[positions] = np.arange(len(positions))
    here = own >= 0
    taken = pa.array(texts, pa.string()).take(pa.array(own, mask=~here))
    return pc.if_else(pa.array(here), taken, otherwise)


def _linked(claims: pa.Table, is_void: Bools) -> Indices:
    """Return the claims that name another, are named by another or void one.

    One without a member is in no chain: it is rejected, and lies in any partition.
    """
    is_linked = is_void.copy()
    ids = column_of(claims, "claim_id")
    for name in ("adjusted_from_claim_id", "adjusted_to_claim_id"):
        named = column_of(claims, name)
        if named.null_count < len(named):
            is_linked |= np.asarray(named.is_valid()) | true_where(pc.is_in(ids, value_set=named))
    has_member = column_of(claims, "member_id").is_valid()
    return np.flatnonzero(is_linked & np.asarray(has_member))


def _as_linked(
    claims: pa.Table, is_void: Bools, negative: Bools, rejected: Bools, positions: Indices
) -> list[Linked]:
    taken = claims.select(list(_TEXTS)).take(pa.array(positions))
    void, below, is_rejected = is_void[positions], negative[positions], rejected[positions]
    texts = {name: column_of(taken, name).to_pylist() for name in _TEXTS}
    return [
        Linked(
            owner=texts["member_id"][number],
            claim_id=texts["claim_id"][number],
            prior=texts["adjusted_from_claim_id"][number],
            successor=texts["adjusted_to_claim_id"][number],
            adjudicated=texts["adjudication_date"][number],
            updated=texts["last_updated"][number],
            voids=bool(void[number]),
            negative=bool(below[number]),
            rejected=bool(is_rejected[number]),
        )
        for number in range(len(positions))
    ]


def _signs_of_claims(claims: pa.Table, lines: pa.Table) -> tuple[Bools, Bools]:
    """Return which claims have an amount below zero, and which have one above it.

    Args:
        claims: some claims.
        lines: lines of these and of others.
    """
    owner = positions(column_of(lines, "claim_id"), column_of(claims, "claim_id"))
    below = np.zeros(claims.num_rows, dtype=np.bool_)
    above = np.zeros(claims.num_rows, dtype=np.bool_)
    owned = np.flatnonzero(owner >= 0)
    own = lines.select(list(AMOUNT_COLUMNS)).take(pa.array(owned))
    for name in _AMOUNTS:
        less, more = _signs(column_of(claims, name))
        below |= less
        above |= more
        if name != "payment_amount":
            less, more = _signs(column_of(own, name))
            below[owner[owned][less]] = True
            above[owner[owned][more]] = True
    return below, above


def _signs(amounts: pa.StringArray) -> tuple[Bools, Bools]:
    """Return which amounts are below zero, and which are above it."""
    if amounts.null_count == len(amounts):
        nowhere = np.zeros(len(amounts), dtype=np.bool_)
        return nowhere, nowhere
    has_amount = true_where(pc.invert(pc.is_in(amounts, value_set=_NOUGHT)))
    minus = true_where(pc.starts_with(amounts, "-"))
    has_amount &= true_where(amounts.is_valid())
    return has_amount & minus, has_amount & ~minus
