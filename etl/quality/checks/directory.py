"""Check rows of data without members: references, states, prices, stale rows."""

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


def _check_unnamed(work: Work, frame: Frame, rule: Rule, kind: kinds.Unnamed) -> None:
    key = frame.cells(frame.spec.key[0]).text
    named = pc.is_in(key, value_set=_column_values(work, kind.named_in))
    work.fail(rule, frame, _is_active(frame) & ~true_where(named))


def _check_missing_place(work: Work, frame: Frame, rule: Rule, kind: kinds.NoPlace) -> None:
    is_missing = _is_active(frame)
    for column in kind.columns:
        is_missing = is_missing & ~frame.filled(column)
    key = frame.cells(frame.spec.key[0]).text
    for name in kind.areas:
        is_missing = is_missing & ~true_where(pc.is_in(key, value_set=_column_values(work, name)))
    work.fail(rule, frame, is_missing)


def _is_active(frame: Frame) -> Any:
    return frame.live & ~frame.withdrawn


def _column_values(context: Work, column_path: str) -> Any:
    """Return the values of `table.column` in active rows."""
    table, _, column = column_path.partition(".")
    frame = context.frames[table]
    values = frame.cells(column).text.filter(pa.array(_is_active(frame)))
    column_spec = TABLES[table].column(column)
    if column_spec is not None and column_spec.type is FieldType.LIST:
        return list_values(values)[0]
    return values.drop_null()


def _check_shared_values(work: Work, frame: Frame, rule: Rule, kind: kinds.SharedValue) -> None:
    """Fail rows whose value also occurs in a row with another key.

    With `or_key`, also fail rows whose value is the key of another row.
    """
    values, keys = frame.cells(kind.column).text, frame.cells(frame.spec.key[0]).text
    live = pa.array(_is_active(frame))
    pairs = pa.table({"value": values, "key": keys}).filter(live)
    if kind.or_key:
        pairs = pa.concat_tables([pairs, pa.table({"value": keys, "key": keys}).filter(live)])
    counts = pairs.group_by("value").aggregate([("key", "count_distinct")])
    shared_values = counts.filter(pc.greater(counts.column("key_count_distinct"), 1)).column(
        "value"
    )
    is_shared = true_where(pc.is_in(values, value_set=shared_values.combine_chunks().drop_null()))
    work.fail(rule, frame, _is_active(frame) & is_shared, kind.column)


def _check_unlisted(work: Work, frame: Frame, rule: Rule, kind: kinds.Unlisted) -> None:
    source = work.frames[kind.by]
    keys = frame.cells(frame.spec.key[0]).text
    names, owners = list_values(frame.cells(kind.listed).text)
    other_rows = pa.array(_is_active(source))
    described = compound_keys(*(source.cells(name).text for name in source.spec.key))
    listed = pa.concat_arrays(
        [compound_keys(keys.take(pa.array(owners)), names), described.filter(other_rows)]
    )
    is_listed = true_where(
        pc.is_in(compound_keys(keys, frame.cells(kind.column).text), value_set=listed)
    )
    is_named = _is_active(frame) & frame.filled(kind.column)
    work.fail(rule, frame, is_named & ~is_listed, kind.column)


def _check_stale_rows(work: Work, frame: Frame, rule: Rule, kind: kinds.Stale) -> None:
    as_of, column = work.context.as_of, "last_updated"
    if as_of is None or frame.cells(column).empty:
        return
    cells = frame.cells(column)
    update_days = read_dates(pc.utf8_slice_codeunits(cells.words, 0, _DAY)).days
    is_stale = cells.spread(
        (update_days < as_of - kind.days) & (update_days != NO_DAY), absent=False
    )
    work.fail(rule, frame, _is_active(frame) & is_stale, column)


def _check_location_state(work: Work, frame: Frame, rule: Rule, kind: kinds.Elsewhere) -> None:
    if rule.crosswalk is None or any(frame.cells(column).empty for column in kind.columns):
        return
    state = frame.cells("state").text
    cells = [frame.cells(column).text for column in kind.columns]
    if len(cells) == 1:
        is_outside = zip_outside(rule.crosswalk, state, cells[0])
    else:
        is_outside = position_outside(rule.crosswalk, state, *cells)
    work.fail(rule, frame, _is_active(frame) & is_outside, kind.columns[0])


_AT_MOST_ONE: Final = r"^(0(\.[0-9]+)?|1(\.0+)?)$"


def _check_fractions(work: Work, frame: Frame, rule: Rule, kind: kinds.Fractions) -> None:
    percentages = frame.cells(kind.column).text
    is_stated = _is_active(frame) & frame.filled(kind.column)
    if (matches(percentages, _AT_MOST_ONE) | ~is_stated).all():
        work.fail(rule, frame, is_stated & matches(percentages, "[1-9]"), kind.column)


def _check_unpriced_tiers(work: Work, frame: Frame, rule: Rule, _kind: kinds.UnpricedTier) -> None:
    plans, costs = work.frames["formulary_plan"], work.frames["formulary_cost"]
    formularies, owners = list_values(plans.cells("formulary_ids").text)
    is_listed = _is_active(plans)[owners]
    plan_ids = plans.cells("plan_id").text.take(pa.array(owners))
    listings = pa.table({"plan": plan_ids, "formulary": formularies}).filter(pa.array(is_listed))
    tiers = pa.table({"plan": costs.cells("plan_id").text, "tier": _tiers(rule, costs)})
    priced = listings.join(tiers.filter(pa.array(_is_active(costs))), "plan", join_type="inner")
    keys = compound_keys(priced.column("formulary"), priced.column("tier"))
    formulary, tier = frame.cells("formulary_id").text, _tiers(rule, frame)
    is_priced = true_where(pc.is_in(compound_keys(formulary, tier), value_set=keys))
    has_plan = pc.is_in(formulary, value_set=listings.column("formulary").combine_chunks())
    is_checked = _is_active(frame) & true_where(has_plan) & true_where(pc.is_valid(tier))
    work.fail(rule, frame, is_checked & ~is_priced, "tier")


def _tiers(rule: Rule, frame: Frame) -> pa.StringArray:
    """Return the code of each tier; null if it has none."""
    if rule.crosswalk is None:
        raise AssertionError(rule.id)
    answer = rule.crosswalk.answer
    return over_distinct(frame.cells("tier").text, lambda words: [answer(word) for word in words])


CHECKS: Final[Checks] = {
    kinds.Unnamed: _check_unnamed,
    kinds.NoPlace: _check_missing_place,
    kinds.Unlisted: _check_unlisted,
    kinds.SharedValue: _check_shared_values,
    kinds.Stale: _check_stale_rows,
    kinds.Elsewhere: _check_location_state,
    kinds.Fractions: _check_fractions,
    kinds.UnpricedTier: _check_unpriced_tiers,
}


_PREFIX: Final = 3
"""Leading digits of a ZIP code that determine the state."""
_NUMBER: Final = r"^[+-]?[0-9]+(\.[0-9]+)?$"
_SIDES: Final = ("south", "north", "west", "east")


def zip_outside(states: Crosswalk, state: pa.StringArray, postal_code: pa.StringArray) -> Bools:
    """Find ZIP codes outside the row's state; false if either is absent.

    Args:
        states: `state_area`.
        state: of the row, shape (n,).
        postal_code: of the row, shape (n,).
    """

    def answers(pairs: list[str]) -> list[str | None]:
        return [_zip_outside_state(states, *pair.split("\x1f")) for pair in pairs]

    pairs = compound_keys(state, pc.utf8_slice_codeunits(postal_code, 0, _PREFIX))
    return true_where(pc.is_valid(over_distinct(pairs, answers)))


def _zip_outside_state(states: Crosswalk, state: str, leading_digits: str) -> str | None:
    """Return the digits if the state has no ZIP code with them; else None."""
    ranges = states.answer(state, "zips")
    if ranges is None or not leading_digits.isdigit():
        return None
    zip_ranges = [span.partition("-") for span in ranges.split()]
    return (
        None
        if any(low <= leading_digits <= (high or low) for low, _, high in zip_ranges)
        else leading_digits
    )


def position_outside(
    states: Crosswalk, state: pa.StringArray, latitude: pa.StringArray, longitude: pa.StringArray
) -> Bools:
    """Find positions outside their state's bounding box; false if a value is absent.

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
    known_boxes = np.array(
        [*boxes, [np.nan] * len(_SIDES)]
    )  # the last one is for rows without a state
    box_indices = np.asarray(pc.fill_null(encoded.indices, len(boxes)))
    south, north, west, east = known_boxes[box_indices].T
    latitudes, longitudes = degrees(latitude), degrees(longitude)
    # Comparisons with NaN are false.
    is_inside = (
        (south <= latitudes) & (latitudes <= north) & (west <= longitudes) & (longitudes <= east)
    )
    return np.asarray(~is_inside & ~np.isnan(latitudes) & ~np.isnan(longitudes) & ~np.isnan(south))


def degrees(column: pa.StringArray) -> Any:
    """Parse decimal texts to numpy `float64`, shape (n,); NaN if invalid."""
    numbers = pc.if_else(pa.array(matches(column, _NUMBER)), column, None)
    return pc.cast(numbers, pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
