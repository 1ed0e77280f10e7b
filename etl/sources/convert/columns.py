"""Convert cells to columns by a layout: sources, conversions, and findings.

The cells are those of a file's rows (`etl.sources.convert.raw_rows`) or of merged rows
(`etl.sources.convert.canonical_rows`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, empty_to_null, true_where
from etl.columns.numbers import to_cents
from etl.model.crosswalks import Crosswalk
from etl.sources.layout.conversions import (
    DateFormat,
    LetterCase,
    NumberFormat,
    Pad,
    Replace,
    Step,
    Trim,
    date_pattern,
)
from etl.sources.layout.model import (
    AcceptedValues,
    CoalescedColumns,
    ColumnSpec,
    ConstantText,
    FromColumn,
    JoinedColumns,
    match_rows,
)
from etl.sources.layout.names import (
    CONFLICT,
    ROUNDED_AMOUNT,
    SENTINEL_DATE,
    UNKNOWN_VALUES,
    UNREADABLE_VALUE,
    WORD_WITHOUT_CODE,
)


@dataclass(slots=True)
class ConvertedColumn:
    """A column during conversion.

    Attributes:
        values: its texts, shape (n,).
        notes: findings so far: rule and the rows that have it.
    """

    values: Any
    notes: list[tuple[str, Bools]]

    def note(self, rule: str, where: Any) -> None:
        """Add a finding for some rows."""
        mask = where if isinstance(where, np.ndarray) else where.to_numpy(zero_copy_only=False)
        if mask.any():
            self.notes.append((rule, mask))

    def unknown(self) -> Bools:
        """Return where the value exists but is unknown, shape (n,)."""
        unknown = np.zeros(len(self.values), dtype=bool)
        for rule, mask in self.notes:
            if rule in UNKNOWN_VALUES:
                unknown |= mask
        return unknown

    def drop_unknown(self) -> ConvertedColumn:
        """Return the column without unknown values."""
        return ConvertedColumn(pc.if_else(pa.array(self.unknown()), None, self.values), self.notes)

    def read(self, read: tuple[Any, Bools]) -> None:
        """Replace the values by a kernel's; unreadable ones are absent, with a finding."""
        has_value = self.values.is_valid().to_numpy(zero_copy_only=False)
        self.values = read[0]
        self.note(UNREADABLE_VALUE, read[1] & has_value)


class RowCells(Protocol):
    """Rows with the cells that columns are made of.

    Attributes:
        count: number of rows.
    """

    count: int

    def cell(self, header: str) -> Any:
        """Return the cells under a header, trimmed; null where empty."""

    def agreed(self, header: str, spec: ColumnSpec) -> ConvertedColumn:
        """Return the cells under a header, and the findings about them."""

    def of_other_rows(self, spec: ColumnSpec) -> ConvertedColumn:
        """Return a column made of other rows, or of row numbers."""


def convert_column(spec: ColumnSpec, cells: RowCells) -> ConvertedColumn:
    """Return a column converted by a layout, with nulls."""
    converted = _source(spec, cells)
    if spec.when:
        mask = match_rows(spec.when, cells.cell, cells.count)
        converted.values = pc.if_else(pa.array(mask), converted.values, None)
        converted.notes = [(rule, noted & mask) for rule, noted in converted.notes]
    if spec.sentinels:
        sentinels = pa.array(sorted(spec.sentinels), pa.string())
        stood = pc.is_in(converted.values, value_set=sentinels)
        converted.note(SENTINEL_DATE, stood)
        converted.values = pc.if_else(stood, None, converted.values)
    if spec.steps:
        converted.values = apply_steps(converted.values, spec.steps)
    if spec.date is not None:
        converted.read(read_formatted_dates(converted.values, spec.date))
    if spec.number is not None:
        converted.read(read_formatted_numbers(converted.values, spec.number))
    if spec.crosswalk is not None or spec.accept is not None:
        _translate(converted, spec, cells)
    if spec.amount:
        converted.values, rounded = to_cents(converted.values)
        converted.note(ROUNDED_AMOUNT, rounded)
    if spec.finding is not None:
        converted.note(spec.finding, converted.values.is_valid())
    return converted


def _source(spec: ColumnSpec, cells: RowCells) -> ConvertedColumn:
    match spec.source:
        case FromColumn(header):
            return cells.agreed(header, spec)
        case ConstantText(text):
            return ConvertedColumn(pa.repeat(pa.scalar(text, pa.string()), cells.count), [])
        case CoalescedColumns(options):
            return _first_of(options, spec.conflict, cells)
        case JoinedColumns(headers, between, needs_all):
            parts = [cells.agreed(header, spec) for header in headers]
            notes = [note for part in parts for note in part.notes]
            texts = [part.values for part in parts]
            return ConvertedColumn(
                _join_texts(texts, between, needs_all=needs_all), notes
            ).drop_unknown()
        case _:
            return cells.of_other_rows(spec)


def _first_of(options: tuple[ColumnSpec, ...], conflict: str, cells: RowCells) -> ConvertedColumn:
    converted = ConvertedColumn(pa.nulls(cells.count, pa.string()), [])
    wanted = np.ones(cells.count, dtype=bool)
    for option in options:
        if not wanted.any():
            break
        candidate = convert_column(option, cells)
        for rule, mask in candidate.notes:
            converted.note(conflict if rule == CONFLICT else rule, mask & wanted)
        converted.values = pc.if_else(pa.array(wanted), candidate.values, converted.values)
        # If it isn't known which value an entry has, no later entry may take its place.
        wanted &= candidate.values.is_null().to_numpy(zero_copy_only=False) & ~candidate.unknown()
    return converted


def _join_texts(texts: list[Any], between: str, *, needs_all: bool) -> Any:
    if needs_all:
        return pc.binary_join_element_wise(*texts, between)
    joined = texts[0]
    for text in texts[1:]:
        joined_pair = pc.binary_join_element_wise(joined, text, between)
        joined = pc.coalesce(joined_pair, joined, text)
    return joined


def _translate(converted: ConvertedColumn, spec: ColumnSpec, cells: RowCells) -> None:
    accepted = _is_accepted(converted.values, spec.accept, cells)
    encoded = converted.values.dictionary_encode()
    words = encoded.dictionary.to_pylist()
    answers = [_look_up(spec.crosswalk, word) for word in words]
    translated = pa.array([answer for answer, _ in answers], pa.string()).take(encoded.indices)
    has_line = pa.array([known for _, known in answers], pa.bool_()).take(encoded.indices)
    has_value = converted.values.is_valid().to_numpy(zero_copy_only=False)
    known_there = true_where(has_line)
    empty = translated.is_null().to_numpy(zero_copy_only=False)
    converted.note(spec.rule, has_value & ~accepted & ~known_there)
    converted.note(WORD_WITHOUT_CODE, has_value & ~accepted & known_there & empty)
    converted.values = pc.if_else(pa.array(accepted), converted.values, translated)


def _is_accepted(values: Any, accept: AcceptedValues | None, cells: RowCells) -> Bools:
    if accept is None:
        return np.zeros(len(values), dtype=bool)
    mask = match_rows(accept.where, cells.cell, len(values))
    if accept.pattern is not None:
        fits = pc.match_substring_regex(values, f"^(?:{accept.pattern})$")
        mask &= true_where(fits)
    return mask


def _look_up(crosswalk: Crosswalk | None, word: str) -> tuple[str | None, bool]:
    """Return a crosswalk's code for a word, and whether it lists the word."""
    if crosswalk is None:
        return None, False
    return crosswalk.answer(word), word.strip().lower() in crosswalk.rows


_MONTH_NAMES: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
_TIME: Final = ("hour", "minute", "second")
_ZONE: Final = re.compile(r"Z|[+-](?:(?:0[0-9]|1[0-3]):?[0-5][0-9]|14:?00)")

Kernel = Callable[[Any], tuple[Any, Bools]]


def map_distinct_texts(column: Any, kernel: Kernel) -> tuple[Any, Bools]:
    """Apply a kernel to a column's distinct texts.

    Args:
        column: `string`, shape (n,).
        kernel: takes distinct texts, returns values and which texts cannot be read.
    """
    encoded = column.dictionary_encode()
    values, bad = kernel(encoded.dictionary)
    at = pc.fill_null(encoded.indices, len(values)).to_numpy()
    return values.take(encoded.indices), np.append(bad, False)[at]


def apply_steps(column: Any, steps: tuple[Step, ...]) -> Any:
    """Apply steps to texts in order; shape (n,)."""

    def kernel(texts: Any) -> tuple[Any, Bools]:
        for step in steps:
            texts = empty_to_null(pc.utf8_trim_whitespace(_apply_step(texts, step)))
        return texts, np.zeros(len(texts), dtype=bool)

    return map_distinct_texts(column, kernel)[0]


def _apply_step(texts: Any, step: Step) -> Any:
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
    """Convert dates of a format to `YYYY-MM-DD`; return also the unreadable ones."""
    patterns = [re.compile(date_pattern(form)) for form in format_.formats]

    def kernel(texts: Any) -> tuple[Any, Bools]:
        days = pa.array([_parse_day(text, patterns) for text in texts.to_pylist()], pa.string())
        return days, days.is_null().to_numpy(zero_copy_only=False)

    return map_distinct_texts(column, kernel)


def _parse_day(text: str, patterns: Sequence[re.Pattern[str]]) -> str | None:
    """Parse a date by the first pattern that matches; None if none does."""
    for pattern in patterns:
        date_match = pattern.fullmatch(text)
        if date_match is None:
            continue
        parts = {name: part for name, part in date_match.groupdict().items() if part}
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
    """Convert numbers of a format to plain decimals; return also the unreadable ones."""
    point, group = re.escape(format_.decimal), re.escape(format_.thousands)
    integer_part = rf"(?P<whole>[0-9]{{1,3}}(?:{group}[0-9]{{3}})+|[0-9]*)"
    fraction_part = "" if format_.implied else rf"(?:{point}(?P<part>[0-9]*))?"
    sign = r"[$€£]? ?"
    pattern = (
        rf"^(?P<open>\(?)(?P<before>[+-]?){sign}(?P<inner>[+-]?){integer_part}{fraction_part}"
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

    return map_distinct_texts(column, kernel)
