"""Read dates and instants: convert a payer's text to FHIR's, a column at a time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Parsed, as_array, matches, replaced

NO_DAY: Final = np.iinfo(np.int32).min
"""Day number of a cell without a date."""

_EPOCH: Final = date(1970, 1, 1).toordinal()
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}")

_INSTANT: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(?:\.[0-9]{1,9})?(?:Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))$"
)
"""FHIR R4 `instant`: seconds and zone are required.

FHIR allows a leap second (`:60`), but neither Python nor most clients can read one.
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
        Dates with `values` as `YYYY-MM-DD`. Days that don't exist are bad, and so is the year 0000,
        which FHIR doesn't allow.
    """
    encoded = column.dictionary_encode()
    days_by_word = [*map(_parse_day, encoded.dictionary.to_pylist())]
    dates = pa.array([text for text, _ in days_by_word], pa.string())
    numbers = np.array([*(number for _, number in days_by_word), NO_DAY], dtype=np.int32)
    index = pc.fill_null(encoded.indices, len(days_by_word)).to_numpy(zero_copy_only=False)
    values = dates.take(encoded.indices)
    is_bad = pc.and_(pc.is_valid(column), pc.is_null(values))
    return Dates(values, is_bad, numbers[index])


@lru_cache(maxsize=1 << 16)  # days recur in every column and partition
def _parse_day(text: str) -> tuple[str | None, int]:
    """Parse a day into `YYYY-MM-DD` and its number; None and `NO_DAY` if it doesn't exist."""
    try:
        # fromisoformat also accepts week dates and digits of other scripts.
        day = date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        day = None
    return (None, NO_DAY) if day is None else (day.isoformat(), day.toordinal() - _EPOCH)


def stated_days(words: pa.StringArray) -> Any:
    """Return the days of dates and of instants as written; `int32`, `NO_DAY` for others."""
    return read_dates(pc.utf8_slice_codeunits(words, 0, len("2026-01-01"))).days


def read_timestamps(column: Any) -> Parsed:
    """Read a date, or an RFC 3339 instant with its zone, as FHIR `date` or `instant` text.

    Args:
        column: `string`, shape (n,); null where absent.

    Returns:
        Parsed with `values` almost unchanged: only `YYYYMMDD` gets hyphens. An instant without a
        zone is bad, because its day is unknown.
    """
    instants = matches(column, _INSTANT)
    if not instants.any():
        dates = read_dates(column)
        return Parsed(dates.values, dates.bad)
    day_part = pc.utf8_slice_codeunits(column, 0, 10)
    dates = read_dates(as_array(pc.if_else(pa.array(instants), day_part, column)))
    is_bad = dates.bad.to_numpy(zero_copy_only=False)
    is_instant = instants & ~is_bad
    values = replaced(dates.values, is_instant, as_array(column.filter(pa.array(is_instant))))
    return Parsed(values, pa.array(is_bad))


def day_number(text: str) -> int:
    """Return the number of one `YYYY-MM-DD` day since 1970-01-01.

    Raises:
        ValueError: the day doesn't exist.
    """
    days = read_dates(pa.array([text], pa.string())).days
    if days[0] == NO_DAY:
        raise ValueError("not a day of the calendar")
    return int(days[0])
