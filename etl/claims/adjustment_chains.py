"""Adjustment chains of the claims of a partition, as columns.

Few claims are linked to others. They are selected by column; only they are processed one by one
(`etl.model.adjustment_chains`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns import numbers
from etl.columns.arrays import Bools, Indices, column_of, true_where
from etl.columns.navigation import positions
from etl.model.adjustment_chains import ChainPosition, Linked, Role, chain_positions
from etl.model.canonical_tables import AMOUNT_COLUMNS

_TEXTS: Final = (
    "member_id",
    "claim_id",
    "adjusted_from_claim_id",
    "adjusted_to_claim_id",
    "adjudication_date",
    "last_updated",
)
"""Columns of a linked claim that are read unchanged."""
_AMOUNTS: Final = (*AMOUNT_COLUMNS, "payment_amount")
_VOID: Final = "8"
"""Bill frequency of a claim that voids or cancels a prior one (NUBC, type of bill, third digit)."""
_REPLACEMENT: Final = "7"
"""Bill frequency of a claim that replaces a prior one."""
_NEEDS_PRIOR: Final = pa.array([_REPLACEMENT, _VOID])
"""Bill frequencies of claims that replace or void a prior one."""
_PARTIAL: Final = pa.array(["2", "3", "4", "5"])
"""Bill frequencies of claims that add to others: interim bills and late charges."""
_DIGITS: Final = ("bill_facility_type", "bill_classification", "bill_frequency")
"""Columns with the digits of a type of bill, in order."""


@dataclass(frozen=True, slots=True)
class Chains:
    """Position of each claim in its chain; every array has shape (claims,).

    Attributes:
        role: a `Role`'s value; never null.
        last: whether the claim is the last of its chain; true without a chain.
        priors: claims directly before it that it doesn't name, joined by `;`; null for none.
        successors: claims directly after it that it doesn't name.
        updated: `last_updated` of the claim or of the claim that superseded it, if later.
        replaces: whether the claim replaces another one, known or not, with amounts above zero.
        findings: rule -> the claims that it finds irregular.
        cell_findings: rule, table, column and rows of the table, of irregular cells.
    """

    role: pa.StringArray
    last: Bools
    priors: pa.StringArray
    successors: pa.StringArray
    updated: pa.StringArray
    replaces: Bools
    findings: Mapping[str, Bools] = field(default_factory=dict)
    cell_findings: Sequence[tuple[str, str, str, Bools]] = ()

    def filter(self, keep: Bools) -> Chains:
        """Return the chains of the selected claims, without cell findings."""
        mask = pa.array(keep)
        return Chains(
            self.role.filter(mask),
            self.last[keep],
            self.priors.filter(mask),
            self.successors.filter(mask),
            self.updated.filter(mask),
            self.replaces[keep],
            {rule: where[keep] for rule, where in self.findings.items()},
        )


def find_chains(tables: Mapping[str, pa.Table], rejected: Bools | None = None) -> Chains:
    """Return the chains of the claims of a partition.

    Args:
        tables: rows of `claim` and `claim_line`.
        rejected: the claims that are not published, shape (claims,); None for none. Their links
            still count.
    """
    claims, lines = tables["claim"], tables["claim_line"]
    size = claims.num_rows
    frequency = _bill_frequency(claims)
    is_void = true_where(pc.equal(frequency, _VOID))
    linked_rows = _find_linked_claims(claims, is_void)
    negative_cells = {"claim": _negative_cells(claims), "claim_line": _negative_cells(lines)}
    signs = _amount_signs(claims, lines, linked_rows, negative_cells)
    if rejected is None:
        rejected = np.zeros(size, dtype=np.bool_)
    linked_claims = _build_linked_claims(claims, is_void, signs, rejected, linked_rows)
    places = chain_positions(linked_claims)

    def expand(flags: Iterable[bool]) -> Bools:
        """Return flags of linked claims for all claims; false for the others."""
        all_flags = np.zeros(size, dtype=np.bool_)
        all_flags[linked_rows] = list(flags)
        return all_flags

    linked = list(zip(linked_claims, places, strict=True))
    priors = [
        _unnamed_neighbors(linked_claims, place.priors, claim.prior) for claim, place in linked
    ]
    successors = [
        _unnamed_neighbors(linked_claims, place.successors, claim.successor)
        for claim, place in linked
    ]
    no_ids = pa.nulls(size, pa.string())
    has_prior = expand(bool(place.priors) or claim.names_prior for claim, place in linked)
    is_linked = expand(True for _ in places)
    is_reversal = signs.are_reversals & has_prior & ~is_void
    # Negative amounts of other claims are reported by `amount-negative` and `payment-negative`.
    is_replacement = np.asarray(column_of(claims, "adjusted_from_claim_id").is_valid()) & ~is_void
    needs_prior = true_where(pc.is_in(frequency, value_set=_NEEDS_PRIOR))
    remainders = _sum_after_reversals(tables, linked_rows, linked)
    is_interim = true_where(pc.is_in(frequency, value_set=_PARTIAL))
    current = pa.repeat(Role.CURRENT.value, size).cast(pa.string())
    own_updates = column_of(claims, "last_updated")
    return Chains(
        role=_replace_texts([place.role.value for place in places], linked_rows, current),
        last=~expand(not place.last for place in places),
        priors=_replace_texts(priors, linked_rows, no_ids),
        successors=_replace_texts(successors, linked_rows, no_ids),
        updated=_replace_texts([place.updated for place in places], linked_rows, own_updates),
        replaces=has_prior & signs.above,
        findings={
            "claim-replaced-twice": expand(place.rival for place in places),
            "claim-chain-circle": expand(place.circular for place in places),
            "claim-successor-rejected": expand(place.bereft for place in places),
            "claim-prior-rejected": expand(place.orphaned for place in places),
            "replacement-adjudicated-earlier": expand(place.early for place in places),
            "cancellation-cancelled": expand(
                place.cancels and any(places[prior].cancels for prior in place.priors)
                for place in places
            ),
            "reversal-partial": expand(cents > 0 for cents in remainders),
            "reversal-larger": expand(cents < 0 for cents in remainders),
            "reversal-as-replacement": is_reversal & true_where(pc.equal(frequency, _REPLACEMENT)),
            "reversal-without-claim": ~is_linked & (signs.total < 0),
            "reversal-positive": is_reversal & signs.above,
            "replacement-without-claim": needs_prior & ~has_prior,
            "partial-bill-replaces": is_interim & has_prior,
        },
        cell_findings=[
            *_negative_replacements(tables, is_replacement & ~is_reversal, negative_cells),
            *_contradicting_digits(claims),
        ],
    )


@dataclass(frozen=True, slots=True)
class _Signs:
    """Signs of the amounts of claims and their lines; every array has shape (claims,).

    Attributes:
        total: their sum in cents, numpy `int64`; 0 for claims that were not looked at.
        above: whether one is above zero.
    """

    total: Indices
    above: Bools

    @property
    def are_reversals(self) -> Bools:
        """Whether each claim reverses the claim before it, if there is one."""
        return self.total < 0


def _amount_signs(
    claims: pa.Table,
    lines: pa.Table,
    linked: Indices,
    negative_cells: Mapping[str, Mapping[str, Bools]],
) -> _Signs:
    """Sum the amounts of claims that are linked or have a negative amount."""
    ids, owners = column_of(claims, "claim_id"), column_of(lines, "claim_id")
    is_selected = np.zeros(len(ids), dtype=np.bool_)
    is_selected[linked] = True
    for cells in negative_cells["claim"].values():
        is_selected |= cells
    for cells in negative_cells["claim_line"].values():
        is_selected |= true_where(pc.is_in(ids, value_set=owners.filter(pa.array(cells))))
    total = np.zeros(len(ids), dtype=np.int64)
    is_positive = np.zeros(len(ids), dtype=np.bool_)
    selected_rows = np.flatnonzero(is_selected)
    claim_ids = pc.unique(ids.take(pa.array(selected_rows))).drop_null()
    # Rejected claims may share a claim ID: each of them has all its lines.
    claim_groups, line_groups = (
        positions(ids.take(pa.array(selected_rows)), claim_ids),
        positions(owners, claim_ids),
    )
    relevant_lines = np.flatnonzero(line_groups >= 0)
    line_amounts = lines.select(list(AMOUNT_COLUMNS)).take(pa.array(relevant_lines))
    for name in _AMOUNTS:
        amounts = column_of(claims, name).take(pa.array(selected_rows))
        cents = numbers.cents(amounts)
        total[selected_rows] += cents
        is_positive[selected_rows] |= cents > 0
        if name == "payment_amount":
            continue
        cents = numbers.cents(column_of(line_amounts, name))
        # The last group is for claims without lines.
        has_positive_line = np.zeros(len(claim_ids) + 1, dtype=np.bool_)
        has_positive_line[line_groups[relevant_lines[cents > 0]]] = True
        is_positive[selected_rows] |= has_positive_line[claim_groups]
        sums = np.zeros(len(claim_ids) + 1, dtype=np.int64)
        np.add.at(sums, line_groups[relevant_lines], cents)
        total[selected_rows] += sums[claim_groups]
    return _Signs(total, is_positive)


def _sum_after_reversals(
    tables: Mapping[str, pa.Table],
    linked_rows: Indices,
    linked: Sequence[tuple[Linked, ChainPosition]],
) -> list[int]:
    """Return, for each linked claim that reverses one other, the cents that it leaves of that one.

    Only amounts that both claims state are added up. The result is 0 for all other claims.
    """
    remainders = [0] * len(linked)
    pairs = [
        (index, place.priors[0])
        for index, (claim, place) in enumerate(linked)
        if claim.reverses and len(place.priors) == 1 and not linked[place.priors[0]][1].cancels
    ]
    if not pairs:
        return remainders
    indices = sorted({index for pair in pairs for index in pair})
    reversals, priors = np.searchsorted(indices, np.array(pairs)).T
    claims = tables["claim"].take(pa.array(linked_rows[indices]))
    claim_rows = positions(
        column_of(tables["claim_line"], "claim_id"), column_of(claims, "claim_id")
    )
    lines = tables["claim_line"].filter(pa.array(claim_rows >= 0))
    claim_rows = claim_rows[claim_rows >= 0]
    for name in _AMOUNTS:
        owners = {"claim": (claims, np.arange(len(indices)))}
        if name in lines.column_names:
            owners["claim_line"] = (lines, claim_rows)
        for table, rows in owners.values():
            amounts = column_of(table, name)
            is_stated = np.bincount(rows[np.asarray(amounts.is_valid())], minlength=len(indices))
            sums = np.zeros(len(indices), dtype=np.int64)
            np.add.at(sums, rows, numbers.cents(amounts))
            sums = np.where(
                is_stated[reversals] & is_stated[priors], sums[reversals] + sums[priors], 0
            )
            for (reversal, _), cents in zip(pairs, sums.tolist(), strict=True):
                remainders[reversal] += cents
    return remainders


def _negative_cells(table: pa.Table) -> dict[str, Bools]:
    """Find negative amounts, by column; omits columns without any."""
    cells = {}
    for name in _AMOUNTS:
        if name in table.column_names and table.column(name).null_count < table.num_rows:
            is_negative = true_where(pc.starts_with(column_of(table, name), "-"))
            if is_negative.any():
                cells[name] = is_negative
    return cells


def _negative_replacements(
    tables: Mapping[str, pa.Table],
    is_replacement: Bools,
    negative_cells: Mapping[str, Mapping[str, Bools]],
) -> Iterator[tuple[str, str, str, Bools]]:
    """Yield the negative cells of replacements that are not reversals."""
    if not is_replacement.any():
        return
    ids = column_of(tables["claim"], "claim_id").filter(pa.array(is_replacement))
    for name, table_cells in negative_cells.items():
        for column, cells in table_cells.items():
            is_selected = true_where(pc.is_in(column_of(tables[name], "claim_id"), value_set=ids))
            yield "replacement-negative", name, column, cells & is_selected


def _contradicting_digits(claims: pa.Table) -> Iterator[tuple[str, str, str, Bools]]:
    """Yield the cells whose digit contradicts the type of bill."""
    bill_types = column_of(claims, "type_of_bill")
    for index, name in enumerate(_DIGITS):
        digit = column_of(claims, name)
        if digit.null_count < len(digit) and bill_types.null_count < len(bill_types):
            bill_digit = pc.utf8_slice_codeunits(bill_types, index, index + 1)
            is_different = true_where(pc.not_equal(digit, bill_digit))
            yield "type-of-bill-otherwise", "claim", name, is_different


def _bill_frequency(claims: pa.Table) -> pa.StringArray:
    """Return the bill frequency of each claim: the last digit of its type of bill."""
    stated = pc.coalesce(column_of(claims, "type_of_bill"), column_of(claims, "bill_frequency"))
    return pc.utf8_slice_codeunits(stated, -1)


def _unnamed_neighbors(
    linked: list[Linked], neighbors: tuple[int, ...], stated: str | None
) -> str | None:
    """Join the IDs of neighbors that the claim doesn't name.

    Leaves out IDs that contain the separator, since the other claim names this one, and rejected
    claims without an ID.
    """
    claim_ids = dict.fromkeys(linked[neighbor].claim_id or "" for neighbor in neighbors)
    unnamed = [name for name in claim_ids if name not in ("", stated) and ";" not in name]
    return ";".join(unnamed) or None


def _replace_texts(
    texts: list[str | None], positions: Indices, old_texts: pa.StringArray
) -> pa.StringArray:
    """Replace a column's texts in some rows."""
    if not texts:
        return old_texts
    text_indices = np.full(len(old_texts), -1, dtype=np.int64)
    text_indices[positions] = np.arange(len(positions))
    is_replaced = text_indices >= 0
    new_texts = pa.array(texts, pa.string()).take(pa.array(text_indices, mask=~is_replaced))
    return pc.if_else(pa.array(is_replaced), new_texts, old_texts)


def _find_linked_claims(claims: pa.Table, is_void: Bools) -> Indices:
    """Find the claims that name another one, are named by another one, or void one.

    A claim without a member is in no chain: it is rejected, and can be in any partition.
    """
    is_linked = is_void.copy()
    ids = column_of(claims, "claim_id")
    for name in ("adjusted_from_claim_id", "adjusted_to_claim_id"):
        named_ids = column_of(claims, name)
        if named_ids.null_count < len(named_ids):
            is_linked |= np.asarray(named_ids.is_valid()) | true_where(
                pc.is_in(ids, value_set=named_ids)
            )
    has_member = column_of(claims, "member_id").is_valid()
    return np.flatnonzero(is_linked & np.asarray(has_member))


def _build_linked_claims(
    claims: pa.Table, is_void: Bools, amount_signs: _Signs, rejected: Bools, positions: Indices
) -> list[Linked]:
    linked_rows = claims.select(list(_TEXTS)).take(pa.array(positions))
    is_void_claim, is_reversal, is_rejected = (
        flags[positions] for flags in (is_void, amount_signs.are_reversals, rejected)
    )
    texts = {name: column_of(linked_rows, name).to_pylist() for name in _TEXTS}
    return [
        Linked(
            owner=texts["member_id"][number],
            claim_id=texts["claim_id"][number],
            prior=texts["adjusted_from_claim_id"][number],
            successor=texts["adjusted_to_claim_id"][number],
            adjudicated=texts["adjudication_date"][number],
            updated=texts["last_updated"][number],
            voids=bool(is_void_claim[number]),
            reverses=bool(is_reversal[number]),
            rejected=bool(is_rejected[number]),
        )
        for number in range(len(positions))
    ]
