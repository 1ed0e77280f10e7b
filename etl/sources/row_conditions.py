"""Conditions of layouts over rows: which rows they hold for, a column at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, true_where
from etl.sources.layout_columns import Condition

Columns = Callable[[str], Any]


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
        return ~holds(condition.none_hold, column, count)
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
    return result


def _is_one_of(cell: Any, words: frozenset[str]) -> Bools:
    return true_where(pc.is_in(pc.utf8_lower(cell), value_set=pa.array(sorted(words), pa.string())))
