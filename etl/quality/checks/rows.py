"""Checks within one row: what must be filled, the order of dates, the equations of money."""

from __future__ import annotations

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

_HOUR: Final = 3_600_000_000


def _any_filled(work: Work, frame: Frame, rule: Rule, kind: kinds.AnyFilled) -> None:
    work.fail(rule, frame, _filled(frame, kind.columns) == 0)


def _together(work: Work, frame: Frame, rule: Rule, kind: kinds.Together) -> None:
    work.fail(rule, frame, _filled(frame, kind.columns) > 1)


def _unequal_lists(work: Work, frame: Frame, rule: Rule, kind: kinds.UnequalLists) -> None:
    unequal = _list_sizes(frame, kind.column) != _list_sizes(frame, kind.beside)
    work.fail(rule, frame, frame.filled(kind.column) & unequal, kind.column)


def _unexpected(work: Work, frame: Frame, rule: Rule, kind: kinds.Unexpected) -> None:
    for column in kind.columns:
        if not frame.cells(column).empty:
            work.fail(rule, frame, frame.filled(column), column)


def _past_midnight(work: Work, frame: Frame, rule: Rule, kind: kinds.PastMidnight) -> None:
    opens, closes = frame.cells(kind.opens).text, frame.cells(kind.closes).text
    work.fail(rule, frame, true_where(pc.less(closes, opens)), kind.closes)


def _misplaced(work: Work, frame: Frame, rule: Rule, _kind: kinds.Misplaced) -> None:
    work.fail(rule, frame, np.ones(frame.count, dtype=bool))


def _required(work: Work, frame: Frame, rule: Rule, _kind: kinds.Required) -> None:
    """Every compulsory cell; a deletion needs no more than its key and its member."""
    needed_to_delete = {*frame.spec.key, "member_id"}
    looked_at = work.holds(rule, frame)
    for column in frame.spec.required:
        if frame.cells(column).text.null_count == 0:
            continue
        rows = looked_at | frame.deleted if column in needed_to_delete else looked_at
        work.fail_rows(rule, frame, rows & ~frame.filled(column), column)


def _not_active(work: Work, frame: Frame, rule: Rule, kind: kinds.NotActive) -> None:
    """Withdraw rows that are not in force; the day counts where the extract states one."""
    where = np.zeros(frame.count, dtype=bool)
    if kind.flag:
        cells = frame.cells(kind.flag)
        where |= cells.spread(true_where(pc.equal(cells.words, "N")), absent=False)
    if kind.status:
        cells = frame.cells(kind.status)
        words = pa.array(kind.in_force, pa.string())
        known = true_where(pc.is_in(pc.utf8_lower(cells.words), value_set=words))
        where |= cells.spread(~known, absent=False)
    as_of = work.context.as_of
    if kind.until and as_of is not None and not frame.cells(kind.until).empty:
        days = frame.days(kind.until)
        where |= (days < as_of) & (days != NO_DAY)
    where &= work.holds(rule, frame) & ~frame.bare
    frame.withdrawn |= where
    work.fail_rows(rule, frame, where)


def _filled(frame: Frame, columns: tuple[str, ...]) -> Any:
    """Return how many of the columns each row fills."""
    count = np.zeros(frame.count, dtype=np.int8)
    for column in columns:
        if not frame.cells(column).empty:
            count += frame.filled(column)
    return count


def _order(work: Work, frame: Frame, rule: Rule, kind: kinds.Order) -> None:
    for earlier, later in split_pairs(kind.pairs):
        if frame.cells(earlier).empty or frame.cells(later).empty:
            continue
        first, last = frame.days(earlier), frame.days(later)
        # NO_DAY is the smallest number of all, so an absent first day is never after anything.
        where = (first > last) & (last != NO_DAY)
        if kind.apart:
            where = (last.astype(np.int64) - first > kind.apart) & (first != NO_DAY)
        elif _are_instants(frame, earlier, later):
            begun, ended = frame.moments(earlier), frame.moments(later)
            are_instants = (begun != NO_MOMENT) & (ended != NO_MOMENT)
            where &= ~are_instants & (kind.hours == 0)
            where |= are_instants & (
                ended - begun > kind.hours * _HOUR if kind.hours else begun > ended
            )
        work.fail(rule, frame, where, later)


def _are_instants(frame: Frame, *columns: str) -> bool:
    kinds_of = (frame.spec.column(column) for column in columns)
    return all(one is not None and one.type is FieldType.TIMESTAMP for one in kinds_of)


def _not_above(work: Work, frame: Frame, rule: Rule, kind: kinds.NotAbove) -> None:
    for smaller, greater in split_pairs(kind.pairs):
        if not (frame.cells(smaller).empty or frame.cells(greater).empty):
            less, more = (
                frame.cells(name).text.cast(pa.decimal128(38, 18)) for name in (smaller, greater)
            )
            work.fail(rule, frame, true_where(pc.greater(less, more)), smaller)


def _equation(work: Work, frame: Frame, rule: Rule, equation: kinds.Equation) -> None:
    if frame.cells(equation.total).empty:
        return
    stated = frame.filled(equation.total)
    for column in equation.needs:
        stated = stated & frame.filled(column)
    if not stated.any():
        return
    # Where the total stands alone there is nothing that it could be the sum of.
    parts = [
        column for column in (*equation.plus, *equation.minus) if not frame.cells(column).empty
    ]
    stated = stated & (_filled(frame, tuple(parts)) > 0)
    difference = frame.cents(equation.total).copy()
    for column in parts:
        amount = frame.cents(column)
        difference += amount if column in equation.minus else -amount
    total = frame.cents(equation.total)
    exceeds = np.abs(total) > np.abs(total - difference)
    where = stated & (exceeds if equation.at_most else difference != 0)
    work.fail(rule, frame, where, equation.total)


def _list_sizes(frame: Frame, column: str) -> Any:
    """Return how many values the list of each row has."""
    cells = frame.cells(column)
    sizes = pc.add(pc.count_substring(cells.words, ";"), 1)
    return cells.spread(sizes.to_numpy(zero_copy_only=False), 0)


CHECKS: Final[Checks] = {
    kinds.Required: _required,
    kinds.Order: _order,
    kinds.NotAbove: _not_above,
    kinds.Equation: _equation,
    kinds.AnyFilled: _any_filled,
    kinds.Together: _together,
    kinds.UnequalLists: _unequal_lists,
    kinds.Unexpected: _unexpected,
    kinds.Misplaced: _misplaced,
    kinds.PastMidnight: _past_midnight,
    kinds.NotActive: _not_active,
}
