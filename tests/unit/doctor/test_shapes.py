"""What the values of a column look like."""

import pytest

from etl.doctor.shapes import profile


@pytest.mark.parametrize(
    ("values", "form"),
    [
        (["2024-02-29", "2023-01-31"], "YYYY-MM-DD"),
        (["20240229", "20230131"], "YYYYMMDD"),
        (["2024-02-29T08:15:00Z"], "RFC 3339 instant"),
        (["02/29/2024", "01/31/2024"], "MM/DD/YYYY"),
        (["29/02/2024", "01/03/2024"], "DD/MM/YYYY"),
        (["30-May-2015", "1-Jun-15"], "DD-Mon-YYYY"),
        (["2024/02/29"], "YYYY/MM/DD"),
        (["2024-02-29", "soon"], ""),
    ],
)
def test_the_format_of_dates_is_the_one_that_fits_all_of_them(values, form):
    found = profile(values)
    assert (found.date, found.ambiguous_date) == (form, False)


def test_dates_whose_day_and_month_cannot_be_told_apart_are_called_ambiguous():
    found = profile(["03/04/2024", "05/06/2024"])
    assert found.ambiguous_date
    assert found.date == ""


@pytest.mark.parametrize(
    ("shape", "right", "wrong"),
    [
        ("npi", "1234567893", "1234567890"),
        ("icd", "E11.9", "99213"),
        ("icd_procedure", "0DTJ4ZZ", "99213"),
        ("service", "G0008", "E11.9"),
        ("ndc", "0002-8215-01", "12345"),
        ("revenue", "0450", "450.1"),
        ("taxonomy", "207Q00000X", "207Q00000"),
        ("bill_type", "131", "13"),
        ("zip", "02139-1234", "2139"),
        ("money", "($1,234.56)", "12 dollars"),
        ("number", "-12.5", "1,234"),
        ("email", "a@b.org", "a at b"),
    ],
)
def test_a_shape_tells_its_values_from_others(shape, right, wrong):
    assert profile([right]).share(shape) == 1
    assert profile([wrong]).share(shape) == 0


def test_an_empty_column_looks_like_nothing():
    found = profile(["", ""])
    assert (found.rows, found.filled, found.distinct, found.sample) == (2, 0, 0, ())
    assert found.share("date") == 0


def test_amounts_with_signs_commas_or_brackets_are_told_from_plain_ones():
    assert profile(["$1,234.56", "(30.00)"]).is_dressed
    assert not profile(["1234.56", "-30.00"]).is_dressed
