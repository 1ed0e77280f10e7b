"""Chains of adjustments in the rows of a partition, as columns.

Few claims are linked to others. Those are selected by column, and only they are processed one by
one (`etl.model.adjustment_chains`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns import numbers
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
_VOID: Final = "8"
"""Bill frequency of a claim that voids or cancels a prior one (NUBC, type of bill, third digit)."""
_NEEDS_PRIOR: Final = pa.array(["7", _VOID])
"""Bill frequencies of claims that replace or void a prior one."""
_PARTIAL: Final = pa.array(["2", "3", "4", "5"])
"""Bill frequencies of claims that stand beside others: interim ones, and late charges."""
_DIGITS: Final = ("bill_facility_type", "bill_classification", "bill_frequency")
"""Columns of the digits of a type of bill, in their order."""


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
        cell_findings: rule, table, column and rows of the table, of irregular cells.
    """

    role: pa.StringArray
    last: Bools
    priors: pa.StringArray
    successors: pa.StringArray
    updated: pa.StringArray
    findings: Mapping[str, Bools] = field(default_factory=dict)
    cell_findings: Sequence[tuple[str, str, str, Bools]] = ()

    def only(self, keep: Bools) -> Chains:
        """Return the same of some of the claims, without findings of cells."""
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
    claims, lines = tables["claim"], tables["claim_line"]
    size = claims.num_rows
    frequency = _frequency(claims)
    is_void = true_where(pc.equal(frequency, _VOID))
    positions = _linked(claims, is_void)
    minus = {"claim": _minus_cells(claims), "claim_line": _minus_cells(lines)}
    signs = _signs_of(claims, lines, positions, minus)
    if rejected is None:
        rejected = np.zeros(size, dtype=np.bool_)
    linked = _as_linked(claims, is_void, signs, rejected, positions)
    chains = places(linked)
    unlinked = ~_where([True] * len(linked), positions, size)
    has_prior = _where(
        [
            bool(place.priors) or claim.names_prior
            for claim, place in zip(linked, chains, strict=True)
        ],
        positions,
        size,
    )
    reverses = signs.reverses & has_prior & ~is_void
    # Of other claims `amount-negative` and `payment-negative` report negative amounts.
    replaces = np.asarray(column_of(claims, "adjusted_from_claim_id").is_valid()) & ~is_void
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
            "reversal-without-claim": unlinked & (signs.total < 0),
            "reversal-positive": reverses & signs.above,
            "replacement-without-claim": true_where(pc.is_in(frequency, value_set=_NEEDS_PRIOR))
            & ~has_prior,
            "partial-bill-replaces": true_where(pc.is_in(frequency, value_set=_PARTIAL))
            & has_prior,
        },
        cell_findings=[
            *_negative_replacements(tables, replaces & ~reverses, minus),
            *_other_digits(claims),
        ],
    )


def _where(flags: list[bool], positions: Indices, size: int) -> Bools:
    flags_of_all = np.zeros(size, dtype=np.bool_)
    flags_of_all[positions] = flags
    return flags_of_all


@dataclass(frozen=True, slots=True)
class _Signs:
    """Signs of the amounts of claims and their lines; every array has shape (claims,).

    Attributes:
        total: their sum in cents, numpy `int64`; 0 for claims that were not looked at.
        states: whether there is any.
        above: whether one is above zero.
    """

    total: Indices
    states: Bools
    above: Bools

    @property
    def reverses(self) -> Bools:
        """Whether each claim takes back the claim before it, if there is one."""
        return self.states & (self.total <= 0)


def _signs_of(
    claims: pa.Table, lines: pa.Table, linked: Indices, minus: Mapping[str, Mapping[str, Bools]]
) -> _Signs:
    """Return the signs of claims that are linked or have a negative amount."""
    ids, owners = column_of(claims, "claim_id"), column_of(lines, "claim_id")
    wanted = np.zeros(len(ids), dtype=np.bool_)
    wanted[linked] = True
    for cells in minus["claim"].values():
        wanted |= cells
    for cells in minus["claim_line"].values():
        wanted |= true_where(pc.is_in(ids, value_set=owners.filter(pa.array(cells))))
    total = np.zeros(len(ids), dtype=np.int64)
    states, above = (np.zeros(len(ids), dtype=np.bool_) for _ in range(2))
    at = np.flatnonzero(wanted)
    names = pc.unique(ids.take(pa.array(at))).drop_null()
    # Rejected claims may share a number: the lines are those of each of them.
    own, of_line = positions(ids.take(pa.array(at)), names), positions(owners, names)
    some_lines = np.flatnonzero(of_line >= 0)
    some = lines.select(list(AMOUNT_COLUMNS)).take(pa.array(some_lines))
    for name in _AMOUNTS:
        amounts = column_of(claims, name).take(pa.array(at))
        cents, stated = numbers.cents(amounts), np.asarray(amounts.is_valid())
        total[at] += cents
        states[at] |= stated
        above[at] |= cents > 0
        if name == "payment_amount":
            continue
        amounts = column_of(some, name)
        cents, stated = numbers.cents(amounts), np.asarray(amounts.is_valid())
        for flags, of_lines in ((states, stated), (above, cents > 0)):
            found = np.zeros(len(names) + 1, dtype=np.bool_)  # the last is of claims without lines
            found[of_line[some_lines[of_lines]]] = True
            flags[at] |= found[own]
        sums = np.zeros(len(names) + 1, dtype=np.int64)
        np.add.at(sums, of_line[some_lines], cents)
        total[at] += sums[own]
    return _Signs(total, states, above)


def _minus_cells(table: pa.Table) -> dict[str, Bools]:
    """Return the cells of amounts below zero, by column; columns without any are left out."""
    cells = {}
    for name in _AMOUNTS:
        if name in table.column_names and table.column(name).null_count < table.num_rows:
            minus = true_where(pc.starts_with(column_of(table, name), "-"))
            if minus.any():
                cells[name] = minus
    return cells


def _negative_replacements(
    tables: Mapping[str, pa.Table], replaces: Bools, minus: Mapping[str, Mapping[str, Bools]]
) -> Iterator[tuple[str, str, str, Bools]]:
    """Yield the negative cells of claims that replace another, and do not take it back."""
    if not replaces.any():
        return
    ids = column_of(tables["claim"], "claim_id").filter(pa.array(replaces))
    for name, cells_of in minus.items():
        for column, cells in cells_of.items():
            of_them = true_where(pc.is_in(column_of(tables[name], "claim_id"), value_set=ids))
            yield "replacement-negative", name, column, cells & of_them


def _other_digits(claims: pa.Table) -> Iterator[tuple[str, str, str, Bools]]:
    """Yield the cells that state another digit than the type of bill."""
    bill = column_of(claims, "type_of_bill")
    for index, name in enumerate(_DIGITS):
        digit = column_of(claims, name)
        if digit.null_count < len(digit) and bill.null_count < len(bill):
            of_bill = pc.utf8_slice_codeunits(bill, index, index + 1)
            yield "type-of-bill-otherwise", "claim", name, true_where(pc.not_equal(digit, of_bill))


def _frequency(claims: pa.Table) -> pa.StringArray:
    """Return the bill frequency of each claim: the last digit of its type of bill."""
    stated = pc.coalesce(column_of(claims, "type_of_bill"), column_of(claims, "bill_frequency"))
    return pc.utf8_slice_codeunits(stated, -1)


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
    claims: pa.Table, is_void: Bools, signs: _Signs, rejected: Bools, positions: Indices
) -> list[Linked]:
    taken = claims.select(list(_TEXTS)).take(pa.array(positions))
    void, reverses, is_rejected = (
        flags[positions] for flags in (is_void, signs.reverses, rejected)
    )
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
            reverses=bool(reverses[number]),
            rejected=bool(is_rejected[number]),
        )
        for number in range(len(positions))
    ]
