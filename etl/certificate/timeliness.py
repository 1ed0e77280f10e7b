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

ALLOWED = 1
"""Business days that may pass."""


@dataclass(frozen=True, slots=True)
class Newly:
    """The moment at which claims become visible, and the claims that were visible before.

    Attributes:
        day: day of the run, UTC.
        known: ids of ExplanationOfBenefits that an earlier release has or had.
    """

    day: date
    known: frozenset[str]


@dataclass(frozen=True, slots=True)
class Delays:
    """Business days that claims took, of those that became visible in a release.

    Attributes:
        days: business days -> how many claims.
        late: file, row and business days of claims that took more than `ALLOWED`.
    """

    days: Mapping[int, int]
    late: tuple[tuple[int, int, int], ...]


def delays(adjudicated: Any, places: Any, newly: Newly) -> Delays:
    """Return how long claims took.

    Args:
        adjudicated: numpy `object`, `YYYY-MM-DD` of each claim; those without are left out.
        places: numpy `int64`, shape (claims, 2): file and row of each.
        newly: when they become visible.
    """
    known = adjudicated != ""
    if not known.any():
        return Delays({}, ())
    from_days = adjudicated[known].astype("datetime64[D]")
    days = business_days(from_days, newly.day)
    late = [
        (int(file), int(row), int(each))
        for (file, row), each in zip(places[known].tolist(), days.tolist(), strict=True)
        if each > ALLOWED
    ]
    return Delays(Counter(days.tolist()), tuple(late))


def business_days(adjudicated: Any, visible: date) -> Any:
    """Return how many business days begin after each day, until and with another; 0 at least.

    What was adjudicated on a Friday and is visible on Monday took one.

    Args:
        adjudicated: numpy `datetime64[D]`.
        visible: the day on which it is visible.
    """
    from holidays import country_holidays

    end = np.datetime64(visible, "D")
    first = int(str(min(adjudicated.min(), end))[:4])
    free = country_holidays("US", years=range(first, visible.year + 1))
    counts = np.busday_count(
        adjudicated + 1, end + 1, holidays=np.array(sorted(free), dtype="datetime64[D]")
    )
    return np.maximum(counts, 0)


def percentile(days: Counter[int], share: int) -> int:
    """Return the fewest days within which a share of claims was visible; `share` in percent."""
    rank, seen = -(-share * days.total() // 100), 0
    for each in sorted(days):
        seen += days[each]
        if seen >= rank:
            return each
    return 0
