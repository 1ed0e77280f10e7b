"""Places of the USA: a ZIP code and a position against the state that a row names.

The states are the crosswalk `state_area`: the first three digits of each state's ZIP codes, and a
box of degrees around it. A state that it does not know is not checked.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, compound_keys, matches, over_distinct, true_where
from etl.model.crosswalks import Crosswalk

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
