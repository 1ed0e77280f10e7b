"""Checks within one row: what must be filled, the order of dates, the equations of money."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import true_where
from etl.columns.dates import NO_DAY
from etl.quality.checks.frames import Frame, Work
from etl.quality.rules import directory_kinds, kinds
from etl.quality.rules.book import Rule


def check_single_rows(work: Work, frame: Frame, rule: Rule) -> None:
    """Run one rule about single rows over one table."""
    match rule.kind:
        case kinds.Required():
            _required(work, frame, rule)
        case kinds.Order() as order:
            for earlier, later in order.columns():
                _order(work, frame, rule, earlier, later, apart=order.apart)
        case kinds.Equation() as equation:
            _equation(work, frame, rule, equation)
        case kinds.AnyFilled(columns):
            work.fail(rule, frame, work.holds(rule, frame) & (_filled(frame, columns) == 0))
        case kinds.Together(columns):
            work.fail(rule, frame, work.holds(rule, frame) & (_filled(frame, columns) > 1))
        case kinds.UnequalLists(column, beside):
            unequal = _list_sizes(frame, column) != _list_sizes(frame, beside)
            unequal &= frame.filled(column)
            work.fail(rule, frame, work.holds(rule, frame) & unequal, column)
        case kinds.Unexpected(columns):
            for column in columns:
                if not frame.cells(column).empty:
                    where = work.holds(rule, frame) & frame.filled(column)
                    work.fail(rule, frame, where, column)
        case directory_kinds.PastMidnight(opens, closes):
            earlier, later = frame.cells(opens).text, frame.cells(closes).text
            where = true_where(pc.less(later, earlier))
            work.fail(rule, frame, work.holds(rule, frame) & where, closes)
        case directory_kinds.NotActive() as not_active:
            _not_active(work, frame, rule, not_active)
        case kinds.Misplaced():
            work.fail(rule, frame, work.holds(rule, frame))
        case _:
            raise TypeError(f"{rule.check} is no check of rows")


def _required(work: Work, frame: Frame, rule: Rule) -> None:
    """Every compulsory cell; a deletion needs no more than its key and its member."""
    needed_to_delete = {*frame.spec.key, "member_id"}
    looked_at = work.holds(rule, frame)
    for column in frame.spec.required:
        if frame.cells(column).text.null_count == 0:
            continue
        rows = looked_at | frame.deleted if column in needed_to_delete else looked_at
        work.fail(rule, frame, rows & ~frame.filled(column), column)


def _not_active(work: Work, frame: Frame, rule: Rule, kind: directory_kinds.NotActive) -> None:
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
    work.fail(rule, frame, where)


def _filled(frame: Frame, columns: tuple[str, ...]) -> Any:
    """Return how many of the columns each row fills."""
    count = np.zeros(frame.count, dtype=np.int8)
    for column in columns:
        if not frame.cells(column).empty:
            count += frame.filled(column)
    return count


def _order(work: Work, frame: Frame, rule: Rule, earlier: str, later: str, *, apart: int) -> None:
    if frame.cells(earlier).empty or frame.cells(later).empty:
        return
    first, last = frame.days(earlier), frame.days(later)
    # NO_DAY is the smallest number of all, so an absent first day is never after anything.
    where = (first > last) & (last != NO_DAY)
    if apart:
        where = (last.astype(np.int64) - first > apart) & (first != NO_DAY)
    if where.any():
        work.fail(rule, frame, where & work.holds(rule, frame), later)


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
    if where.any():
        work.fail(rule, frame, where & work.holds(rule, frame), equation.total)


def _list_sizes(frame: Frame, column: str) -> Any:
    """Return how many values the list of each row has."""
    cells = frame.cells(column)
    sizes = pc.add(pc.count_substring(cells.words, ";"), 1)
    return cells.spread(sizes.to_numpy(zero_copy_only=False), 0)
