"""Text, dates and numbers of a source in the form of the canonical tables, a column at a time.

Each kernel runs over the distinct texts of a column; `etl.sources.layout_conversions` has the
conversions of layouts. Null stays null, and a text that becomes empty becomes null.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, time
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, true_where, without_empty
from etl.sources.layout_conversions import (
    DateFormat,
    LetterCase,
    NumberFormat,
    Pad,
    Replace,
    Step,
    Trim,
    date_pattern,
)

_MONTH_NAMES: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
_TIME: Final = ("hour", "minute", "second")
_ZONE: Final = re.compile(r"Z|[+-](?:(?:0[0-9]|1[0-3]):?[0-5][0-9]|14:?00)")

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
        case Replace(pattern, by):
            return pc.replace_substring_regex(texts, pattern, by.replace("\\", "\\\\"))
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
    """Return dates that are written in a format as `YYYY-MM-DD`, and which cannot be read."""
    patterns = [re.compile(date_pattern(form)) for form in format_.formats]

    def kernel(texts: Any) -> tuple[Any, Bools]:
        days = pa.array([_day(text, patterns) for text in texts.to_pylist()], pa.string())
        return days, days.is_null().to_numpy(zero_copy_only=False)

    return over_distinct_texts(column, kernel)


def _day(text: str, patterns: Sequence[re.Pattern[str]]) -> str | None:
    """Return the day that a text names by the first pattern that fits; None if it names none."""
    for pattern in patterns:
        found = pattern.fullmatch(text)
        if found is None:
            continue
        parts = {name: part for name, part in found.groupdict().items() if part}
        try:
            month = parts.get("month") or _MONTH_NAMES.index(parts["name"].title()) + 1
            day = date(int(parts["year"]), int(month), int(parts["day"]))
            # The time is left out, but a date with an impossible one is not trusted.
            hour, minute, second = (int(parts.get(name, 0)) for name in _TIME)
            time(hour, minute, second)
        except ValueError:
            continue
        if _ZONE.fullmatch(parts.get("zone", "Z")):
            return day.isoformat()
    return None


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
