"""What the values of a column look like."""

import pytest

from etl.doctor.shapes import profile_values
from tests.given.tables import table


@pytest.mark.parametrize(*table(__file__, "formats"))
def test_the_format_of_dates_is_the_one_that_fits_all_of_them(values, form):
    found = profile_values(values)
    assert (found.date, found.ambiguous_date) == (form, False)


def test_dates_whose_day_and_month_cannot_be_told_apart_are_called_ambiguous():
    found = profile_values(["03/04/2024", "05/06/2024"])
    assert found.ambiguous_date
    assert found.date == ""


@pytest.mark.parametrize(*table(__file__, "shapes"))
def test_a_shape_tells_its_values_from_others(shape, right, wrong):
    assert profile_values([right]).share(shape) == 1
    assert profile_values([wrong]).share(shape) == 0


def test_an_empty_column_looks_like_nothing():
    found = profile_values(["", ""])
    assert (found.rows, found.filled, found.distinct, found.sample) == (2, 0, 0, ())
    assert found.share("date") == 0


def test_amounts_with_signs_commas_or_brackets_are_told_from_plain_ones():
    assert profile_values(["$1,234.56", "(30.00)"]).is_formatted
    assert not profile_values(["1234.56", "-30.00"]).is_formatted
