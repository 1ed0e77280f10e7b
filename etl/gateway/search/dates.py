"""Dates of FHIR search: every date is a span of time, and a prefix compares two spans.

FHIR R4, search 3.1.1.4.4 and 3.1.1.4.5. A date without zone is taken as UTC, in stored values and
parameters alike, so that two dates compare as they are written.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import Final

from etl.errors import StoreError

Span = tuple[int, int]
"""From (inclusive) and to (exclusive), in nanoseconds; the first day is the calendar's."""

SECOND: Final = 1_000_000_000
DAY: Final = 86_400 * SECOND
BEGINNING: Final = -(1 << 80)
END: Final = 1 << 80

_DATE: Final = re.compile(
    r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})"
    r"(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?"
    r"(?:Z|([+-])([0-9]{2}):([0-9]{2}))?)?)?)?"
)
_DECEMBER: Final = 12


def span_of(text: str) -> Span:
    """Return the span of a FHIR date, dateTime or instant of any precision.

    Raises:
        ValueError: the text is not a date.
    """
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError("no FHIR date")
    year, month, day, hour, minute, second, fraction, sign, zone_hours, zone_minutes = (
        match.groups()
    )
    if month is None:
        return _day_start(int(year), 1, 1), _day_start(int(year), _DECEMBER, 31) + DAY
    if day is None:
        number = int(month)
        low = _day_start(int(year), number, 1)
        if number == _DECEMBER:
            return low, _day_start(int(year), number, 31) + DAY
        return low, _day_start(int(year), number + 1, 1)
    low = _day_start(int(year), int(month), int(day))
    if hour is None:
        return low, low + DAY
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 59:
        raise ValueError("no time of a day")
    low += (int(hour) * 3600 + int(minute) * 60 + int(second or 0)) * SECOND
    length = SECOND if second is not None else 60 * SECOND
    if fraction is not None:
        length = 10 ** (9 - len(fraction))
        low += int(fraction) * length
    if sign is not None:
        if int(zone_hours) > 14 or int(zone_minutes) > 59:
            raise ValueError("no time zone")
        offset = (int(zone_hours) * 3600 + int(zone_minutes) * 60) * SECOND
        low -= offset if sign == "+" else -offset
    return low, low + length


def request_span(text: str) -> Span:
    """Return the span of a requested date; the + of its zone may be decoded as a blank.

    Raises:
        ValueError: the text is not a date.
    """
    if len(text) >= len("2024-01-01T00:00 00:00") and text[-6] == " ":
        text = f"{text[:-6]}+{text[-5:]}"  # the client did not escape the +
    return span_of(text)


@lru_cache(maxsize=16_384)
def stored_span(text: str) -> Span:
    """Return the span of a search value of an index: a date, or `start/end` with open ends.

    Raises:
        StoreError: the text is not such a value.
    """
    start, period, end = text.partition("/")
    try:
        if not period:
            return span_of(text)
        return span_of(start)[0] if start else BEGINNING, span_of(end)[1] if end else END
    except ValueError:
        raise StoreError("an index holds a date that is none; run verify") from None


def spans_match(prefix: str, requested: Span, stored: Span, now: int) -> bool:
    """Return whether a stored span matches the requested one, as the prefix requires.

    Args:
        prefix: `eq`, `ne`, `gt`, `lt`, `ge`, `le`, `sa`, `eb` or `ap`.
        requested: the span of the parameter's value.
        stored: the span of the resource's value.
        now: nanoseconds; `ap` allows a tenth of the distance from it.
    """
    low, high = requested
    start, end = stored
    match prefix:
        case "eq":
            return low <= start and end <= high
        case "ne":
            return not (low <= start and end <= high)
        case "gt":
            return end > high
        case "lt":
            return start < low
        case "ge":
            return end > high or (low <= start and end <= high)
        case "le":
            return start < low or (low <= start and end <= high)
        case "sa":
            return start >= high
        case "eb":
            return end <= low
        case "ap":
            low -= abs(now - low) // 10
            high += abs(now - high) // 10
            return start < high and end > low
        case _:
            raise ValueError(prefix)


def _day_start(year: int, month: int, day: int) -> int:
    return date(year, month, day).toordinal() * DAY
