"""Text, dates and numbers of a source in the form of the canonical tables, a column at a time.

Each kernel runs over the distinct texts of a column; `etl.sources.layout_conversions` has the
conversions of layouts. Null stays null, and a text that becomes empty becomes null.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, as_array, true_where, without_empty
from etl.columns.dates import read_dates, read_timestamps
from etl.sources.layout_conversions import (
    EPOCHS,
    DateFormat,
    LetterCase,
    NumberFormat,
    Pad,
    Part,
    Replace,
    Step,
    Substring,
    Trim,
    date_pattern,
)

_MONTHS: Final = (
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
)
_PARTS: Final = (
    "year",
    "short",
    "month",
    "name",
    "day",
    "hour",
    "minute",
    "second",
    "fraction",
    "zone",
)
_DAY: Final = 86_400_000
_FRACTION: Final = 17
"""Fraction digits of what is calculated with: as many as a binary float of an amount has."""
_OPERAND: Final = pa.decimal256(37, _FRACTION)
_SUM: Final = pa.decimal256(60, _FRACTION)
DECIMAL_PATTERN: Final = rf"^-?[0-9]{{1,{37 - _FRACTION}}}(?:\.[0-9]{{1,{_FRACTION}}})?$"
"""Decimals that can be calculated with."""

Kernel = Callable[[Any], tuple[Any, Bools]]


def over_distinct_texts(column: Any, kernel: Kernel) -> tuple[Any, Bools]:
    """Return a column through a kernel that is run over its distinct texts.

    Args:
        column: `string`, shape (n,).
        kernel: takes distinct texts, gives theirs and where one cannot be read.
    """
    encoded = column.dictionary_encode()
    values, bad = kernel(encoded.dictionary)
    at = pc.fill_null(encoded.indices, len(values)).to_numpy()
    return values.take(encoded.indices), np.append(bad, False)[at]


def stepped(column: Any, steps: tuple[Step, ...]) -> Any:
    """Return text after some steps, each taken on what the one before left; shape (n,)."""

    def kernel(texts: Any) -> tuple[Any, Bools]:
        for step in steps:
            texts = without_empty(pc.utf8_trim_whitespace(_step(texts, step)))
        return texts, np.zeros(len(texts), dtype=bool)

    return over_distinct_texts(column, kernel)[0]


def _step(texts: Any, step: Step) -> Any:
    match step:
        case Substring(first, length):
            # Arrow counts from 0, and from the end where a number is below it.
            start = first - 1 if first > 0 else first
            stop = None if length is None or start < 0 <= start + length else start + length
            return pc.utf8_slice_codeunits(texts, start, stop)
        case Part(number, by):
            lists = pc.split_pattern(texts, by)
            counts = pc.list_value_length(lists)
            place = number - 1 if number > 0 else number
            at = pc.add(counts, place) if place < 0 else pc.add(pc.multiply(counts, 0), place)
            inside = true_where(pc.and_(pc.greater_equal(at, 0), pc.less(at, counts)))
            offsets = np.asarray(lists.offsets)[:-1] - np.asarray(lists.offsets)[0]
            places = offsets + pc.fill_null(at, 0).to_numpy(zero_copy_only=False)
            return pc.list_flatten(lists).take(pa.array(np.where(inside, places, 0), mask=~inside))
        case Replace(by, text, pattern) if pattern is not None:
            del text
            return pc.replace_substring_regex(texts, pattern, by.replace("\\", "\\\\"))
        case Replace(by, text):
            return pc.replace_substring(texts, text, by)
        case Trim(characters, "left"):
            return pc.utf8_ltrim(texts, characters)
        case Trim(characters, "right"):
            return pc.utf8_rtrim(texts, characters)
        case Trim(characters):
            return pc.utf8_trim(texts, characters)
        case Pad(to, filler, "left"):
            return pc.utf8_lpad(texts, to, filler)
        case Pad(to, filler):
            return pc.utf8_rpad(texts, to, filler)
        case LetterCase("upper"):
            return pc.utf8_upper(texts)
        case _:
            return pc.utf8_lower(texts)


def read_formatted_dates(column: Any, format_: DateFormat) -> tuple[Any, Bools]:
    """Return dates that are written in a format as `YYYY-MM-DD`, and which cannot be read.

    Where the format keeps times, texts that have one become RFC 3339 instants.
    """

    def kernel(texts: Any) -> tuple[Any, Bools]:
        days = pa.nulls(len(texts), pa.string())
        for form in format_.formats:
            read = (
                _counted(texts, form, format_) if form in EPOCHS else _dated(texts, form, format_)
            )
            days = pc.coalesce(days, read)
        return days, days.is_null().to_numpy(zero_copy_only=False)

    return over_distinct_texts(column, kernel)


def _counted(texts: Any, form: str, format_: DateFormat) -> Any:
    """Return the days, or instants, of numbers since 1970."""
    numeric = pc.match_substring_regex(texts, r"^-?[0-9]{1,15}$")
    numbers = pc.cast(pc.if_else(numeric, texts, "0"), pa.int64()).to_numpy()
    unit = EPOCHS[form]
    near = np.abs(numbers) < 2**53 // unit
    milliseconds = np.where(near, numbers, 0) * unit
    days = np.floor_divide(milliseconds, _DAY)
    # Days of years that have four digits.
    fine = true_where(numeric) & near & (days >= -719162) & (days <= 2932896)
    moments = np.where(fine, milliseconds, 0).astype("datetime64[ms]")
    if format_.zone is None or form == "epoch-days":
        written = pa.array(np.datetime_as_string(moments, unit="D").tolist(), pa.string())
    else:
        written = pa.array(np.datetime_as_string(moments, unit="ms").tolist(), pa.string())
        written = pc.binary_join_element_wise(
            pc.replace_substring_regex(written, r"\.000$", ""), "Z", ""
        )
    return pc.if_else(pa.array(fine), written, None)


def _dated(texts: Any, form: str, format_: DateFormat) -> Any:
    """Return the days, or instants, that texts of one format name; null where they name none."""
    pattern = date_pattern(form)
    pieces = pc.extract_regex(texts, pattern=pattern)
    parts = {name: pc.struct_field(pieces, name) for name in _PARTS if f"(?P<{name}>" in pattern}
    year = parts.get("year")
    if year is None:
        below = pc.less(pc.cast(parts["short"], pa.int64()), format_.pivot or 0)
        year = pc.binary_join_element_wise(pc.if_else(below, "20", "19"), parts["short"], "")
    month = parts.get("month")
    if month is None:
        names = pa.array(_MONTHS, pa.string())
        number = pc.index_in(pc.utf8_lower(parts["name"]), value_set=names)
        month = pc.cast(pc.add(number, 1), pa.string())
    two = (pc.utf8_lpad(part, 2, "0") for part in (month, parts["day"]))
    day = as_array(pc.binary_join_element_wise(year, *two, "-"))
    values = read_dates(day).values
    if "hour" not in parts:
        return values
    return _timed(values, parts, format_)


def _timed(days: Any, parts: dict[str, Any], format_: DateFormat) -> Any:
    """Return days, and instants where times are kept; null where a time is none."""
    hour, minute = (pc.fill_null(parts[name], "") for name in ("hour", "minute"))
    second = pc.fill_null(parts["second"], "") if "second" in parts else pa.scalar("")
    second = pc.if_else(pc.equal(second, ""), "00", second)
    fraction = pc.fill_null(parts["fraction"], "") if "fraction" in parts else pa.scalar("")
    zone = pc.fill_null(parts["zone"], "") if "zone" in parts else pa.scalar("")
    zone = pc.replace_substring_regex(zone, r"^([+-][0-9]{2})([0-9]{2})$", r"\1:\2")
    zone = pc.if_else(pc.equal(zone, ""), format_.zone or "Z", zone)
    time = pc.binary_join_element_wise(hour, minute, second, ":")
    instant = pc.binary_join_element_wise(
        pc.binary_join_element_wise(days, time, "T"), fraction, zone, ""
    )
    read = read_timestamps(as_array(instant))
    has_time = pc.not_equal(hour, "")
    if format_.zone is not None:
        return pc.if_else(has_time, read.values, days)
    return pc.if_else(pc.and_(has_time, read.bad), None, days)


def read_formatted_numbers(column: Any, format_: NumberFormat) -> tuple[Any, Bools]:
    """Return numbers that are written in a format as plain decimals, and which cannot be read."""
    point, group = re.escape(format_.decimal), re.escape(format_.thousands)
    whole = rf"(?P<whole>[0-9]{{1,3}}(?:{group}[0-9]{{3}})+|[0-9]*)"
    rest = "" if format_.implied else rf"(?:{point}(?P<part>[0-9]*))?"
    sign = r"[$€£]? ?"
    pattern = (
        rf"^(?P<open>\(?)(?P<before>[+-]?){sign}(?P<inner>[+-]?){whole}{rest}"
        r" ?(?P<behind>[+-]?)(?P<close>\)?)$"
    )

    def kernel(texts: Any) -> tuple[Any, Bools]:
        pieces = pc.extract_regex(texts, pattern=pattern)
        cut = {
            name: pc.fill_null(pc.struct_field(pieces, name), "")
            for name in ("open", "before", "inner", "whole", "behind", "close")
        }
        digits = pc.replace_substring(cut["whole"], format_.thousands, "")
        if format_.implied:
            digits = pc.if_else(
                pc.equal(digits, ""), "", pc.ascii_lpad(digits, format_.implied + 1, "0")
            )
            part = pc.utf8_slice_codeunits(digits, -format_.implied, None)
            digits = pc.utf8_slice_codeunits(digits, 0, -format_.implied)
        else:
            part = pc.fill_null(pc.struct_field(pieces, "part"), "")
        signs = pc.binary_join_element_wise(cut["before"], cut["inner"], cut["behind"], "")
        brackets = pc.binary_join_element_wise(cut["open"], cut["close"], "")
        has_digits = pc.not_equal(pc.binary_join_element_wise(digits, part, ""), "")
        single = pc.or_(
            pc.and_(pc.less_equal(pc.binary_length(signs), 1), pc.equal(brackets, "")),
            pc.and_(pc.equal(signs, ""), pc.equal(brackets, "()")),
        )
        fine = true_where(pc.and_(pc.and_(pieces.is_valid(), has_digits), single))
        minus = pc.or_(pc.equal(signs, "-"), pc.equal(brackets, "()"))
        digits = pc.if_else(pc.equal(digits, ""), "0", digits)
        fraction = pc.if_else(pc.equal(part, ""), "", pc.binary_join_element_wise(".", part, ""))
        text = pc.binary_join_element_wise(pc.if_else(minus, "-", ""), digits, fraction, "")
        return pc.if_else(pa.array(fine), text, None), ~fine

    return over_distinct_texts(column, kernel)


def calculated(operation: str, operands: list[Any]) -> tuple[Any, Bools]:
    """Return sums, differences or products of decimals, exactly, and where one is no decimal.

    Absent operands of a sum are skipped; a difference is absent where its first operand is, a
    product where any is. An operand that is no decimal, or has too many digits, makes the result
    absent.

    Args:
        operation: `sum`, `difference` or `product` (of two).
        operands: `string`, shape (n,) each.
    """
    bad = np.zeros(len(operands[0]), dtype=bool)
    numbers = []
    for operand in operands:
        shaped = true_where(pc.match_substring_regex(operand, DECIMAL_PATTERN))
        bad |= true_where(operand.is_valid()) & ~shaped
        text = pc.if_else(pa.array(shaped), operand, pa.scalar(None, pa.string()))
        numbers.append(pc.cast(text, _OPERAND))
    if operation == "product":
        result, scale = pc.multiply(numbers[0], numbers[1]), 2 * _FRACTION
        there = numbers[0].is_valid()
    else:
        combine = pc.add if operation == "sum" else pc.subtract
        zero = pa.scalar(0).cast(_SUM)
        result = pc.fill_null(numbers[0].cast(_SUM), zero)
        there = numbers[0].is_valid()
        for number in numbers[1:]:
            result = combine(result, pc.fill_null(number.cast(_SUM), zero)).cast(_SUM)
            if operation == "sum":
                there = pc.or_(there, number.is_valid())
        scale = _FRACTION
    keep = pc.and_(there, pa.array(~bad))
    return pc.if_else(keep, _plain(result, scale), None), bad


def added_up(column: Any) -> tuple[Decimal, int]:
    """Return the exact sum of decimals, and how many texts are none; absent ones are skipped.

    Args:
        column: `string`, shape (n,).
    """
    shaped = true_where(pc.match_substring_regex(column, DECIMAL_PATTERN))
    unread = int(np.count_nonzero(true_where(column.is_valid()) & ~shaped))
    total = pc.sum(pc.cast(column.filter(pa.array(shaped)), _OPERAND).cast(_SUM)).as_py()
    return total or Decimal(0), unread


def _plain(numbers: Any, scale: int) -> Any:
    """Return decimals as text without exponents and without zeros at the end of the fraction."""
    width = numbers.type.precision
    whole = pa.Array.from_buffers(pa.decimal256(width, 0), len(numbers), numbers.buffers())
    text = pc.cast(whole, pa.string())
    minus = pc.starts_with(text, "-")
    digits = pc.ascii_lpad(pc.ascii_ltrim(text, "-"), scale + 1, "0")
    part = pc.ascii_rtrim(pc.utf8_slice_codeunits(digits, -scale, None), "0")
    fraction = pc.if_else(pc.equal(part, ""), "", pc.binary_join_element_wise(".", part, ""))
    front = pc.utf8_slice_codeunits(digits, 0, -scale)
    return pc.binary_join_element_wise(pc.if_else(minus, "-", ""), front, fraction, "")
