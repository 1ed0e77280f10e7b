"""Every column kernel against a slow, obvious reader of one cell."""

import datetime as dt
import re
from decimal import Decimal, InvalidOperation

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from etl.columns import codes, dates, numbers
from etl.model.code_shapes import is_npi
from tests.given.tables import table


def column(cells):
    """Return an array with an offset, so that a kernel that ignores offsets fails."""
    return pa.array(["skipped", *cells], pa.string()).slice(1)


def assert_read(got, cells, one):
    """Return what is read of each cell: as `one` reads it, and bad where that is nothing."""
    want = [None if cell is None else one(cell) for cell in cells]
    assert got.values.to_pylist() == want
    assert got.bad.to_pylist() == [
        cell is not None and value is None for cell, value in zip(cells, want, strict=True)
    ]
    return want


def cells_of(text):
    return st.lists(st.none() | text, max_size=12)


# -- dates ---------------------------------------------------------------------------------------


def one_date(text):
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}", text, re.ASCII):
        return None
    digits = text.replace("-", "")
    try:
        return dt.date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).isoformat()
    except ValueError:
        return None


numbers_of_a_day = st.tuples(
    st.integers(0, 9999), st.integers(0, 14), st.integers(0, 33), st.sampled_from(["", "-"])
)
near_dates = numbers_of_a_day.map(lambda p: f"{p[0]:04}{p[3]}{p[1]:02}{p[3]}{p[2]:02}")
odd_text = st.text(max_size=11) | st.text("0123456789-/T ", min_size=8, max_size=10)


@given(cells_of(near_dates | odd_text))
@example(["20200230", "2020-02-29", "2021-02-29", "1900-02-29", "2000-02-29", None])
@example(["0000-01-01", "0001-01-01", "9999-12-31", "2020-13-01", "2020-00-10", "2020-01-00"])
@example(["\uff12\uff10\uff12\uff100101", "2020-0101", "202001-01", "2020-01-01 ", ""])
def test_dates_agree_with_the_calendar(cells):
    got = dates.read_dates(column(cells))
    want = assert_read(got, cells, one_date)
    epoch = dt.date(1970, 1, 1)
    assert got.days.tolist() == [
        dates.NO_DAY if day is None else (dt.date.fromisoformat(day) - epoch).days for day in want
    ]


def one_timestamp(text):
    if "T" not in text:
        return one_date(text)
    shape = re.fullmatch(
        r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]{1,9})?"
        r"(Z|[+-]([0-9]{2}):([0-9]{2}))",
        text,
    )
    if shape is None or one_date(shape[1]) is None:
        return None
    hour, minute, second = int(shape[2]), int(shape[3]), int(shape[4])
    if hour > 23 or minute > 59 or second > 59:
        return None
    if shape[7] and (int(shape[7]), int(shape[8])) > (14, 0):
        return None
    if shape[8] and int(shape[8]) > 59:
        return None
    return text


instants = st.tuples(
    near_dates,
    st.integers(0, 25),
    st.integers(0, 61),
    st.integers(0, 61),
    st.sampled_from(["", ".5", ".123456789", "."]),
    st.sampled_from(["Z", "", "z", "+01:00", "-14:00", "+14:30", "+05:60", "-0500"]),
).map(lambda p: f"{p[0]}T{p[1]:02}:{p[2]:02}:{p[3]:02}{p[4]}{p[5]}")


@given(cells_of(instants | near_dates | odd_text))
@example(["2020-02-30T10:00:00Z", "2020-02-29T23:59:60.5+14:00", "20200131", "2020-01-01T10:00:00"])
def test_timestamps_keep_their_shape_and_name_a_day(cells):
    assert_read(dates.read_timestamps(column(cells)), cells, one_timestamp)


# -- numbers -------------------------------------------------------------------------------------


def one_number(text):
    if not re.fullmatch(r"-?[0-9]*\.?[0-9]*", text, re.ASCII) or not re.search("[0-9]", text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def one_amount(text):
    number = one_number(text)
    if number is None or abs(number) >= 10**numbers.MONEY_DIGITS:
        return None
    in_cents = number * 100
    if in_cents != in_cents.to_integral_value():
        return None
    return f"{in_cents.to_integral_value() / 100 + 0:.2f}"


digits = st.text("0123456789", max_size=16)
near_numbers = st.tuples(
    st.sampled_from(["", "-", "+", "--", "$"]),
    digits,
    st.sampled_from(["", ".", ",", ".."]),
    st.text("0123456789", max_size=5) | st.just("000000"),
    st.sampled_from(["", "", "", "-", "e2", " ", "%"]),
).map("".join)


@given(cells_of(near_numbers | st.text(max_size=8)))
@example(["-0.00", "-0", "007.50", ".5", "5.", ".", "-", "", "1.230", "1.234", "0.001", "-.05"])
@example(["9999999999999.99", "10000000000000.00", "1,234.50", "(12.50)", "1e3", "+5", "\u0967.00"])
@example(["1.00", "-12.34", "0.10", "-0.01"])
def test_amounts_are_exact_to_the_cent_or_bad(cells):
    got = numbers.read_money(column(cells))
    want = assert_read(got, cells, one_amount)
    assert numbers.cents(got.values).tolist() == [
        0 if each is None else int(Decimal(each) * 100) for each in want
    ]


@given(cells_of(near_numbers))
@example(["1.234", "1.230", "abc", "12345678901234.567"])
def test_too_fine_an_amount_is_told_from_no_amount(cells):
    got = numbers.read_money(column(cells))
    for cell, fine in zip(cells, got.fine_grained.tolist(), strict=True):
        number = None if cell is None else one_number(cell)
        small = number is not None and abs(number) < 10**numbers.MONEY_DIGITS
        assert fine == (small and number * 100 % 1 != 0)


def one_decimal(text):
    if one_number(text) is None:
        return None
    sign, _, body = text.rpartition("-")
    sign = "-" if text.startswith("-") else sign
    whole, _, part = body.partition(".")
    whole = whole.lstrip("0") or "0"
    if len(whole) + len(part) > numbers.DECIMAL_DIGITS:
        return None
    if Decimal(text) == 0:
        sign = ""
    return f"{sign}{whole}{'.' if part else ''}{part}"


@given(cells_of(near_numbers))
@example(["1.50", "007", ".5", "5.", "-0.0", "123456789012345678", "1234567890123456789"])
def test_decimals_keep_their_precision(cells):
    got = numbers.read_decimals(column(cells))
    assert got.values.to_pylist() == [None if cell is None else one_decimal(cell) for cell in cells]


def one_integer(text):
    number = one_number(text)
    if number is None or not re.match("-?[0-9]", text) or number != number.to_integral_value():
        return None
    return str(int(number)) if abs(number) <= numbers.LARGEST_INTEGER else None


@given(cells_of(near_numbers))
@example(["30.0", "030", "-5", "2147483647", "2147483648", "1.5", "-0", "30.", ".0"])
def test_integers_fit_in_32_bits_or_are_bad(cells):
    got = numbers.read_integers(column(cells))
    assert got.values.to_pylist() == [None if cell is None else one_integer(cell) for cell in cells]
    assert numbers.integers(got.values).tolist() == [
        int(one_integer(cell) or 0) if cell is not None else 0 for cell in cells
    ]


@given(st.integers(-(10**17), 10**17))
def test_cents_read_back_as_the_amount_they_were(amount):
    assert Decimal(numbers.cents_text(amount)) * 100 == amount


# -- flags, lists, text --------------------------------------------------------------------------


@given(cells_of(st.sampled_from(["Y", "n", "Yes", "TRUE", "0", "1", "F", "maybe", "2", ""])))
def test_flags_are_yes_or_no(cells):
    got = codes.read_flags(column(cells))
    assert_read(got, cells, lambda cell: codes.FLAG_WORDS.get(cell.lower()))


@given(cells_of(st.text("ab; \t", max_size=10)))
@example([";", " a ; b;;c ", "a", "", "; ;"])
def test_lists_have_no_blanks_around_and_no_empty_values(cells):
    got = codes.read_lists(column(cells))
    for cell, value in zip(cells, got.values.to_pylist(), strict=True):
        parts = [part.strip() for part in (cell or "").split(";")]
        kept = ";".join(part for part in parts if part)
        if "\t" in kept:  # a tab inside a value is no value
            assert value is None
        else:
            assert (value or "") == kept


@given(cells_of(st.text(max_size=8)))
@example(["a\x00b", "\x07", "line\nbreak", "naïve"])
def test_text_keeps_all_but_what_fhir_forbids(cells):
    got = codes.read_text(column(cells))
    for cell, value, bad in zip(cells, got.values.to_pylist(), got.bad.to_pylist(), strict=True):
        clean = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "", cell or "")
        assert bad == (cell is not None and clean != cell)
        if not bad:
            assert value == cell
        else:
            assert (value or "") == clean.strip() or not clean.strip()


# -- code systems --------------------------------------------------------------------------------


@given(cells_of(st.from_regex(r"\A[0-9]{9,11}\Z") | st.text(max_size=10)))
@example(["1234567893", "1234567890", "3234567899", "3234567893", "808401234567893", "", None])
def test_npis_of_a_column_are_those_of_its_cells(cells):
    got = codes.are_npis(column(cells)).tolist()
    assert got == [cell is not None and is_npi(cell) for cell in cells]


def one_ndc(text):
    if re.fullmatch(r"[0-9]{11}", text, re.ASCII):
        return text
    parts = text.split("-")
    if len(parts) != 3 or not all(re.fullmatch(r"[0-9]+", part, re.ASCII) for part in parts):
        return None
    if tuple(map(len, parts)) not in {(4, 4, 2), (5, 3, 2), (5, 4, 1), (5, 4, 2)}:
        return None
    return parts[0].zfill(5) + parts[1].zfill(4) + parts[2].zfill(2)


segments = st.tuples(*(st.text("0123456789", min_size=0, max_size=n) for n in (6, 5, 3)))


@given(cells_of(segments.map("-".join) | st.text("0123456789", min_size=9, max_size=12)))
@example(["1234-5678-90", "12345-678-90", "12345-6789-0", "12345-6789-01", "1234567890"])
def test_ndcs_are_padded_where_their_hyphens_say_how(cells):
    got = codes.read_ndc(column(cells))
    assert got.values.to_pylist() == [None if cell is None else one_ndc(cell) for cell in cells]


@pytest.mark.parametrize(*table(__file__, "icd_codes"))
def test_icd_points_go_where_each_classification_has_them(kind, sent, read, moved):
    got = codes.read_icd(column([sent, None]), kind)
    assert got.values.to_pylist() == [read, None]
    assert got.misplaced.tolist() == [moved, False]
    assert not got.impossible.any()


def test_codes_of_other_systems_are_no_icd_codes():
    got = codes.read_icd(column(["73211009", "??", "E11-65", "11.65", "E11.65"]), "icd-10-cm")
    assert got.impossible.tolist() == [True, True, True, True, False]
    assert got.values.to_pylist()[0] == "73211009"
    procedures = codes.read_icd(column(["99213", "0DTJ4ZZ", "0DTI4ZO"]), "icd-10-pcs")
    assert procedures.impossible.tolist() == [True, False, False]
    assert procedures.unusual.tolist() == [False, False, True]


@given(cells_of(st.from_regex(r"\A[A-Z][0-9A-Z.]{1,8}\Z")))
def test_reading_a_code_twice_changes_nothing(cells):
    once = codes.read_icd(column(cells), "icd-10-cm")
    twice = codes.read_icd(once.values, "icd-10-cm")
    kept = ~(once.impossible | twice.impossible)
    assert twice.values.filter(pa.array(kept)) == once.values.filter(pa.array(kept))
    assert not (twice.misplaced & kept).any()
