"""Timeliness: business days from a claim's adjudication until its member could see it.

CMS has payers make adjudicated claims visible no later than one business day after the adjudication
(42 CFR 422.119(b)(1)(i) and its counterparts). Business days are those of US federal offices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

MAX_BUSINESS_DAYS = 1
"""Business days allowed between adjudication and availability."""


@dataclass(frozen=True, slots=True)
class Availability:
    """The day on which claims become visible, and the claims that were visible before.

    Attributes:
        day: day of the run, UTC.
        visible_ids: ids of ExplanationOfBenefits that an earlier release has or had.
    """

    day: date
    visible_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Delays:
    """Business days that claims took, of those that became visible in a release.

    Attributes:
        days: business days -> how many claims.
        late: file, row and business days of claims that took more than `MAX_BUSINESS_DAYS`.
    """

    days: Mapping[int, int]
    late: tuple[tuple[int, int, int], ...]


def count_delays(adjudication_dates: Any, positions: Any, availability: Availability) -> Delays:
    """Count business days from adjudication until each claim became available.

    Args:
        adjudication_dates: numpy `object`, `YYYY-MM-DD` of each claim; those without are left out.
        positions: numpy `int64`, shape (claims, 2): file and row of each.
        availability: when they become visible.
    """
    has_date = adjudication_dates != ""
    if not has_date.any():
        return Delays({}, ())
    from_days = adjudication_dates[has_date].astype("datetime64[D]")
    days = business_days(from_days, availability.day)
    late = [
        (int(file), int(row), int(delay))
        for (file, row), delay in zip(positions[has_date].tolist(), days.tolist(), strict=True)
        if delay > MAX_BUSINESS_DAYS
    ]
    return Delays(Counter(days.tolist()), tuple(late))


def business_days(adjudication_days: Any, visible_day: date) -> Any:
    """Count business days after each day, up to and including another; at least 0.

    A claim adjudicated on Friday and visible on Monday took one.

    Args:
        adjudication_days: numpy `datetime64[D]`.
        visible_day: the day on which it is visible.
    """
    from holidays import country_holidays

    visible_date = np.datetime64(visible_day, "D")
    first_year = int(str(min(adjudication_days.min(), visible_date))[:4])
    federal_holidays = country_holidays("US", years=range(first_year, visible_day.year + 1))
    counts = np.busday_count(
        adjudication_days + 1,
        visible_date + 1,
        holidays=np.array(sorted(federal_holidays), dtype="datetime64[D]"),
    )
    return np.maximum(counts, 0)


def percentile(days: Counter[int], share: int) -> int:
    """Return the days within which `share` percent of claims were visible."""
    rank, claim_count = -(-share * days.total() // 100), 0
    for day_count in sorted(days):
        claim_count += days[day_count]
        if claim_count >= rank:
            return day_count
    return 0
