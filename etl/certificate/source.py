"""Claims as the source has them: raw text of canonical rows, read independently.

The formats of cells are in docs/canonical-layout.md. The code that reads them here shares nothing
with the kernels that rules and mappings use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.certificate.published import ABSENT, ADJUSTMENT, CATEGORIES, NO_CENTS
from etl.certificate.sums import sums_by
from etl.model.canonical_tables import AMOUNT_CATEGORIES, FILE_COLUMN, ROW_COLUMN

COMPARED: Final[Mapping[str, tuple[str, ...]]] = {
    "member": ("member_id", "birth_date"),
    "coverage": ("coverage_id", "member_id", "plan_id", "plan_name"),
    "claim": (
        *("record_action", "claim_id", "claim_type", "status"),
        *("member_id", "coverage_id", "payer_id"),
        *("adjusted_from_claim_id", "adjusted_to_claim_id", "type_of_bill", "bill_frequency"),
        *("statement_from_date", "statement_thru_date", "adjudication_date", "paid_date"),
        "payment_amount",
        *(f"amount_{category}" for category in AMOUNT_CATEGORIES),
    ),
    "claim_line": (
        *("record_action", "claim_id", "line_number", "service_from_date", "service_to_date"),
        *(f"amount_{category}" for category in AMOUNT_CATEGORIES),
    ),
    "claim_other_payer": ("claim_id", "line_number", "amount_priorpayerpaid"),
    "claim_adjustment": ("claim_id", "line_number", "reason_code", "amount"),
    "prior_auth": (
        *("record_action", "prior_auth_id", "member_id", "coverage_id", "payer_id", "type"),
        *("received_at", "valid_from", "valid_to", "review_action", "is_drug"),
        *("amount_submitted", "amount_eligible", "amount_utilized"),
    ),
    "prior_auth_line": (
        *("record_action", "prior_auth_id", "line_number", "service_from_date", "service_to_date"),
        *("units_requested", "units_approved", "units_used", "amount_submitted", "amount_eligible"),
        *("review_action", "is_drug"),
    ),
}
"""Table -> columns that are compared with what is published."""

_MONEY: Final = pa.decimal128(17, 2)
_PRIOR: Final = CATEGORIES.index("priorpayerpaid")
ADJUSTED: Final = CATEGORIES.index(ADJUSTMENT)
"""Index of adjustments in `CATEGORIES`."""
_CACHED_DAYS: Final = 100_000
"""Parsed days to cache: several columns repeat the same ones."""
_INSTITUTIONAL: Final = ("inpatient", "outpatient")


def amount_tables(level: str, category: str) -> tuple[str, ...]:
    """Return the tables whose rows contribute amounts of a level and category."""
    if level == "claim_line" and category == ADJUSTMENT:
        return ("claim_adjustment",)
    if level == "claim_line" and category == CATEGORIES[_PRIOR]:
        return (level, "claim_other_payer")
    return (level,)


@dataclass(frozen=True, slots=True)
class Fates:
    """Rows of one table by their fate in the run; all other rows are superseded.

    Attributes:
        published: numpy `int64`, shape (n, 2): file and row of each published row.
        quarantined: the same for rows in quarantine.
    """

    published: Any
    quarantined: Any


@dataclass(frozen=True)
class SourceTable:
    """The published rows of one table.

    Attributes:
        table: raw canonical text, with `_file` and `_row`.
    """

    table: pa.Table
    _cells: dict[str, pa.StringArray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        rows: int = self.table.num_rows
        return rows

    def cells(self, column: str) -> pa.StringArray:
        """Return cells without surrounding spaces; empty if absent."""
        if column not in self._cells:
            cells = self.table.column(column).combine_chunks()
            self._cells[column] = pc.fill_null(pc.utf8_trim_whitespace(cells), "")
        return self._cells[column]

    def lower_cells(self, column: str) -> pa.StringArray:
        """Return the same in small letters."""
        return pc.utf8_lower(self.cells(column))

    def dates(self, column: str) -> pa.StringArray:
        """Return days as `YYYY-MM-DD`; empty for none or an invalid one."""
        return self.parse_cells(column, day_of, pa.string())

    def cents(self, column: str) -> Any:
        """Return amounts as numpy `int64` cents; `ABSENT` or `NO_CENTS` for others."""
        cells = self.table.column(column).combine_chunks()
        if cells.null_count == len(cells):
            return np.full(len(cells), ABSENT, dtype=np.int64)
        try:
            decimals = cells.cast(_MONEY)
        except pa.ArrowInvalid:  # a cell has another format: parse them one by one
            return self.parse_cells(column, _parse_cents, pa.int64()).to_numpy()
        low = np.frombuffer(decimals.buffers()[1], dtype="<i8")[2 * decimals.offset :: 2][
            : len(decimals)
        ]
        return np.where(np.asarray(decimals.is_valid()), low, ABSENT)

    def integers(self, column: str) -> Any:
        """Return integers, numpy `int64`; -1 if absent or invalid."""
        return self.parse_cells(column, _parse_integer, pa.int64()).to_numpy()

    def parse_cells(
        self, column: str, parse: Callable[[str], object], kind: pa.DataType
    ) -> pa.Array:
        """Parse each distinct cell once; return the results in Arrow."""
        distinct = self.cells(column).dictionary_encode()
        return pa.array(map(parse, distinct.dictionary.to_pylist()), kind).take(distinct.indices)

    @cached_property
    def positions(self) -> Any:
        """File and row of each row: numpy `int64`, shape (rows, 2)."""
        return places_of(self.table)


def places_of(table: pa.Table) -> Any:
    """Return file and row of each canonical row: numpy `int64`, shape (rows, 2)."""
    columns = [table.column(name).to_numpy() for name in (FILE_COLUMN, ROW_COLUMN)]
    return np.stack([column.astype(np.int64) for column in columns], axis=1)


def is_among(positions: Any, other_positions: Any) -> Any:
    """Return which positions are among others: numpy `bool`."""
    if np.array_equal(positions, other_positions):
        return np.ones(len(positions), dtype=np.bool_)
    return find_pairs(positions, other_positions) >= 0


def find_pairs(wanted_pairs: Any, pairs: Any) -> Any:
    """Return the index of each wanted pair among pairs, numpy `int64`; -1 if missing.

    Args:
        wanted_pairs: numpy `int64`, shape (n, 2).
        pairs: the same.
    """
    second_numbers = pa.array(np.concatenate([wanted_pairs[:, 1], pairs[:, 1]])).dictionary_encode()
    codes, size = second_numbers.indices.to_numpy(), max(1, len(second_numbers.dictionary))
    keys = np.concatenate([wanted_pairs[:, 0], pairs[:, 0]]) * size + codes
    return find_texts(pa.array(keys[: len(wanted_pairs)]), pa.array(keys[len(wanted_pairs) :]))


def find_texts(wanted_texts: pa.Array, values: pa.Array) -> Any:
    """Return the index of each wanted text among values, numpy `int64`; -1 if missing."""
    indices = pc.fill_null(pc.index_in(wanted_texts, value_set=values), -1)
    return indices.to_numpy(zero_copy_only=False).astype(np.int64)


@lru_cache(maxsize=_CACHED_DAYS)
def day_of(text: str) -> str:
    """Return a day as `YYYY-MM-DD`; empty for none or an invalid one."""
    if len(text) == 8 and text.isdigit():
        text = f"{text[:4]}-{text[4:6]}-{text[6:]}"
    try:
        return date.fromisoformat(text).isoformat() if len(text) == 10 else ""
    except ValueError:
        return ""


def _parse_cents(text: str) -> int:
    if not text:
        return ABSENT
    try:
        cents = Decimal(text) * 100
    except InvalidOperation:
        return NO_CENTS
    if not cents.is_finite() or cents != cents.to_integral_value() or abs(cents) >= 10**15:
        return NO_CENTS
    return int(cents)


def _parse_integer(text: str) -> int:
    try:
        return int(Decimal(text)) if text else -1
    except (InvalidOperation, ValueError, OverflowError):
        return -1


@dataclass(frozen=True)
class SourceClaims:
    """Published claims of some members, as their rows have them.

    Attributes:
        claims, lines, coverages, members, payers, adjustments: the published rows of the tables.
        rejected: claims in quarantine; they still count as links of chains.
        rules: (file, row, column) of cells with findings -> the rule.
    """

    claims: SourceTable
    lines: SourceTable
    coverages: SourceTable
    members: SourceTable
    payers: SourceTable
    adjustments: SourceTable
    rejected: SourceTable
    rules: Mapping[tuple[int, int, str], str]

    @property
    def counts(self) -> Mapping[str, int]:
        """Rows of each table that resources, or their items, are made of."""
        return {
            "claim": len(self.claims),
            "claim_line": len(self.lines),
            "member": len(self.members),
            "coverage": len(self.coverages),
        }

    def rows_of(self, numbers: pa.StringArray) -> Any:
        """Return the row index of each claim number; -1 if unpublished."""
        return find_texts(numbers, self.claims.cells("claim_id"))

    def lines_at(self, claim_rows: Any, line_numbers: Any) -> Any:
        """Return the row index of each line, by its claim's row and line number."""
        return find_pairs(np.stack([claim_rows, line_numbers], axis=1), self._line_keys)

    @cached_property
    def _line_keys(self) -> Any:
        return np.stack([self.line_claims, self.lines.integers("line_number")], axis=1)

    # -- row index of the claim, or line, that a row belongs to: numpy `int64`; -1 if unpublished

    @cached_property
    def line_claims(self) -> Any:
        """Claim of each line."""
        return self.rows_of(self.lines.cells("claim_id"))

    @cached_property
    def payer_claims(self) -> Any:
        """Claim of what each other payer paid."""
        return self.rows_of(self.payers.cells("claim_id"))

    @cached_property
    def payer_lines(self) -> Any:
        """Line of what each other payer paid."""
        return self.lines_at(self.payer_claims, self.payers.integers("line_number"))

    @cached_property
    def adjustment_claims(self) -> Any:
        """Claim of each adjustment."""
        return self.rows_of(self.adjustments.cells("claim_id"))

    @cached_property
    def adjustment_lines(self) -> Any:
        """Line of each adjustment."""
        return self.lines_at(self.adjustment_claims, self.adjustments.integers("line_number"))

    @cached_property
    def types(self) -> pa.StringArray:
        """Claim type of each claim, in small letters."""
        return self.claims.lower_cells("claim_type")

    @cached_property
    def plans(self) -> pa.StringArray:
        """Plan of each claim: id, or else name, of its coverage's plan."""
        ids, names = self.coverages.cells("plan_id"), self.coverages.cells("plan_name")
        plans = pc.if_else(pc.equal(ids, ""), names, ids)
        coverage_ids = self.coverages.cells("coverage_id")
        return pc.fill_null(
            plans.take(pc.index_in(self.claims.cells("coverage_id"), value_set=coverage_ids)), ""
        )

    def statuses(self) -> tuple[Any, Any]:
        """Return which claims keep the source's status, and which must be cancelled.

        A claim that another one replaces is cancelled, in quarantine or not (decision 0007). A
        claim without links, or at the only end of its chain, keeps the source's status, and so
        does a claim that the source does not call active. For others the chain decides, which is
        not derived here.

        Returns:
            Two of numpy `bool`.
        """
        statuses = self.claims.lower_cells("status")
        has_no_successor = _equals(self.claims.cells("adjusted_to_claim_id"), "")
        is_linked, successors = self._links()
        is_last, ends = ~is_linked, _chain_ends(successors)
        claims = np.array([end for end in ends if end < len(statuses)], dtype=np.int64)
        is_only_end = np.array([ends[end] == 1 for end in claims.tolist()], dtype=np.bool_)
        is_last[claims] = is_only_end & has_no_successor[claims] & ~self._are_reversals(claims)
        frequencies = self.claims.cells("bill_frequency")
        bills = self.claims.parse_cells(
            "type_of_bill", lambda text: text.lstrip("0")[2:3], pa.string()
        )
        is_void = np.where(_equals(bills, ""), _equals(frequencies, "8"), _equals(bills, "8"))
        is_replaced = np.zeros(len(statuses), dtype=np.bool_)
        is_replaced[
            [
                claim
                for claim in successors
                if claim < len(statuses) and not _is_circular(successors, claim)
            ]
        ] = True
        keeps_status = ~(_equals(statuses, "") | _equals(statuses, "active")) | is_last & ~is_void
        return keeps_status, np.where(keeps_status, _equals(statuses, "cancelled"), is_replaced)

    def _links(self) -> tuple[Any, dict[int, set[int]]]:
        """Return which published claims are linked, and the successors of each claim.

        Rejected claims are numbered after the published ones.
        """
        rows = self.claims
        if len(self.rejected):
            rows = SourceTable(pa.concat_tables([rows.table, self.rejected.table]))
        owners = rows.cells("member_id").dictionary_encode().indices.to_numpy()
        is_linked = np.zeros(len(owners), dtype=np.bool_)
        successors: dict[int, set[int]] = {}
        for column, is_prior in (("adjusted_from_claim_id", True), ("adjusted_to_claim_id", False)):
            links = rows.cells(column)
            rows_with_link = np.flatnonzero(~_equals(links, ""))
            targets = find_texts(links.take(pa.array(rows_with_link)), rows.cells("claim_id"))
            for row, target in zip(rows_with_link.tolist(), targets.tolist(), strict=True):
                if target == row:
                    continue
                is_linked[row] = True
                if target >= 0 and owners[target] == owners[row]:
                    is_linked[target] = True
                    earlier_claim, later_claim = (target, row) if is_prior else (row, target)
                    successors.setdefault(earlier_claim, set()).add(later_claim)
        return is_linked[: len(self.claims)], successors

    def _are_reversals(self, claims: Any) -> Any:
        """Return which claims are reversals: stated amounts total less than zero."""
        count = len(self.claims)
        selected = np.zeros(count + 1, dtype=np.bool_)  # the last is that of no claim
        selected[claims] = True
        lines = np.flatnonzero(selected[self.line_claims])
        totals = sums_by(self.line_claims[lines], self.stated_lines[lines], count)
        payments = self.claims.cents("payment_amount")[claims, np.newaxis]
        amounts = np.concatenate([self.stated[claims], totals[claims], payments], axis=1)
        is_stated = amounts > NO_CENTS
        return np.where(is_stated, amounts, 0).sum(axis=1) < 0

    # -- amounts: numpy `int64`, in cents, with a column for each of `CATEGORIES` ---------------

    @cached_property
    def stated(self) -> Any:
        """Header amounts that the claims' rows state."""
        return _read_amounts(self.claims)

    @cached_property
    def stated_lines(self) -> Any:
        """Amounts that the lines' rows state."""
        return _read_amounts(self.lines)

    @cached_property
    def stated_adjustments(self) -> Any:
        """Amounts of adjustments, in one column; `ABSENT` without a reason code."""
        has_no_reason = _equals(self.adjustments.cells("reason_code"), "")
        return np.where(has_no_reason, ABSENT, self.adjustments.cents("amount"))[:, np.newaxis]

    # -- the file whose row contributed an amount: numpy `int64`, with a column per category -----

    @cached_property
    def claim_files(self) -> Any:
        """Files of the claims' amounts: those of their rows."""
        return np.repeat(self.claims.positions[:, :1], len(CATEGORIES), axis=1)

    @cached_property
    def line_files(self) -> Any:
        """Files of the lines' amounts.

        Prior payers' amounts and adjustments may come from rows of other tables. If those of one
        line come from several files, the first file counts.
        """
        files = np.repeat(self.lines.positions[:, :1], len(CATEGORIES), axis=1)
        paid = np.flatnonzero(self.payers.cents("amount_priorpayerpaid") != ABSENT)
        paid = paid[self.payer_lines[paid] >= 0]
        paid = paid[self.stated_lines[self.payer_lines[paid], _PRIOR] == ABSENT]
        for category, table, rows, line in (
            (_PRIOR, self.payers, paid, self.payer_lines),
            (ADJUSTED, self.adjustments, np.arange(len(self.adjustments)), self.adjustment_lines),
        ):
            rows = rows[line[rows] >= 0][::-1]  # reversed, so that the first file wins
            files[line[rows], category] = table.positions[rows, 0]
        return files

    def expected(self, headers: Any, lines: Any, adjustments: Any) -> tuple[Any, Any, Any]:
        """Return the totals, header amounts and line amounts that should be published.

        Totals are those that the header states or, if it states none, sums of the lines.
        Amounts of institutional claims are published with their lines, or else in the header.
        Other claims' only line has the header's amounts, if it states none.

        Args:
            headers: as `stated`, without what rules left out.
            lines: as `stated_lines`.
            adjustments: as `stated_adjustments`.
        """
        count, line_claims = len(self.claims), self.line_claims
        claim_payments, line_payments, all_payments = self._prior_payer_amounts
        # Totals.
        totals = headers.copy()
        totals[:, _PRIOR] = _fill_absent(headers[:, _PRIOR], claim_payments)
        states_totals = (headers != ABSENT).any(axis=1)
        unstated = np.flatnonzero(~np.append(states_totals, True)[line_claims])
        sums = sums_by(line_claims[unstated], lines[unstated], count)
        payments = sums_by(line_claims, line_payments[:, np.newaxis], count)[:, 0]
        sums[:, _PRIOR] = _fill_absent(sums[:, _PRIOR], payments)
        totals[~states_totals] = _fill_absent(totals, sums)[~states_totals]
        # Adjudication: of lines, and of the header.
        line_cents = self.line_cents(lines, adjustments, lines)
        copies = np.flatnonzero(self._are_only_lines & ~(lines != ABSENT).any(axis=1))
        line_cents[copies] = _fill_absent(line_cents[copies], headers[line_claims[copies]])
        in_header = self._are_in_header(lines)
        header_cents = np.full_like(headers, ABSENT)
        header_cents[in_header] = headers[in_header]
        header_cents[in_header, _PRIOR] = _fill_absent(headers[:, _PRIOR], all_payments)[in_header]
        adjustment_sums = sums_by(self.adjustment_claims, adjustments, count)[:, 0]
        header_cents[in_header, ADJUSTED] = adjustment_sums[in_header]
        return totals, header_cents, line_cents

    def line_cents(self, lines: Any, adjustments: Any, published_lines: Any) -> Any:
        """Return the amounts that rows state for lines, those of other tables included.

        Args:
            lines: as `stated_lines`.
            adjustments: as `stated_adjustments`.
            published_lines: as `stated_lines`, without what rules left out.
        """
        in_header = np.append(self._are_in_header(published_lines), False)[self.line_claims]
        adjustment_sums = sums_by(self.adjustment_lines, adjustments, len(lines))[:, 0]
        line_cents = lines.copy()
        line_cents[:, ADJUSTED] = np.where(in_header, ABSENT, adjustment_sums)
        payments = np.where(in_header, ABSENT, self._prior_payer_amounts[1])
        line_cents[:, _PRIOR] = _fill_absent(lines[:, _PRIOR], payments)
        return line_cents

    def _are_in_header(self, lines: Any) -> Any:
        """Return the institutional claims without amounts of lines: numpy `bool`."""
        has_lines = np.zeros(len(self.claims) + 1, dtype=np.bool_)  # the last is that of no claim
        has_lines[self.line_claims[(lines != ABSENT).any(axis=1)]] = True
        return self._is_institutional & ~has_lines[:-1]

    @cached_property
    def _are_only_lines(self) -> Any:
        """Which lines are the only one of a claim that isn't institutional: numpy `bool`."""
        claims = self.line_claims
        line_counts = np.bincount(claims[claims >= 0], minlength=len(self.claims))
        return (claims >= 0) & np.append(~self._is_institutional & (line_counts == 1), False)[
            claims
        ]

    @cached_property
    def _is_institutional(self) -> Any:
        return as_numpy(pc.is_in(self.types, pa.array(_INSTITUTIONAL)))

    @cached_property
    def _prior_payer_amounts(self) -> tuple[Any, Any, Any]:
        """Amounts that prior payers paid: per whole claim, per line, per claim in total."""
        cents, claim_rows = self.payers.cents("amount_priorpayerpaid"), self.payer_claims
        numbers, size = self.payers.integers("line_number"), len(self.claims)
        amounts = cents[:, np.newaxis]
        claim_payments = sums_by(np.where(numbers < 0, claim_rows, -1), amounts, size)[:, 0]
        return (
            claim_payments,
            sums_by(self.payer_lines, amounts, len(self.lines))[:, 0],
            sums_by(claim_rows, amounts, size)[:, 0],
        )


def _chain_ends(successors: Mapping[int, set[int]]) -> dict[int, int]:
    """Map claims without successors to the number of such ends in their chain."""
    neighbors: dict[int, set[int]] = {}
    for claim, claim_successors in successors.items():
        for neighbor in claim_successors:
            neighbors.setdefault(claim, set()).add(neighbor)
            neighbors.setdefault(neighbor, set()).add(claim)
    end_counts: dict[int, int] = {}
    visited: set[int] = set()
    for start in neighbors:
        if start in visited:
            continue
        chain, pending = {start}, [start]
        while pending:
            unvisited = neighbors[pending.pop()] - chain
            chain |= unvisited
            pending += unvisited
        visited |= chain
        ends = [claim for claim in chain if claim not in successors]
        end_counts |= dict.fromkeys(ends, len(ends))
    return end_counts


def _is_circular(successors: Mapping[int, set[int]], start: int) -> bool:
    """Return whether links lead from a claim back to itself."""
    visited, pending = set(), [start]
    while pending:
        for successor in successors.get(pending.pop(), ()):
            if successor == start:
                return True
            if successor not in visited:
                visited.add(successor)
                pending.append(successor)
    return False


def _read_amounts(table: SourceTable) -> Any:
    amounts = np.full((len(table), len(CATEGORIES)), ABSENT, dtype=np.int64)
    for code, category in enumerate(AMOUNT_CATEGORIES):
        amounts[:, code] = table.cents(f"amount_{category}")
    return amounts


def _equals(cells: pa.Array, text: str) -> Any:
    """Return which cells equal a text: numpy `bool`."""
    return as_numpy(pc.equal(cells, text))


def as_numpy(values: pa.Array) -> Any:
    """Return Arrow values as numpy: texts as `object`, booleans as `bool`."""
    return values.to_numpy(zero_copy_only=False)


def _fill_absent(amounts: Any, defaults: Any) -> Any:
    """Replace absent amounts by others."""
    return np.where(amounts == ABSENT, defaults, amounts)
