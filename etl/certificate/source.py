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
from etl.certificate.sums import entries_where
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
}
"""Table -> columns that are compared with what is published."""

_MONEY: Final = pa.decimal128(17, 2)
_PRIOR: Final = CATEGORIES.index("priorpayerpaid")
_ADJUSTED: Final = CATEGORIES.index(ADJUSTMENT)
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

    def texts(self, column: str) -> Any:
        """Return cells without spaces around them, numpy `object`; empty where absent."""
        return self.cells(column).to_numpy(zero_copy_only=False)

    def small(self, column: str) -> Any:
        """Return the same in small letters."""
        return pc.utf8_lower(self.cells(column)).to_numpy(zero_copy_only=False)

    def dates(self, column: str) -> Any:
        """Return days as `YYYY-MM-DD`; empty where there is none or it is in no calendar."""
        return self.each(column, day_of, object)

    def cents(self, column: str) -> Any:
        """Return amounts as numpy `int64` cents; `ABSENT` for none, `NO_CENTS` if unreadable."""
        cells = self.table.column(column).combine_chunks()
        if cells.null_count == len(cells):
            return np.full(len(cells), ABSENT, dtype=np.int64)
        try:
            exact = cells.cast(_MONEY)
        except pa.ArrowInvalid:  # one of them is written otherwise: each is read by itself
            return self.each(column, _cents, np.int64)
        low = np.frombuffer(exact.buffers()[1], dtype="<i8")[2 * exact.offset :: 2][: len(exact)]
        return np.where(np.asarray(exact.is_valid()), low, ABSENT)

    def whole(self, column: str) -> Any:
        """Return whole numbers, numpy `int64`; -1 for none."""
        return self.each(column, _whole, np.int64)

    def each(self, column: str, read: Callable[[str], object], dtype: Any) -> Any:
        """Return what each text is read as, numpy; the same text is read once."""
        found = self.cells(column).dictionary_encode()
        known = np.array([read(text) for text in found.dictionary.to_pylist()], dtype=dtype)
        return known[found.indices.to_numpy(zero_copy_only=False)]

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
    return pair_places(places, wanted) >= 0


def pair_places(wanted: Any, pairs: Any) -> Any:
    """Return where each wanted pair of numbers is among pairs, numpy `int64`; -1 for nowhere.

    Args:
        wanted: numpy `int64`, shape (n, 2).
        pairs: the same.
    """
    seconds, codes = np.unique(np.concatenate([wanted[:, 1], pairs[:, 1]]), return_inverse=True)
    keys = np.concatenate([wanted[:, 0], pairs[:, 0]]) * max(1, len(seconds)) + codes
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
        places: (file, row, column) of cells that a rule found something in -> the rule.
    """

    claims: SourceTable
    lines: SourceTable
    coverages: SourceTable
    members: SourceTable
    payers: SourceTable
    adjustments: SourceTable
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
        return np.stack([self.claims_of(self.lines), self.lines.whole("line_number")], axis=1)

    def claims_of(self, table: SourceTable) -> Any:
        """Return the place of the claim of each row; -1 where it is not published."""
        return self.rows_of(table.cells("claim_id"))

    @cached_property
    def types(self) -> Any:
        """Claim type of each claim, in small letters."""
        return self.claims.small("claim_type")

    @cached_property
    def plans(self) -> Any:
        """Plan of each claim: id, or else name, of its coverage's plan."""
        ids, names = self.coverages.texts("plan_id"), self.coverages.texts("plan_name")
        plans = np.append(np.where(ids == "", names, ids), "")  # the last is that of no coverage
        covers = self.coverages.cells("coverage_id")
        return plans[text_places(self.claims.cells("coverage_id"), covers)]

    def statuses(self) -> tuple[Any, Any]:
        """Return the status that each claim has to have, and the word of the source.

        A claim that another one replaces is cancelled (decision 0007). A claim without links, or at
        the one end of its chain, has the status of the source, and so has a claim that the source
        does not call active. For others the chain decides, which is not derived here: they are `?`.
        """
        words = self.claims.small("status")
        after = self.claims.texts("adjusted_to_claim_id")
        linked, later = self._links()
        ends, negative = _ends(later), self._negative
        last = ~linked
        for at, count in ends.items():
            last[at] = count == 1 and not after[at] and not negative[at]
        frequency = self.claims.texts("bill_frequency")
        bill = self.claims.each("type_of_bill", lambda text: text.lstrip("0")[2:3], object)
        voids = np.where(frequency == "", bill, frequency) == "8"
        replaced = np.zeros(len(words), dtype=np.bool_)
        replaced[[at for at in later if not _circular(later, at)]] = True
        own = (words != "") & (words != "active") | last & ~voids
        derived = np.where(replaced, "cancelled", "?").astype(object)
        return np.where(own, words, derived), self.claims.texts("status")

    def _links(self) -> tuple[Any, dict[int, set[int]]]:
        """Return which claims are linked, and the claims that replace a claim."""
        owners = self.claims.texts("member_id")
        linked = np.zeros(len(owners), dtype=np.bool_)
        later: dict[int, set[int]] = {}
        for column, is_prior in (("adjusted_from_claim_id", True), ("adjusted_to_claim_id", False)):
            named = self.claims.cells(column)
            others = self.rows_of(named)
            for at in np.flatnonzero(np.asarray(pc.not_equal(named, ""))).tolist():
                other = int(others[at])
                if other == at:
                    continue
                linked[at] = True
                if other >= 0 and owners[other] == owners[at]:
                    linked[other] = True
                    first, second = (other, at) if is_prior else (at, other)
                    later.setdefault(first, set()).add(second)
        return linked, later

    @cached_property
    def _negative(self) -> Any:
        """Claims with an amount below nought, of their own or of a line: numpy `bool`."""
        below = ((self.stated < 0) & (self.stated > NO_CENTS)).any(axis=1)
        lines = ((self.stated_lines < 0) & (self.stated_lines > NO_CENTS)).any(axis=1)
        of = self.claims_of(self.lines)
        below[of[lines & (of >= 0)]] = True
        return below

    # -- amounts: numpy `int64`, in cents, with a column for each of `CATEGORIES` ---------------

    @cached_property
    def stated(self) -> Any:
        """Amounts that the claims' rows state."""
        return _amounts(self.claims)

    @cached_property
    def stated_lines(self) -> Any:
        """Amounts that the lines' rows state."""
        return _amounts(self.lines)

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
            (_PRIOR, self.payers, self.stated_lines[:, _PRIOR] == ABSENT),
            (_ADJUSTED, self.adjustments, np.ones(len(self.lines), dtype=np.bool_)),
        )
        for category, table, is_added in added:
            line = self.lines_at(self.claims_of(table), table.whole("line_number"))
            rows = np.flatnonzero(line >= 0)
            rows = rows[is_added[line[rows]]][::-1]  # the first is written last
            files[line[rows], category] = table.places[rows, 0]
        return files

    def expected(self, headers: Any, lines: Any) -> tuple[Any, Any, Any]:
        """Return the totals, the header's and the lines' amounts that are to be published.

        Totals are what the header states, or else, where it states none, sums of the lines.
        Amounts of institutional claims stand in their lines, or else in the header.

        Args:
            headers: as `stated`, without what rules left out.
            lines: as `stated_lines`.
        """
        size, of = len(self.claims), self.claims_of(self.lines)
        line_has = (lines != ABSENT).any(axis=1)
        has_lines = np.zeros(size, dtype=np.bool_)
        has_lines[of[line_has & (of >= 0)]] = True
        paid_whole, paid_lines, paid_all = self._paid_before
        # Totals.
        totals = headers.copy()
        totals[:, _PRIOR] = _first(headers[:, _PRIOR], paid_whole)
        states = (totals != ABSENT).any(axis=1)
        states |= paid_whole != ABSENT
        sums = _sums_by(of, lines, size)
        sums[:, _PRIOR] = _first(
            sums[:, _PRIOR], _sums_by(of, paid_lines[:, np.newaxis], size)[:, 0]
        )
        totals = np.where((totals == ABSENT) & ~states[:, np.newaxis], sums, totals)
        # Adjudication: of lines, and of the header.
        adjusted = self._adjusted
        full = lines.copy()
        full[:, _PRIOR] = _first(lines[:, _PRIOR], paid_lines)
        full[:, _ADJUSTED] = adjusted
        in_header = self._institutional & ~has_lines
        full[in_header[of] & (of >= 0)] = ABSENT
        head = headers.copy()
        head[:, _PRIOR] = _first(headers[:, _PRIOR], paid_all)
        head[:, _ADJUSTED] = self._adjusted_claims
        head[~in_header] = ABSENT
        return totals, head, full

    @cached_property
    def _institutional(self) -> Any:
        known = np.asarray(pc.is_in(pa.array(self.types, pa.string()), pa.array(_INSTITUTIONAL)))
        return known.astype(np.bool_)

    @cached_property
    def _paid_before(self) -> tuple[Any, Any, Any]:
        """Amounts other payers paid: for each claim as a whole, each line, each claim at all."""
        cents, of = self.payers.cents("amount_priorpayerpaid"), self.claims_of(self.payers)
        numbers, size = self.payers.whole("line_number"), len(self.claims)
        amounts = cents[:, np.newaxis]
        whole = _sums_by(np.where(numbers < 0, of, -1), amounts, size)[:, 0]
        line = self.lines_at(of, numbers)
        return (
            whole,
            _sums_by(line, amounts, len(self.lines))[:, 0],
            _sums_by(of, amounts, size)[:, 0],
        )

    @cached_property
    def _adjusted(self) -> Any:
        of, numbers = self.claims_of(self.adjustments), self.adjustments.whole("line_number")
        line = self.lines_at(of, numbers)
        return _sums_by(line, self._adjustment_amounts, len(self.lines))[:, 0]

    @cached_property
    def _adjusted_claims(self) -> Any:
        of = self.claims_of(self.adjustments)
        return _sums_by(of, self._adjustment_amounts, len(self.claims))[:, 0]

    @cached_property
    def _adjustment_amounts(self) -> Any:
        cents = self.adjustments.cents("amount")
        return np.where(self.adjustments.texts("reason_code") == "", ABSENT, cents)[:, np.newaxis]


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
    found = np.full((len(table), len(CATEGORIES)), ABSENT, dtype=np.int64)
    for code, category in enumerate(AMOUNT_CATEGORIES):
        found[:, code] = table.cents(f"amount_{category}")
    return found


def _first(one: Any, other: Any) -> Any:
    return np.where(one == ABSENT, other, one)


def _sums_by(owners: Any, amounts: Any, size: int) -> Any:
    """Return sums of rows by owner, -1 for no owner; `ABSENT` where there is nothing to add."""
    width = amounts.shape[1]
    rows, columns = entries_where((amounts > NO_CENTS) & (owners >= 0)[:, np.newaxis])
    at = owners[rows] * width + columns
    sums, some = np.zeros(size * width, dtype=np.int64), np.zeros(size * width, dtype=np.bool_)
    np.add.at(sums, at, amounts[rows, columns])
    some[at] = True
    sums[~some] = ABSENT
    return sums.reshape(size, width)
