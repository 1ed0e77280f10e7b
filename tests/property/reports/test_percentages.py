"""Percentages add up to 100, and say 0 and 100 only where it is none and all."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from etl.reports.page import percentages, share

PARTS = st.lists(st.integers(0, 10**9) | st.integers(0, 12), min_size=1, max_size=8)


def number(text):
    return Decimal(text.removesuffix(" %"))


@given(PARTS)
def test_percentages_sum_to_100_exactly(parts):
    texts = percentages(parts)
    if sum(parts):
        assert sum(number(text) for text in texts) == 100
    else:
        assert set(texts) == {"\N{EN DASH}"}


@given(PARTS)
def test_each_is_off_by_less_than_its_last_digit(parts):
    whole = sum(parts)
    if not whole:
        return
    for part, text in zip(parts, percentages(parts), strict=True):
        digits = len(text.removesuffix(" %").partition(".")[2])
        unit = Decimal(1).scaleb(-digits)
        off = abs(number(text) - Decimal(100 * part) / whole)
        # A part too small for four decimals is raised to the last digit, at the largest's cost.
        assert off < unit or digits == 4
        assert off < unit * len(parts)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_0_and_100_are_said_of_none_and_of_all(part, rest):
    text = share(part, part + rest)
    if part + rest:
        assert (text == "0 %") == (part == 0)
        assert (text == "100 %") == (rest == 0)


def test_thirds_are_rounded_by_largest_remainder():
    assert percentages([1, 1, 1]) == ["33.4 %", "33.3 %", "33.3 %"]
    assert percentages([1, 99_999]) == ["0.001 %", "99.999 %"]
    assert percentages([1, 10**9]) == ["0.0001 %", "99.9999 %"]
