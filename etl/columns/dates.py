"""Dates and instants: text as a payer sends it into the text FHIR wants, a column at a time.

No library calendar is used on the fast path: `strptime` takes 20200230 and rolls it into March, and
its errors stop a whole column. The month table below refuses such days.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Parsed, as_array, blanked, byte_rows, matches, replaced, text_rows

NO_DAY: Final = np.iinfo(np.int32).min
"""Value in `days` of a cell without a date."""

_MONTH_DAYS: Final = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], dtype=np.int32)
_HYPHEN: Final = ord("-")

_INSTANT: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(?:\.[0-9]{1,9})?(?:Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))$"
)
"""FHIR R4 `instant`: seconds and zone are compulsory.

FHIR allows a leap second (`:60`). We refuse it: neither Python nor most clients can read one.
"""


@dataclass(frozen=True, slots=True)
class Dates(Parsed):
    """A column read as dates.

    Attributes:
        days: numpy `int32`, shape (n,): days since 1970-01-01; `NO_DAY` where absent or bad.
    """

    days: Any


def read_dates(column: Any) -> Dates:
    """Read `YYYY-MM-DD` or `YYYYMMDD` (the guide's TS8) as FHIR `date` text.

    Args:
        column: `string`, shape (n,); null where absent.

    Returns:
        Dates with `values` as `YYYY-MM-DD`. A day that is not in the calendar is bad, and so is
        the year 0000, which FHIR does not have.
    """
    lengths = pc.fill_null(pc.binary_length(column), 0).to_numpy(zero_copy_only=False)
    days = np.full(len(column), NO_DAY, dtype=np.int32)
    good = np.zeros(len(column), dtype=bool)
    values = column
    for width, picks in ((10, (0, 1, 2, 3, 5, 6, 8, 9)), (8, tuple(range(8)))):
        here = lengths == width
        if not here.any():
            continue
        rows = byte_rows(column if here.all() else as_array(column.filter(pa.array(here))), width)
        fine, numbers = _calendar(rows, picks)
        if width == 10:
            fine &= (rows[:, 4] == _HYPHEN) & (rows[:, 7] == _HYPHEN)
        good[here] = fine
        days[here] = np.where(fine, numbers, NO_DAY)
        if width == 8:
            spread = np.full((len(rows), 10), _HYPHEN, dtype=np.uint8)
            spread[:, [0, 1, 2, 3, 5, 6, 8, 9]] = np.where(fine[:, None], rows, ord("0"))
            values = replaced(values, here, text_rows(spread))
    bad = np.logical_and(pc.is_valid(column).to_numpy(zero_copy_only=False), ~good)
    return Dates(blanked(values, bad), pa.array(bad), days)


def stated_days(words: pa.StringArray) -> Any:
    """Return the days of dates, and of instants as written; numpy `int32`, `NO_DAY` for others."""
    return read_dates(pc.utf8_slice_codeunits(words, 0, len("2026-01-01"))).days


def _calendar(rows: Any, picks: tuple[int, ...]) -> tuple[Any, Any]:
    """Return which rows name a day of the calendar, and its number."""
    digits = rows[:, picks].astype(np.int32) - ord("0")
    fine = ((digits >= 0) & (digits <= 9)).all(axis=1)
    digits = np.where(fine[:, None], digits, 0)
    year = digits[:, :4] @ np.array([1000, 100, 10, 1], dtype=np.int32)
    month = digits[:, 4] * 10 + digits[:, 5]
    day = digits[:, 6] * 10 + digits[:, 7]
    fine &= (year >= 1) & (month >= 1) & (month <= 12)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    last = _MONTH_DAYS[np.where(fine, month, 0)] + (leap & (month == 2))
    fine &= (day >= 1) & (day <= last)
    # Days from the civil calendar: March is the first month, so that the leap day is the last.
    shifted = year - (month <= 2)
    era = shifted // 400
    year_of_era = shifted - era * 400
    day_of_year = (153 * (month + np.where(month > 2, -3, 9)) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return fine, era * 146097 + day_of_era - 719468


def read_timestamps(column: Any) -> Parsed:
    """Read a date, or an RFC 3339 instant with its zone, as FHIR `date` or `instant` text.

    Args:
        column: `string`, shape (n,); null where absent.

    Returns:
        Parsed with `values` in the shape that was sent: fraction and zone stay as they are; only
        `YYYYMMDD` gets its hyphens. An instant without zone is bad: its day is unknown.
    """
    instants = matches(column, _INSTANT)
    if not instants.any():
        dates = read_dates(column)
        return Parsed(dates.values, dates.bad)
    day_part = pc.utf8_slice_codeunits(column, 0, 10)
    dates = read_dates(as_array(pc.if_else(pa.array(instants), day_part, column)))
    bad = dates.bad.to_numpy(zero_copy_only=False)
    kept = instants & ~bad
    values = replaced(dates.values, kept, as_array(column.filter(pa.array(kept))))
    return Parsed(values, pa.array(bad))


def day_number(text: str) -> int:
    """Return the number of one `YYYY-MM-DD` day since 1970-01-01.

    Raises:
        ValueError: the text names no day.
    """
    days = read_dates(pa.array([text], pa.string())).days
    if days[0] == NO_DAY:
        raise ValueError("not a day of the calendar")
    return int(days[0])
