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
"""Place of adjustments in `CATEGORIES`."""
_DAYS: Final = 100_000
"""Days that are read once: several columns have the same ones."""
_INSTITUTIONAL: Final = ("inpatient", "outpatient")


def amount_tables(level: str, category: str) -> tuple[str, ...]:
    """Return the tables with rows that may bring published amounts of a level and category."""
    if level == "claim_line" and category == ADJUSTMENT:
        return ("claim_adjustment",)
    if level == "claim_line" and category == CATEGORIES[_PRIOR]:
        return (level, "claim_other_payer")
    return (level,)


@dataclass(frozen=True, slots=True)
class Fates:
    """Rows of one table by their fate in the run; all other rows are superseded.

    Attributes:
        published: numpy `int64`, shape (n, 2): file and row of each row that was published.
        quarantined: the same of rows in quarantine.
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
        """Return cells without spaces around them; empty where absent."""
        if column not in self._cells:
            cells = self.table.column(column).combine_chunks()
            self._cells[column] = pc.fill_null(pc.utf8_trim_whitespace(cells), "")
        return self._cells[column]

    def small(self, column: str) -> pa.StringArray:
        """Return the same in small letters."""
        return pc.utf8_lower(self.cells(column))

    def dates(self, column: str) -> pa.StringArray:
        """Return days as `YYYY-MM-DD`; empty where there is none or it is in no calendar."""
        return self.each(column, day_of, pa.string())

    def cents(self, column: str) -> Any:
        """Return amounts as numpy `int64` cents; `ABSENT` for none, `NO_CENTS` if unreadable."""
        cells = self.table.column(column).combine_chunks()
        if cells.null_count == len(cells):
            return np.full(len(cells), ABSENT, dtype=np.int64)
        try:
            exact = cells.cast(_MONEY)
        except pa.ArrowInvalid:  # one of them is written otherwise: each is read by itself
            return self.each(column, _cents, pa.int64()).to_numpy()
        low = np.frombuffer(exact.buffers()[1], dtype="<i8")[2 * exact.offset :: 2][: len(exact)]
        return np.where(np.asarray(exact.is_valid()), low, ABSENT)

    def whole(self, column: str) -> Any:
        """Return whole numbers, numpy `int64`; -1 for none."""
        return self.each(column, _whole, pa.int64()).to_numpy()

    def each(self, column: str, read: Callable[[str], object], kind: pa.DataType) -> pa.Array:
        """Return what each text is read as, in Arrow; the same text is read once."""
        words = self.cells(column).dictionary_encode()
        return pa.array(map(read, words.dictionary.to_pylist()), kind).take(words.indices)

    @cached_property
    def places(self) -> Any:
        """File and row of each row: numpy `int64`, shape (rows, 2)."""
        return places_of(self.table)


def places_of(table: pa.Table) -> Any:
    """Return file and row of each row of a canonical table: numpy `int64`, shape (rows, 2)."""
    columns = [table.column(name).to_numpy() for name in (FILE_COLUMN, ROW_COLUMN)]
    return np.stack([column.astype(np.int64) for column in columns], axis=1)


def among(places: Any, wanted: Any) -> Any:
    """Return which places are among others: numpy `bool`."""
    if np.array_equal(places, wanted):
        return np.ones(len(places), dtype=np.bool_)
    return pair_places(places, wanted) >= 0


def pair_places(wanted: Any, pairs: Any) -> Any:
    """Return where each wanted pair of numbers is among pairs, numpy `int64`; -1 for nowhere.

    Args:
        wanted: numpy `int64`, shape (n, 2).
        pairs: the same.
    """
    seconds = pa.array(np.concatenate([wanted[:, 1], pairs[:, 1]])).dictionary_encode()
    codes, size = seconds.indices.to_numpy(), max(1, len(seconds.dictionary))
    keys = np.concatenate([wanted[:, 0], pairs[:, 0]]) * size + codes
    return text_places(pa.array(keys[: len(wanted)]), pa.array(keys[len(wanted) :]))


def text_places(wanted: pa.Array, values: pa.Array) -> Any:
    """Return where each wanted value is among values, numpy `int64`; -1 for nowhere."""
    at = pc.fill_null(pc.index_in(wanted, value_set=values), -1)
    return at.to_numpy(zero_copy_only=False).astype(np.int64)


@lru_cache(maxsize=_DAYS)
def day_of(text: str) -> str:
    """Return a day as `YYYY-MM-DD`; empty where there is none or it is in no calendar."""
    if len(text) == 8 and text.isdigit():
        text = f"{text[:4]}-{text[4:6]}-{text[6:]}"
    try:
        return date.fromisoformat(text).isoformat() if len(text) == 10 else ""
    except ValueError:
        return ""


def _cents(text: str) -> int:
    if not text:
        return ABSENT
    try:
        cents = Decimal(text) * 100
    except InvalidOperation:
        return NO_CENTS
    if not cents.is_finite() or cents != cents.to_integral_value() or abs(cents) >= 10**15:
        return NO_CENTS
    return int(cents)


def _whole(text: str) -> int:
    try:
        return int(Decimal(text)) if text else -1
    except (InvalidOperation, ValueError, OverflowError):
        return -1


@dataclass(frozen=True)
class SourceClaims:
    """Published claims of some members, as their rows have them.

    Attributes:
        claims, lines, coverages, members, payers, adjustments: the published rows of the tables.
        rejected: claims in quarantine, which still say what they replace.
        places: (file, row, column) of cells that a rule found something in -> the rule.
    """

    claims: SourceTable
    lines: SourceTable
    coverages: SourceTable
    members: SourceTable
    payers: SourceTable
    adjustments: SourceTable
    rejected: SourceTable
    places: Mapping[tuple[int, int, str], str]

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
        """Return the place of the row of each claim number; -1 where it is not published."""
        return text_places(numbers, self.claims.cells("claim_id"))

    def lines_at(self, of: Any, numbers: Any) -> Any:
        """Return the place of the row of each line, by its claim's place and its own number."""
        return pair_places(np.stack([of, numbers], axis=1), self._line_keys)

    @cached_property
    def _line_keys(self) -> Any:
        return np.stack([self.line_claims, self.lines.whole("line_number")], axis=1)

    # -- the place of the claim, or line, that a row is of: numpy `int64`; -1 where it is not
    # published

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
        """Line of the same."""
        return self.lines_at(self.payer_claims, self.payers.whole("line_number"))

    @cached_property
    def adjustment_claims(self) -> Any:
        """Claim of each adjustment."""
        return self.rows_of(self.adjustments.cells("claim_id"))

    @cached_property
    def adjustment_lines(self) -> Any:
        """Line of the same."""
        return self.lines_at(self.adjustment_claims, self.adjustments.whole("line_number"))

    @cached_property
    def types(self) -> pa.StringArray:
        """Claim type of each claim, in small letters."""
        return self.claims.small("claim_type")

    @cached_property
    def plans(self) -> pa.StringArray:
        """Plan of each claim: id, or else name, of its coverage's plan."""
        ids, names = self.coverages.cells("plan_id"), self.coverages.cells("plan_name")
        plans = pc.if_else(pc.equal(ids, ""), names, ids)
        covers = self.coverages.cells("coverage_id")
        return pc.fill_null(
            plans.take(pc.index_in(self.claims.cells("coverage_id"), value_set=covers)), ""
        )

    def statuses(self) -> tuple[Any, Any]:
        """Return which claims have the status of the source, and which have to be cancelled.

        A claim that another one replaces is cancelled, in quarantine or not (decision 0007). A
        claim without links, or at the one end of its chain, has the status of the source, and so
        has a claim that the source does not call active. For others the chain decides, which is
        not derived here.

        Returns:
            Two of numpy `bool`.
        """
        words = self.claims.small("status")
        after = _is(self.claims.cells("adjusted_to_claim_id"), "")
        linked, later = self._links()
        last, ends = ~linked, _ends(later)
        at = np.array([end for end in ends if end < len(words)], dtype=np.int64)
        single = np.array([ends[end] == 1 for end in at.tolist()], dtype=np.bool_)
        last[at] = single & after[at] & ~self._reverses(at)
        frequency = self.claims.cells("bill_frequency")
        bill = self.claims.each("type_of_bill", lambda text: text.lstrip("0")[2:3], pa.string())
        voids = np.where(_is(bill, ""), _is(frequency, "8"), _is(bill, "8"))
        replaced = np.zeros(len(words), dtype=np.bool_)
        replaced[[at for at in later if at < len(words) and not _circular(later, at)]] = True
        own = ~(_is(words, "") | _is(words, "active")) | last & ~voids
        return own, np.where(own, _is(words, "cancelled"), replaced)

    def _links(self) -> tuple[Any, dict[int, set[int]]]:
        """Return which published claims are linked, and the claims that replace a claim.

        Rejected claims are counted on from the last of the published.
        """
        rows = self.claims
        if len(self.rejected):
            rows = SourceTable(pa.concat_tables([rows.table, self.rejected.table]))
        owners = rows.cells("member_id").dictionary_encode().indices.to_numpy()
        linked = np.zeros(len(owners), dtype=np.bool_)
        later: dict[int, set[int]] = {}
        for column, is_prior in (("adjusted_from_claim_id", True), ("adjusted_to_claim_id", False)):
            named = rows.cells(column)
            naming = np.flatnonzero(~_is(named, ""))
            others = text_places(named.take(pa.array(naming)), rows.cells("claim_id"))
            for at, other in zip(naming.tolist(), others.tolist(), strict=True):
                if other == at:
                    continue
                linked[at] = True
                if other >= 0 and owners[other] == owners[at]:
                    linked[other] = True
                    first, second = (other, at) if is_prior else (at, other)
                    later.setdefault(first, set()).add(second)
        return linked[: len(self.claims)], later

    def _reverses(self, claims: Any) -> Any:
        """Return which of some claims have amounts, of their own or of lines, of zero or less."""
        size = len(self.claims)
        wanted = np.zeros(size + 1, dtype=np.bool_)  # the last is that of no claim
        wanted[claims] = True
        lines = np.flatnonzero(wanted[self.line_claims])
        of_lines = sums_by(self.line_claims[lines], self.stated_lines[lines], size)
        payments = self.claims.cents("payment_amount")[claims, np.newaxis]
        amounts = np.concatenate([self.stated[claims], of_lines[claims], payments], axis=1)
        is_there = amounts > NO_CENTS
        return is_there.any(axis=1) & (np.where(is_there, amounts, 0).sum(axis=1) <= 0)

    # -- amounts: numpy `int64`, in cents, with a column for each of `CATEGORIES` ---------------

    @cached_property
    def stated(self) -> Any:
        """Amounts that the claims' rows state."""
        return _amounts(self.claims)

    @cached_property
    def stated_lines(self) -> Any:
        """Amounts that the lines' rows state."""
        return _amounts(self.lines)

    @cached_property
    def stated_adjustments(self) -> Any:
        """Amounts of the adjustments' rows, in one column; none without a reason code."""
        without = _is(self.adjustments.cells("reason_code"), "")
        return np.where(without, ABSENT, self.adjustments.cents("amount"))[:, np.newaxis]

    # -- the file whose row brought an amount: numpy `int64`, with a column for each category ------

    @cached_property
    def claim_files(self) -> Any:
        """Files of the claims' amounts: those of their rows."""
        return np.repeat(self.claims.places[:, :1], len(CATEGORIES), axis=1)

    @cached_property
    def line_files(self) -> Any:
        """Files of the lines' amounts.

        What other payers paid and adjustments may be of rows of other tables; where those of one
        line are of several files, the first of them counts.
        """
        files = np.repeat(self.lines.places[:, :1], len(CATEGORIES), axis=1)
        added = (
            (_PRIOR, self.payers, self.payer_lines, self.stated_lines[:, _PRIOR] == ABSENT),
            (
                *(ADJUSTED, self.adjustments, self.adjustment_lines),
                np.ones(len(self.lines), dtype=np.bool_),
            ),
        )
        for category, table, line, is_added in added:
            rows = np.flatnonzero(line >= 0)
            rows = rows[is_added[line[rows]]][::-1]  # the first is written last
            files[line[rows], category] = table.places[rows, 0]
        return files

    def expected(self, headers: Any, lines: Any, adjustments: Any) -> tuple[Any, Any, Any]:
        """Return the totals, the header's and the lines' amounts that are to be published.

        Totals are what the header states, or else, where it states none, sums of the lines.
        Amounts of institutional claims stand in their lines, or else in the header.

        Args:
            headers: as `stated`, without what rules left out.
            lines: as `stated_lines`.
            adjustments: as `stated_adjustments`.
        """
        size, of = len(self.claims), self.line_claims
        has_lines = np.zeros(size + 1, dtype=np.bool_)  # the last is that of no claim
        has_lines[of[(lines != ABSENT).any(axis=1)]] = True
        paid_whole, paid_lines, paid_all = self._paid_before
        # Totals.
        totals = headers.copy()
        totals[:, _PRIOR] = _first(headers[:, _PRIOR], paid_whole)
        states = (totals != ABSENT).any(axis=1)
        stateless = np.flatnonzero(~np.append(states, True)[of])
        sums = sums_by(of[stateless], lines[stateless], size)
        prior = sums_by(of, paid_lines[:, np.newaxis], size)[:, 0]
        sums[:, _PRIOR] = _first(sums[:, _PRIOR], prior)
        totals[~states] = _first(totals, sums)[~states]
        # Adjudication: of lines, and of the header.
        full = lines.copy()
        full[:, _PRIOR] = _first(lines[:, _PRIOR], paid_lines)
        full[:, ADJUSTED] = sums_by(self.adjustment_lines, adjustments, len(full))[:, 0]
        in_header = self._institutional & ~has_lines[:-1]
        full[np.append(in_header, False)[of]] = ABSENT
        head = np.full_like(headers, ABSENT)
        head[in_header] = headers[in_header]
        head[in_header, _PRIOR] = _first(headers[:, _PRIOR], paid_all)[in_header]
        adjusted = sums_by(self.adjustment_claims, adjustments, size)[:, 0]
        head[in_header, ADJUSTED] = adjusted[in_header]
        return totals, head, full

    @cached_property
    def _institutional(self) -> Any:
        return as_numpy(pc.is_in(self.types, pa.array(_INSTITUTIONAL)))

    @cached_property
    def _paid_before(self) -> tuple[Any, Any, Any]:
        """Amounts other payers paid: for each claim as a whole, each line, each claim at all."""
        cents, of = self.payers.cents("amount_priorpayerpaid"), self.payer_claims
        numbers, size = self.payers.whole("line_number"), len(self.claims)
        amounts = cents[:, np.newaxis]
        whole = sums_by(np.where(numbers < 0, of, -1), amounts, size)[:, 0]
        return (
            whole,
            sums_by(self.payer_lines, amounts, len(self.lines))[:, 0],
            sums_by(of, amounts, size)[:, 0],
        )


def _ends(later: Mapping[int, set[int]]) -> dict[int, int]:
    """Return the claims that nothing replaces, and how many of them their chains have."""
    near: dict[int, set[int]] = {}
    for first, others in later.items():
        for other in others:
            near.setdefault(first, set()).add(other)
            near.setdefault(other, set()).add(first)
    found: dict[int, int] = {}
    seen: set[int] = set()
    for start in near:
        if start in seen:
            continue
        chain, todo = {start}, [start]
        while todo:
            new = near[todo.pop()] - chain
            chain |= new
            todo += new
        seen |= chain
        ends = [at for at in chain if at not in later]
        found |= dict.fromkeys(ends, len(ends))
    return found


def _circular(later: Mapping[int, set[int]], start: int) -> bool:
    """Return whether links lead from a claim back to it, or into a circle."""
    seen, todo = set(), [start]
    while todo:
        for each in later.get(todo.pop(), ()):
            if each == start:
                return True
            if each not in seen:
                seen.add(each)
                todo.append(each)
    return False


def _amounts(table: SourceTable) -> Any:
    amounts = np.full((len(table), len(CATEGORIES)), ABSENT, dtype=np.int64)
    for code, category in enumerate(AMOUNT_CATEGORIES):
        amounts[:, code] = table.cents(f"amount_{category}")
    return amounts


def _is(cells: pa.Array, text: str) -> Any:
    """Return which cells are a text: numpy `bool`."""
    return as_numpy(pc.equal(cells, text))


def as_numpy(values: pa.Array) -> Any:
    """Return values as numpy: texts as `object`, truth values as `bool`."""
    return values.to_numpy(zero_copy_only=False)


def _first(one: Any, other: Any) -> Any:
    return np.where(one == ABSENT, other, one)
