"""Checks within one row: what must be filled, the order of dates, the equations of money."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import true_where
from etl.columns.dates import NO_DAY
from etl.model.tables import FieldType
from etl.quality.checks.frames import NO_MOMENT, Checks, Frame, Work
from etl.quality.rules import kinds
from etl.quality.rules.book import Rule
from etl.quality.rules.parameters import split_pairs

_FISCAL_DAYS: Final = 92
"""Days by which a fiscal year starts before the calendar year."""
_HOUR: Final = 3_600_000_000


def _check_any_filled(work: Work, frame: Frame, rule: Rule, kind: kinds.AnyFilled) -> None:
    work.fail(rule, frame, _count_filled(frame, kind.columns) == 0)


def _check_together(work: Work, frame: Frame, rule: Rule, kind: kinds.Together) -> None:
    work.fail(rule, frame, _count_filled(frame, kind.columns) > 1)


def _check_incomplete(work: Work, frame: Frame, rule: Rule, kind: kinds.Incomplete) -> None:
    count = _count_filled(frame, kind.columns)
    work.fail(rule, frame, (count > 0) & (count < len(kind.columns)))


def _check_list_sizes(work: Work, frame: Frame, rule: Rule, kind: kinds.UnequalLists) -> None:
    unequal = _list_sizes(frame, kind.column) != _list_sizes(frame, kind.beside)
    work.fail(rule, frame, frame.filled(kind.column) & unequal, kind.column)


def _check_unexpected(work: Work, frame: Frame, rule: Rule, kind: kinds.Unexpected) -> None:
    for column in kind.columns:
        if not frame.cells(column).empty:
            work.fail(rule, frame, frame.filled(column), column)


def _check_past_midnight(work: Work, frame: Frame, rule: Rule, kind: kinds.PastMidnight) -> None:
    opens, closes = frame.cells(kind.opens).text, frame.cells(kind.closes).text
    work.fail(rule, frame, true_where(pc.less(closes, opens)), kind.closes)


def _check_drg_version(work: Work, frame: Frame, rule: Rule, kind: kinds.DrgVersion) -> None:
    cells, days = frame.cells("drg_version"), frame.days("discharge_date")
    digits = [re.search("[0-9]{2}", word) for word in cells.words.to_pylist()]
    numbers = np.array([int(match[0]) if match else 0 for match in digits], dtype=np.int64)
    versions = cells.spread(numbers, 0)
    years = (days.astype(np.int64) + _FISCAL_DAYS).astype("datetime64[D]").astype("datetime64[Y]")
    newest = years.astype(np.int64) + 1970 - 1983
    is_wrong = (versions > newest) | (versions < newest - kind.older)
    work.fail(rule, frame, is_wrong & (versions > 0) & (days != NO_DAY), "drg_version")


def _check_misplaced(work: Work, frame: Frame, rule: Rule, _kind: kinds.Misplaced) -> None:
    work.fail(rule, frame, np.ones(frame.count, dtype=bool))


def _check_required(work: Work, frame: Frame, rule: Rule, _kind: kinds.Required) -> None:
    """Check required cells; a deletion needs only its key and its member."""
    needed_to_delete = {*frame.spec.key, "member_id"}
    applies = work.applies(rule, frame)
    for column in frame.spec.required:
        if frame.cells(column).text.null_count == 0:
            continue
        is_checked = applies | frame.deleted if column in needed_to_delete else applies
        work.fail_rows(rule, frame, is_checked & ~frame.filled(column), column)


def _withdraw_inactive(work: Work, frame: Frame, rule: Rule, kind: kinds.NotActive) -> None:
    """Withdraw inactive rows; dates count only if the extract states its day."""
    is_inactive = np.zeros(frame.count, dtype=bool)
    if kind.flag:
        cells = frame.cells(kind.flag)
        is_inactive |= cells.spread(true_where(pc.equal(cells.words, "N")), absent=False)
    if kind.status:
        cells = frame.cells(kind.status)
        words = pa.array(kind.in_force, pa.string())
        is_active = true_where(pc.is_in(pc.utf8_lower(cells.words), value_set=words))
        is_inactive |= cells.spread(~is_active, absent=False)
    as_of = work.context.as_of
    if kind.until and as_of is not None and not frame.cells(kind.until).empty:
        days = frame.days(kind.until)
        is_inactive |= (days < as_of) & (days != NO_DAY)
    is_inactive &= work.applies(rule, frame) & ~frame.malformed
    frame.withdrawn |= is_inactive
    work.fail_rows(rule, frame, is_inactive)


def _count_filled(frame: Frame, columns: tuple[str, ...]) -> Any:
    """Return how many of the columns each row fills."""
    count = np.zeros(frame.count, dtype=np.int8)
    for column in columns:
        if not frame.cells(column).empty:
            count += frame.filled(column)
    return count


def _check_order(work: Work, frame: Frame, rule: Rule, kind: kinds.Order) -> None:
    for earlier, later in split_pairs(kind.pairs):
        if frame.cells(earlier).empty or frame.cells(later).empty:
            continue
        first_days, last_days = frame.days(earlier), frame.days(later)
        # NO_DAY is the smallest number of all, so an absent first day is never after anything.
        fails = (first_days > last_days) & (last_days != NO_DAY)
        if kind.apart:
            fails = (last_days.astype(np.int64) - first_days > kind.apart) & (first_days != NO_DAY)
        elif _are_instants(frame, earlier, later):
            starts, ends = frame.moments(earlier), frame.moments(later)
            are_instants = (starts != NO_MOMENT) & (ends != NO_MOMENT)
            fails &= ~are_instants & (kind.hours == 0)
            fails |= are_instants & (
                ends - starts > kind.hours * _HOUR if kind.hours else starts > ends
            )
        work.fail(rule, frame, fails, later)


def _are_instants(frame: Frame, *columns: str) -> bool:
    specs = (frame.spec.column(column) for column in columns)
    return all(spec is not None and spec.type is FieldType.TIMESTAMP for spec in specs)


def _check_not_above(work: Work, frame: Frame, rule: Rule, kind: kinds.NotAbove) -> None:
    for smaller, greater in split_pairs(kind.pairs):
        if not (frame.cells(smaller).empty or frame.cells(greater).empty):
            smaller_values, greater_values = (
                frame.cells(name).text.cast(pa.decimal128(38, 18)) for name in (smaller, greater)
            )
            work.fail(rule, frame, true_where(pc.greater(smaller_values, greater_values)), smaller)


def _check_equation(work: Work, frame: Frame, rule: Rule, equation: kinds.Equation) -> None:
    if frame.cells(equation.total).empty:
        return
    is_stated = frame.filled(equation.total)
    for column in equation.needs:
        is_stated = is_stated & frame.filled(column)
    if not is_stated.any():
        return
    # A total without any filled term can't be checked.
    terms = [
        column for column in (*equation.plus, *equation.minus) if not frame.cells(column).empty
    ]
    is_stated = is_stated & (_count_filled(frame, tuple(terms)) > 0)
    difference = frame.cents(equation.total).copy()
    for column in terms:
        amount = frame.cents(column)
        difference += amount if column in equation.minus else -amount
    total = frame.cents(equation.total)
    exceeds = np.abs(total) > np.abs(total - difference)
    fails = is_stated & (exceeds if equation.at_most else difference != 0)
    work.fail(rule, frame, fails, equation.total)


def _list_sizes(frame: Frame, column: str) -> Any:
    """Return how many values the list of each row has."""
    cells = frame.cells(column)
    sizes = pc.add(pc.count_substring(cells.words, ";"), 1)
    return cells.spread(sizes.to_numpy(zero_copy_only=False), 0)


CHECKS: Final[Checks] = {
    kinds.Required: _check_required,
    kinds.Order: _check_order,
    kinds.NotAbove: _check_not_above,
    kinds.Equation: _check_equation,
    kinds.AnyFilled: _check_any_filled,
    kinds.Together: _check_together,
    kinds.Incomplete: _check_incomplete,
    kinds.UnequalLists: _check_list_sizes,
    kinds.Unexpected: _check_unexpected,
    kinds.Misplaced: _check_misplaced,
    kinds.PastMidnight: _check_past_midnight,
    kinds.DrgVersion: _check_drg_version,
    kinds.NotActive: _withdraw_inactive,
}
