"""Files of which each line is a record: of fixed width, or of several types in one file.

Lines are read as a delimited file of one column, in spans like any other (`delimited`), and each
is cut into cells by itself. So a line break never stands in a cell, and a line means the same
whichever process reads it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, trimmed
from etl.errors import ExtractError
from etl.model.canonical_tables import ROW_COLUMN
from etl.sources.files.listed_files import Listed, RowForm
from etl.sources.layout.column_specs import holds
from etl.sources.layout.model import LineForm
from etl.sources.parsing.delimited import read_batches
from etl.sources.parsing.spans import WHOLE, Batch, Ragged, Span, csv_of_rows, filled_rows

_FEW: Final = 10
"""Fewer lines of another length than the layout's are findings, even where there are no others."""
LINE_DELIMITER: Final = "\x1f"
"""Delimiter under which lines are read: one that stands in a line makes it no other line."""
_LINE: Final = "line"


@dataclass(frozen=True, slots=True)
class RecordType:
    """Columns and form of one type of record of a file.

    Attributes:
        table: its raw table.
        names: distinct names of its columns.
        form: how its lines are known, and cut.
    """

    table: str
    names: tuple[str, ...]
    form: LineForm


@dataclass(frozen=True, slots=True)
class RecordFile:
    """Record types of a file, and which of them is read.

    Attributes:
        types: all types of record of the file.
        own: which of them is read.
        form: how records are written; its delimiter is unused where the width is fixed.
    """

    types: tuple[RecordType, ...]
    own: int
    form: RowForm


def read_records(
    listed: Listed, file: RecordFile, *, span: Span = WHOLE, sha256: str = ""
) -> Iterator[Batch]:
    """Yield the records of one type of a file, or of a span of it, in order.

    A record is ragged where its line has not the length of its type, or not as many cells.

    Args:
        listed: the file.
        file: its record types.
        span: what to read; all of a compressed file.
        sha256: hash of the file at the time its rows were counted; empty for any.

    Raises:
        ExtractError: as `read_batches`; or, where the first type is read, a line is of no type or
            of several.
        SpanAstray: likewise.
    """
    form = RowForm(LINE_DELIMITER, quoting=False, has_header=file.form.has_header)
    for batch in read_batches(listed, (_LINE,), form, span=span, sha256=sha256):
        lines = _lines(batch)
        yield _records(listed.name, lines, file, batch.done)


def _lines(batch: Batch) -> pa.RecordBatch:
    """Return all lines, those in which the delimiter stands included; blank ones are no lines."""
    rows = batch.rows
    if batch.ragged:
        more = [
            pa.array([row.text.rstrip("\r\n") for row in batch.ragged], pa.string()),
            pa.array([row.row for row in batch.ragged], rows.column(1).type),
        ]
        both = pa.concat_tables(
            [
                pa.table([*rows.columns], names=rows.schema.names),
                pa.table(more, names=rows.schema.names),
            ]
        )
        rows = both.sort_by(ROW_COLUMN).combine_chunks().to_batches()[0]
    there = pc.is_valid(trimmed(rows.column(0)))
    return rows if pc.all(there).as_py() else rows.filter(there)


class _Cells:
    """Cells of lines, for records of any type.

    Args:
        lines: their text, shape (n,).
        file: how cells are parted.
    """

    def __init__(self, lines: Any, file: RecordFile) -> None:
        self._lines, self._file = lines, file
        self._split: Any = None

    @property
    def split(self) -> Any:
        """Cells of every line as lists; an empty list where a quote is left open."""
        if self._split is None:
            cells = pc.split_pattern(self._lines, self._file.form.delimiter)
            if self._file.form.quoting:
                cells = _with_quoted(self._lines, cells, self._file.form.delimiter)
            self._split = cells
        return self._split

    def column(self, kind: RecordType, name: str) -> Any:
        """Return the cell that each line would have as a record of a type, trimmed."""
        at = kind.names.index(name)
        if kind.form.widths:
            return trimmed(_slice(self._lines, kind.form.widths, at))
        there = pc.greater(pc.list_value_length(self.split), at)
        return trimmed(_element(self.split, at, there))


def _slice(lines: Any, widths: Sequence[int], at: int) -> Any:
    start = sum(widths[:at])
    return pc.utf8_slice_codeunits(lines, start, start + widths[at])


def _element(cells: Any, at: int, there: Any) -> Any:
    """Return one cell of each list; null where a list is too short."""
    where = pc.indices_nonzero(there)
    element = pc.list_element(cells.take(where), at)
    numbers = np.zeros(len(cells), dtype=np.int64)
    kept = there.to_numpy(zero_copy_only=False)
    numbers[kept] = np.arange(len(where))
    return element.take(pa.array(numbers, mask=~kept))


def _with_quoted(lines: Any, cells: Any, delimiter: str) -> Any:
    """Return lists of cells in which lines with quotes were parsed as such."""
    quoted = np.flatnonzero(pc.match_substring(lines, '"').to_numpy(zero_copy_only=False))
    if not len(quoted):
        return cells
    parsed = pa.array(
        [_parsed(line, delimiter) for line in lines.take(pa.array(quoted)).to_pylist()],
        pa.list_(pa.string()),
    )
    numbers = np.arange(len(lines))
    numbers[quoted] = len(lines) + np.arange(len(quoted))
    return pa.concat_arrays([cells, parsed]).take(pa.array(numbers))


def _parsed(line: str, delimiter: str) -> list[str]:
    with csv_of_rows():
        try:
            return next(csv.reader([line], delimiter=delimiter, strict=True), [])
        except csv.Error:
            return []


def _records(name: str, rows: pa.RecordBatch, file: RecordFile, done: int) -> Batch:
    """Return the records of the type that is read."""
    lines, numbers = rows.columns
    own, cells = file.types[file.own], _Cells(lines, file)
    of_type = _of_type(cells, own, len(lines))
    if file.own == 0:  # each type has a pass of its own, and one of them looks at every line
        others = (_of_type(cells, kind, len(lines)) for kind in file.types[1:])
        _refuse_strays(name, numbers, [of_type, *others], file)
    fits = of_type & _fits(lines, cells, own, file)
    if own.form.widths and not fits.any() and of_type.sum() >= _FEW and numbers[0].as_py() == 1:
        length = pc.utf8_length(lines).filter(pa.array(of_type))[0].as_py()
        raise ExtractError(
            f"{name}: its lines have {length} characters, and those of {own.table} in the layout "
            f"have {sum(own.form.widths)}"
        )
    odd = pa.array(of_type & ~fits)
    pairs = zip(numbers.filter(odd).to_pylist(), lines.filter(odd).to_pylist(), strict=True)
    ragged = [Ragged(number, text) for number, text in pairs]
    kept = pa.array(fits)
    if own.form.widths:
        rest = lines.filter(kept)
        columns = [_slice(rest, own.form.widths, at) for at in range(len(own.names))]
    else:
        lists = cells.split.filter(kept)
        columns = [pc.list_element(lists, at) for at in range(len(own.names))]
    rows = pa.RecordBatch.from_arrays([*columns, numbers.filter(kept)], [*own.names, ROW_COLUMN])
    return Batch(filled_rows(rows), tuple(ragged), done)


def _refuse_strays(name: str, numbers: Any, kinds: Sequence[Bools], file: RecordFile) -> None:
    astray = np.flatnonzero(np.sum(kinds, axis=0) != 1)
    if not len(astray):
        return
    at = int(astray[0])
    tables = [kind.table for kind, holding in zip(file.types, kinds, strict=True) if holding[at]]
    of = " and ".join(tables) if tables else f"none of {', '.join(k.table for k in file.types)}"
    raise ExtractError(
        f"{name}: row {numbers[at].as_py()} is by its record {of}; "
        "a layout must say of each line which one record it is"
    )


def _of_type(cells: _Cells, kind: RecordType, count: int) -> Bools:
    return holds(kind.form.record, lambda name: cells.column(kind, name), count)


def _fits(lines: Any, cells: _Cells, kind: RecordType, file: RecordFile) -> Bools:
    """Return which lines have the length of a type, or as many cells."""
    fits: Bools
    if not kind.form.widths:
        count = pc.list_value_length(cells.split).to_numpy(zero_copy_only=False)
        fits = (count >= len(kind.names)) & (count <= len(kind.names) + file.form.extra_cells)
        return fits
    whole = sum(kind.form.widths)
    length = pc.utf8_length(lines).to_numpy(zero_copy_only=False)
    # Longer by blanks alone does not count as fitting: cells may have moved within it.
    fits = (length == whole) | ((length < whole) & kind.form.short_lines)
    return fits
