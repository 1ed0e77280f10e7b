"""Checks between rows of a directory: references, where a place lies, how old a row is."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, compound_keys, list_values, matches, over_distinct, true_where
from etl.columns.dates import NO_DAY, read_dates
from etl.model.canonical_tables import TABLES, FieldType
from etl.model.crosswalks import Crosswalk
from etl.quality.checks.frames import Checks, Frame, Work
from etl.quality.rules import kinds
from etl.quality.rules.book import Rule

_DAY: Final = len("2026-01-01")


def _unnamed(work: Work, frame: Frame, rule: Rule, kind: kinds.Unnamed) -> None:
    key = frame.cells(frame.spec.key[0]).text
    named = pc.is_in(key, value_set=_names(work, kind.named_in))
    work.fail(rule, frame, _in_force(frame) & ~true_where(named))


def _no_place(work: Work, frame: Frame, rule: Rule, kind: kinds.NoPlace) -> None:
    where = _in_force(frame)
    for column in kind.columns:
        where = where & ~frame.filled(column)
    key = frame.cells(frame.spec.key[0]).text
    for name in kind.areas:
        where = where & ~true_where(pc.is_in(key, value_set=_names(work, name)))
    work.fail(rule, frame, where)


def _in_force(frame: Frame) -> Any:
    return frame.live & ~frame.withdrawn


def _names(work: Work, name: str) -> Any:
    """Return what `table.column` names, of rows that are in force."""
    table, _, column = name.partition(".")
    frame = work.frames[table]
    text = frame.cells(column).text.filter(pa.array(_in_force(frame)))
    found = TABLES[table].column(column)
    if found is not None and found.type is FieldType.LIST:
        return list_values(text)[0]
    return text.drop_null()


def _shared_value(work: Work, frame: Frame, rule: Rule, kind: kinds.SharedValue) -> None:
    """Fail rows with a value that another row with another key has as well.

    With `or_key`, also those with a value that is the key of another row.
    """
    text, keys = frame.cells(kind.column).text, frame.cells(frame.spec.key[0]).text
    live = pa.array(_in_force(frame))
    pairs = pa.table({"value": text, "key": keys}).filter(live)
    if kind.or_key:
        pairs = pa.concat_tables([pairs, pa.table({"value": keys, "key": keys}).filter(live)])
    counts = pairs.group_by("value").aggregate([("key", "count_distinct")])
    twice = counts.filter(pc.greater(counts.column("key_count_distinct"), 1)).column("value")
    shared = true_where(pc.is_in(text, value_set=twice.combine_chunks().drop_null()))
    work.fail(rule, frame, _in_force(frame) & shared, kind.column)


def _stale(work: Work, frame: Frame, rule: Rule, kind: kinds.Stale) -> None:
    as_of, column = work.context.as_of, "last_updated"
    if as_of is None or frame.cells(column).empty:
        return
    cells = frame.cells(column)
    updated = read_dates(pc.utf8_slice_codeunits(cells.words, 0, _DAY)).days
    old = cells.spread((updated < as_of - kind.days) & (updated != NO_DAY), absent=False)
    work.fail(rule, frame, _in_force(frame) & old, column)


def _elsewhere(work: Work, frame: Frame, rule: Rule, kind: kinds.Elsewhere) -> None:
    if rule.crosswalk is None or any(frame.cells(column).empty for column in kind.columns):
        return
    state = frame.cells("state").text
    cells = [frame.cells(column).text for column in kind.columns]
    if len(cells) == 1:
        outside = zip_outside(rule.crosswalk, state, cells[0])
    else:
        outside = position_outside(rule.crosswalk, state, *cells)
    work.fail(rule, frame, _in_force(frame) & outside, kind.columns[0])


CHECKS: Final[Checks] = {
    kinds.Unnamed: _unnamed,
    kinds.NoPlace: _no_place,
    kinds.SharedValue: _shared_value,
    kinds.Stale: _stale,
    kinds.Elsewhere: _elsewhere,
}


_PREFIX: Final = 3
"""Leading digits of a ZIP code that determine the state."""
_NUMBER: Final = r"^[+-]?[0-9]+(\.[0-9]+)?$"
_SIDES: Final = ("south", "north", "west", "east")


def zip_outside(states: Crosswalk, state: pa.StringArray, postal_code: pa.StringArray) -> Bools:
    """Return where a ZIP code is of another state; false where either is absent.

    Args:
        states: `state_area`.
        state: of the row, shape (n,).
        postal_code: of the row, shape (n,).
    """

    def answers(pairs: list[str]) -> list[str | None]:
        return [_outside(states, *pair.split("\x1f")) for pair in pairs]

    pairs = compound_keys(state, pc.utf8_slice_codeunits(postal_code, 0, _PREFIX))
    return true_where(pc.is_valid(over_distinct(pairs, answers)))


def _outside(states: Crosswalk, state: str, first: str) -> str | None:
    """Return the digits where no ZIP code of the state begins with them; None otherwise."""
    ranges = states.answer(state, "zips")
    if ranges is None or not first.isdigit():
        return None
    spans = [span.partition("-") for span in ranges.split()]
    return None if any(low <= first <= (high or low) for low, _, high in spans) else first


def position_outside(
    states: Crosswalk, state: pa.StringArray, latitude: pa.StringArray, longitude: pa.StringArray
) -> Bools:
    """Return where a position lies outside the box of its state; false where one is absent.

    Args:
        states: `state_area`.
        state: of the row, shape (n,).
        latitude: decimal text, shape (n,).
        longitude: decimal text, shape (n,).
    """
    encoded = state.dictionary_encode()
    boxes = [
        [float(states.answer(name, side) or "nan") for side in _SIDES]
        for name in encoded.dictionary.to_pylist()
    ]
    known = np.array([*boxes, [np.nan] * len(_SIDES)])  # the last one: of rows without a state
    of_row = np.asarray(pc.fill_null(encoded.indices, len(boxes)))
    south, north, west, east = known[of_row].T
    high, wide = degrees(latitude), degrees(longitude)
    # What is not a number compares as false, on either side.
    inside = (south <= high) & (high <= north) & (west <= wide) & (wide <= east)
    return np.asarray(~inside & ~np.isnan(high) & ~np.isnan(wide) & ~np.isnan(south))


def degrees(column: pa.StringArray) -> Any:
    """Return decimal text as numpy `float64`, shape (n,); NaN where there is none."""
    numbers = pc.if_else(pa.array(matches(column, _NUMBER)), column, None)
    return pc.cast(numbers, pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
