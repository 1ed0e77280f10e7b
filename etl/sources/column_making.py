"""Columns made of cells by a layout: sources, then conversions, with a note for each finding.

The cells are those of the rows of a file (`etl.sources.raw_rows`), or of merged rows
(`etl.sources.convert_rows`); both are treated alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, true_where
from etl.columns.numbers import to_cents
from etl.model.crosswalks import Crosswalk
from etl.sources import rule_ids
from etl.sources.layout_columns import (
    Accept,
    ColumnSpec,
    ConstantText,
    FirstColumn,
    FromColumn,
    JoinedColumns,
)
from etl.sources.row_conditions import holds
from etl.sources.text_conversions import (
    read_formatted_dates,
    read_formatted_numbers,
    stepped,
)


@dataclass(slots=True)
class MadeColumn:
    """A column in the making.

    Attributes:
        values: its text, shape (n,).
        notes: findings so far: rule and the rows that have it.
    """

    values: Any
    notes: list[tuple[str, Bools]]

    def note(self, rule: str, where: Any) -> None:
        """Add a finding for some rows."""
        mask = where if isinstance(where, np.ndarray) else where.to_numpy(zero_copy_only=False)
        if mask.any():
            self.notes.append((rule, mask))

    def read(self, read: tuple[Any, Bools]) -> None:
        """Take what a kernel read; values that it could not read are absent, with a finding."""
        there = self.values.is_valid().to_numpy(zero_copy_only=False)
        self.values = read[0]
        self.note(rule_ids.UNREADABLE_VALUE, read[1] & there)


class RowCells(Protocol):
    """Rows with the cells that columns are made of.

    Attributes:
        count: of the rows.
    """

    count: int

    def cell(self, header: str) -> Any:
        """Return the cells under a header, trimmed; null where empty."""

    def agreed(self, header: str, spec: ColumnSpec) -> MadeColumn:
        """Return the cells under a header, and the findings about them."""

    def of_other_rows(self, spec: ColumnSpec) -> MadeColumn:
        """Return a column that is made of more than the row: of other rows, or their numbers."""


def make(spec: ColumnSpec, cells: RowCells) -> MadeColumn:
    """Return a column as a layout makes it, a text or null a row."""
    made = _source(spec, cells)
    if spec.when:
        mask = holds(spec.when, cells.cell, cells.count)
        made.values = pc.if_else(pa.array(mask), made.values, None)
        made.notes = [(rule, noted & mask) for rule, noted in made.notes]
    if spec.sentinels:
        sentinels = pa.array(sorted(spec.sentinels), pa.string())
        stood = pc.is_in(made.values, value_set=sentinels)
        made.note(rule_ids.SENTINEL_DATE, stood)
        made.values = pc.if_else(stood, None, made.values)
    if spec.steps:
        made.values = stepped(made.values, spec.steps)
    if spec.date is not None:
        made.read(read_formatted_dates(made.values, spec.date))
    if spec.number is not None:
        made.read(read_formatted_numbers(made.values, spec.number))
    if spec.crosswalk is not None or spec.accept is not None:
        _translate(made, spec, cells)
    if spec.amount:
        made.values, rounded = to_cents(made.values)
        made.note(rule_ids.ROUNDED_AMOUNT, rounded)
    if spec.finding is not None:
        made.note(spec.finding, made.values.is_valid())
    return made


def _source(spec: ColumnSpec, cells: RowCells) -> MadeColumn:
    match spec.source:
        case FromColumn(header):
            return cells.agreed(header, spec)
        case ConstantText(text):
            return MadeColumn(pa.repeat(pa.scalar(text, pa.string()), cells.count), [])
        case FirstColumn(options):
            return _first_of(options, cells)
        case JoinedColumns(headers, between, complete):
            parts = [cells.agreed(header, spec) for header in headers]
            notes = [note for part in parts for note in part.notes]
            texts = [part.values for part in parts]
            return MadeColumn(_joined(texts, between, complete=complete), notes)
        case _:
            return cells.of_other_rows(spec)


def _first_of(options: tuple[ColumnSpec, ...], cells: RowCells) -> MadeColumn:
    made = MadeColumn(pa.nulls(cells.count, pa.string()), [])
    for option in options:
        wanted = made.values.is_null().to_numpy(zero_copy_only=False)
        if not wanted.any():
            break
        other = make(option, cells)
        for rule, mask in other.notes:
            made.note(rule, mask & wanted)
        made.values = pc.coalesce(made.values, other.values)
    return made


def _joined(texts: list[Any], between: str, *, complete: bool) -> Any:
    if complete:
        return pc.binary_join_element_wise(*texts, between)
    joined = texts[0]
    for text in texts[1:]:
        both = pc.binary_join_element_wise(joined, text, between)
        joined = pc.coalesce(both, joined, text)
    return joined


def _translate(made: MadeColumn, spec: ColumnSpec, cells: RowCells) -> None:
    accepted = _accepted(made.values, spec.accept, cells)
    encoded = made.values.dictionary_encode()
    words = encoded.dictionary.to_pylist()
    answers = [_answer(spec.crosswalk, word) for word in words]
    translated = pa.array([answer for answer, _ in answers], pa.string()).take(encoded.indices)
    known = pa.array([known for _, known in answers], pa.bool_()).take(encoded.indices)
    there = made.values.is_valid().to_numpy(zero_copy_only=False)
    known_there = true_where(known)
    empty = translated.is_null().to_numpy(zero_copy_only=False)
    made.note(spec.rule, there & ~accepted & ~known_there)
    made.note(rule_ids.WORD_WITHOUT_CODE, there & ~accepted & known_there & empty)
    made.values = pc.if_else(pa.array(accepted), made.values, translated)


def _accepted(values: Any, accept: Accept | None, cells: RowCells) -> Bools:
    if accept is None:
        return np.zeros(len(values), dtype=bool)
    mask = holds(accept.where, cells.cell, len(values))
    if accept.pattern is not None:
        fits = pc.match_substring_regex(values, f"^(?:{accept.pattern})$")
        mask &= true_where(fits)
    return mask


def _answer(crosswalk: Crosswalk | None, word: str) -> tuple[str | None, bool]:
    """Return a crosswalk's answer, and whether it has a line for the word."""
    if crosswalk is None:
        return None, False
    return crosswalk.answer(word), word.strip().lower() in crosswalk.rows
