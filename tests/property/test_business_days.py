"""Business days until a claim is visible, against a calendar that is walked day by day."""

from collections import Counter
from datetime import date, timedelta

import holidays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.certificate.timeliness import business_days, count_delays, percentile
from tests.given.tables import table

DAYS = st.dates(date(2019, 1, 1), date(2031, 12, 31))
FEDERAL = holidays.country_holidays("US", years=range(2018, 2033))


def walked(adjudicated, visible):
    day, count = adjudicated, 0
    while day < visible:
        day += timedelta(days=1)
        count += day.weekday() < 5 and day not in FEDERAL
    return count


@given(DAYS, st.integers(-30, 200))
def test_business_days_are_those_that_a_calendar_is_walked_through(day, more):
    visible = day + timedelta(days=more)
    (found,) = business_days(np.array([day], dtype="datetime64[D]"), visible)
    assert found == walked(day, visible)


@pytest.mark.parametrize(*table(__file__, "days"))
def test_weekends_and_federal_holidays_do_not_count(adjudicated, visible, days):
    found = business_days(np.array([adjudicated], "datetime64[D]"), date.fromisoformat(visible))
    assert found.tolist() == [days]


@given(st.dictionaries(DAYS.map(str), st.integers(1, 9), max_size=9), DAYS)
def test_claims_are_counted_by_their_delay(adjudicated, visible):
    expected = Counter[int]()
    for day, claims in adjudicated.items():
        expected[walked(date.fromisoformat(day), visible)] += claims
    assert count_delays(adjudicated, visible) == expected


def test_a_percentile_is_the_fewest_days_within_which_that_share_was_visible():
    days = Counter({0: 90, 1: 5, 7: 5})
    assert [percentile(days, share) for share in (50, 90, 95, 96, 100)] == [0, 0, 1, 7, 7]
