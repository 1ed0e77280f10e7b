"""Timeliness: business days from a claim's adjudication until its member could see it.

CMS has payers make adjudicated claims visible no later than one business day after the adjudication
(42 CFR 422.119(b)(1)(i) and its counterparts). Business days are those of US federal offices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np

MAX_BUSINESS_DAYS = 1
"""Business days allowed between adjudication and availability."""


def count_delays(adjudicated: Mapping[str, int], visible_day: date) -> Counter[int]:
    """Return business days -> claims that took them until they became visible.

    Args:
        adjudicated: `YYYY-MM-DD` of the adjudication -> claims.
        visible_day: the day on which they become visible, UTC.
    """
    delays: Counter[int] = Counter()
    if adjudicated:
        days = business_days(np.array(list(adjudicated), dtype="datetime64[D]"), visible_day)
        for delay, count in zip(days.tolist(), adjudicated.values(), strict=True):
            delays[delay] += count
    return delays


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
