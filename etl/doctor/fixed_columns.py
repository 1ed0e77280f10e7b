"""Boundaries of columns of fixed width, from what many lines have at the same places."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from etl.doctor.shapes import SHAPES
from etl.model.code_shapes import full_match

_DAY: Final = 8
_FEWEST: Final = 5
"""Fewest lines of which the kinds of characters mean something."""
_FEWEST_DAYS: Final = 3
_DIGITS: Final = 4
_MOSTLY: Final = 0.6
_LONG: Final = 12
"""Digits in a row that are hardly one number."""
_is_day = full_match(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")


def fixed_columns(lines: Sequence[str]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the widths of columns, and the numbers, from 1, of those that may be several.

    A column begins behind places that are blank on every line, at eight digits that are a day on
    every line, and behind these; where every line has a letter and most have a blank before it; and
    where digits turn into a letter on every line. Blanks before numbers of several lengths are
    theirs. What is not certain of these is among those that may be several.
    """
    length = max(map(len, lines))
    padded = [line.ljust(length) for line in lines]
    blank = [all(line[at] == " " for line in padded) for at in range(length)]
    starts = {at for at in range(length) if not blank[at] and (at == 0 or blank[at - 1])}
    if len(lines) >= _FEWEST:
        for at in _days(padded):
            starts |= {at, at + _DAY} if at + _DAY < length and not blank[at + _DAY] else {at}
        starts |= {at for at in range(1, length) if _begins(padded, at)}
    turns = {at for at in range(1, length) if len(lines) >= _FEWEST and _turns(padded, at)}
    bounds = sorted({0, length} | starts - {min(starts, default=0)} | turns)
    unsure = turns | _widened(padded, bounds, blank)
    doubtful = [
        place
        for place, (start, end) in enumerate(pairwise(bounds), start=1)
        if {start, end} & unsure or _may_be_several([line[start:end].strip() for line in padded])
    ]
    return tuple(after - before for before, after in pairwise(bounds)), tuple(doubtful)


def _days(lines: Sequence[str]) -> list[int]:
    """Return where days stand on every line, or nothing does; they do not overlap."""
    days: list[int] = []
    for at in range(len(lines[0]) - _DAY + 1):
        cells = [line[at : at + _DAY] for line in lines]
        filled = [cell for cell in cells if cell.strip()]
        apart = not days or at >= days[-1] + _DAY
        if apart and len(filled) >= _FEWEST_DAYS and all(map(_is_day, filled)):
            days.append(at)
    return days


def _begins(lines: Sequence[str], at: int) -> bool:
    """Return whether text begins at a place: letters on all lines, behind blanks on most."""
    if not all(line[at].isalpha() for line in lines):
        return False
    return sum(line[at - 1] == " " for line in lines) >= _MOSTLY * len(lines)


def _turns(lines: Sequence[str], at: int) -> bool:
    """Return whether digits end and a letter stands behind them, at one place on all lines."""
    return at >= _DIGITS and all(
        line[at].isalpha() and line[at - _DIGITS : at].isdecimal() for line in lines
    )


def _widened(lines: Sequence[str], bounds: list[int], blank: Sequence[bool]) -> set[int]:
    """Move where numbers of several lengths begin to the end of what stands before them.

    They are aligned to the right: the digits of a larger one would be read with the column before.
    Return the places that were moved.
    """
    moved = set()
    for index in range(1, len(bounds) - 1):
        start, end = bounds[index], bounds[index + 1]
        cells = {line[start:end].strip() for line in lines} - {""}
        sized = len({len(cell) for cell in cells}) > 1 or any("." in cell for cell in cells)
        if not sized or not all(map(SHAPES["money"], cells)):
            continue
        while bounds[index] > bounds[index - 1] + 1 and blank[bounds[index] - 1]:
            bounds[index] -= 1
        moved.add(bounds[index])
    return moved


def _may_be_several(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell]
    same = len({len(cell) for cell in filled}) == 1
    return any("  " in cell for cell in filled) or (
        same and len(filled[0]) >= _LONG and all(map(str.isdecimal, filled))
    )
