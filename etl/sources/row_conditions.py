"""Conditions of layouts over rows: which rows they hold for, a column at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, true_where
from etl.sources.layout_columns import Condition
from etl.sources.layout_names import DAY_PATTERN, NUMBER_PATTERN

Columns = Callable[[str], Any]
_NUMBERS: Final = pa.decimal256(37, 17)
_COMPARISONS: Final = {
    "less_than": pc.less,
    "at_most": pc.less_equal,
    "greater_than": pc.greater,
    "at_least": pc.greater_equal,
}


def holds(conditions: Sequence[Condition], column: Columns, count: int) -> Bools:
    """Return for which rows all conditions hold, shape (count,).

    Args:
        conditions: what is asked.
        column: header -> its cells, shape (count,).
        count: of the rows.
    """
    result = np.ones(count, dtype=bool)
    for condition in conditions:
        result &= _holds(condition, column, count)
    return result


def _holds(condition: Condition, column: Columns, count: int) -> Bools:
    if condition.column is None:
        return _of_others(condition, column, count)
    result = np.ones(count, dtype=bool)
    cell = column(condition.column)
    if condition.any_of:
        result &= _is_one_of(cell, condition.any_of)
    if condition.none_of:
        result &= ~_is_one_of(cell, condition.none_of)
    if condition.filled is not None:
        there = cell.is_valid().to_numpy(zero_copy_only=False)
        result &= there == condition.filled
    if condition.differs_from is not None:
        result &= ~true_where(pc.equal(cell, column(condition.differs_from)))
    if condition.pattern is not None:
        result &= true_where(pc.match_substring_regex(cell, f"^(?:{condition.pattern})$"))
    for name, compare in _COMPARISONS.items():
        bound = getattr(condition, name)
        if bound is not None:
            result &= _compared(cell, bound, compare)
    return result


def _of_others(condition: Condition, column: Columns, count: int) -> Bools:
    if condition.any_hold:
        each = [_holds(one, column, count) for one in condition.any_hold]
        return np.asarray(np.logical_or.reduce(each))
    if condition.all_hold:
        return holds(condition.all_hold, column, count)
    return ~holds(condition.none_hold, column, count)


def _is_one_of(cell: Any, words: frozenset[str]) -> Bools:
    return true_where(pc.is_in(pc.utf8_lower(cell), value_set=pa.array(sorted(words), pa.string())))


def _compared(cell: Any, bound: str, compare: Any) -> Bools:
    """Return where a cell is of the kind of a bound, and on the right side of it."""
    if re.fullmatch(DAY_PATTERN, bound):
        # An instant is compared by its day.
        days = true_where(pc.match_substring_regex(cell, f"^{DAY_PATTERN}(?:$|[T ])"))
        return days & true_where(compare(pc.utf8_slice_codeunits(cell, 0, 10), bound))
    shaped = pc.match_substring_regex(cell, f"^{NUMBER_PATTERN}$")
    numbers = pc.if_else(shaped, cell, pa.scalar(None, pa.string())).cast(_NUMBERS)
    limit = pa.array([bound], pa.string()).cast(_NUMBERS)[0]
    return true_where(compare(numbers, limit))
