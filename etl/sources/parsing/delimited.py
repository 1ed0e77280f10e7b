"""Read delimited files, and files of which each line is a record, into batches of text.

A batch has one `string` column per header, with unchanged text (`""` if empty), and `_row`, the row
number that a spreadsheet would show. Empty rows and blank lines are dropped, but count in row
numbers. Rows with too few or too many cells are returned separately, unchanged.

A record has a fixed width, or is of one of several types in one file. Lines are read as a delimited
file of one column, in spans like any other, and each is split into cells individually. So a line
break is never part of a cell, and a line means the same whichever process reads it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from etl.columns.arrays import Bools, trimmed
from etl.errors import ExtractError
from etl.model.canonical_tables import ROW_COLUMN
from etl.sources.files.listed_files import (
    COMPRESSION_ERRORS,
    ListedFile,
    QuoteChecker,
    RowForm,
    open_unpacked,
    read_traits,
    text_chunks,
)
from etl.sources.layout.model import LineForm, match_rows
from etl.sources.parsing.spans import (
    LONGEST_ROW,
    WHOLE_FILE,
    Batch,
    MalformedRow,
    Span,
    SpanMismatch,
    SpanStream,
    allow_long_cells,
    drop_empty_rows,
    long_row_error,
    refuse_long_rows,
)

BLOCK_BYTES: Final = LONGEST_ROW
"""Bytes parsed at a time: the longest row must fit, and larger blocks aren't faster."""
MOST_BLANK: Final = 10_000_000
"""Maximum number of consecutive blank rows; a spreadsheet has a million rows."""
_END: Final = "\0"
"""First cell of the sentinel row after the last row; files contain no NUL."""
_EXTRA: Final = "\0extra"
"""Prefix of the names of cells without a header."""
_HEAD: Final = 1 << 16


def read_batches(
    listed: ListedFile,
    headers: tuple[str, ...],
    form: RowForm,
    *,
    span: Span = WHOLE_FILE,
    sha256: str = "",
) -> Iterator[Batch]:
    """Yield the rows of a delimited file, or of a span of it, in order.

    Args:
        headers: distinct names for its columns.
        form: how its rows are written.
        span: what to read; all of a compressed file.
        sha256: hash of the file at the time its rows were counted; empty for any.

    Raises:
        ExtractError: the file isn't UTF-8, has NUL bytes, broken compression, or a row longer than
            `LONGEST_ROW`; or a quoted cell is never closed, continues after its closing quote, or
            contains other rows. For a span, the row may be named wrongly. For an entire file: two
            counts of its rows differ.
        SpanMismatch: the span doesn't end at the end of a row, has another number of rows, or has a
            quoted cell that text follows.
    """
    delimiter = form.delimiter
    names = _wide_headers(listed, headers, form, span) if form.extra_cells else headers
    sentinel = (_END + delimiter * (len(names) - 1) + "\n").encode()
    quotes = QuoteChecker(delimiter) if form.quoting else None
    stream = SpanStream(listed, span, sentinel, quotes)
    try:
        sentinel_row, merged_row = yield from _parse(stream, headers, names, form, quotes, span)
    except (pa.ArrowInvalid, OSError) as error:
        raise _read_error(error, stream, listed, delimiter) from None
    finally:
        stream.close()
    if span.end is None and sentinel_row is None:
        refuse_open_quote(listed, delimiter)
        raise _encoding_error(listed)
    if quotes is not None and quotes.has_stray_quote:
        refuse_text_after_quotes(listed, delimiter, span)
    if merged_row is not None:
        raise ExtractError(
            f"{listed.name}: row {merged_row} has a quoted cell with line breaks, and each of its "
            "lines has as many cells as the header: it probably contains other rows, because a "
            "quote in it is not doubled or does not close a cell; no text may contain lines that "
            "look like rows"
        )
    if sentinel_row is None or span.next_row not in (None, sentinel_row):
        if not span.is_whole:
            raise SpanMismatch
        check_row_count(listed, form, sha256, sentinel_row or 0)


def _parse(
    stream: SpanStream,
    headers: tuple[str, ...],
    names: tuple[str, ...],
    form: RowForm,
    quotes: QuoteChecker | None,
    span: Span,
) -> Generator[Batch, None, tuple[int | None, int | None]]:
    """Yield the rows; return the number of the sentinel row.

    Returns:
        The sentinel's row number, None if an unclosed quoted cell has swallowed it; and the number
        of the first row that seems to have swallowed others, or None.
    """
    malformed: list[MalformedRow] = []
    skipped: list[int] = []

    def skip_malformed(row: Any) -> str:
        next_row = row.number + span.first_row - 1
        skipped.append(next_row)
        # A line of blanks counts as empty.
        if row.text.strip():
            malformed.append(MalformedRow(next_row, row.text))
        return "skip"

    first = 1 if span.start == 0 and form.has_header else 0
    reader = arrow_csv.open_csv(
        pa.PythonFile(stream, mode="r"),
        read_options=arrow_csv.ReadOptions(
            use_threads=False, block_size=BLOCK_BYTES, column_names=list(names), skip_rows=first
        ),
        parse_options=arrow_csv.ParseOptions(
            delimiter=form.delimiter,
            quote_char=False if quotes is None else '"',
            newlines_in_values=quotes is not None,
            ignore_empty_lines=False,
            invalid_row_handler=skip_malformed,
        ),
        convert_options=arrow_csv.ConvertOptions(
            check_utf8=False, column_types=dict.fromkeys(names, pa.string())
        ),
    )
    next_row, blank, sentinel_row, swallowing_row = span.first_row + first, 0, None, None
    try:
        for batch in reader:
            # The next row numbers, without those of skipped rows.
            numbers = np.arange(next_row, next_row + batch.num_rows + len(skipped), dtype=np.int64)
            if skipped:
                numbers = numbers[~np.isin(numbers, skipped)]
            numbers = numbers[: batch.num_rows]
            if len(numbers):
                next_row = int(numbers[-1]) + 1
                skipped[:] = [row for row in skipped if row >= next_row]
            rows = batch.append_column(ROW_COLUMN, pa.array(numbers))
            if batch.num_rows and batch.column(0)[-1].as_py() == _END:
                sentinel_row, rows = next_row - 1, rows.slice(0, batch.num_rows - 1)
            # The parser may be a block ahead and add rows, so remove only those taken here.
            bad_rows = tuple(malformed)
            del malformed[: len(bad_rows)]
            refuse_long_rows(rows, stream.name)
            if long := [row.row for row in bad_rows if len(row.text.encode()) > LONGEST_ROW]:
                raise long_row_error(stream.name, long[0])
            if quotes is not None and quotes.has_quotes and swallowing_row is None:
                swallowing_row = find_swallowing_row(rows, bad_rows, form)
            filled_rows = drop_empty_rows(rows)
            blank = 0 if filled_rows.num_rows or bad_rows else blank + rows.num_rows
            if blank > MOST_BLANK:
                raise ExtractError(f"{stream.name}: {blank:,} rows up to row {next_row} are blank")
            parsed = Batch(filled_rows, bad_rows, stream.bytes_read)
            yield _drop_extra_cells(parsed, headers, form) if form.extra_cells else parsed
    finally:
        stream.close()
        del reader  # ends the thread in which it reads ahead
    return sentinel_row, swallowing_row


def _wide_headers(
    listed: ListedFile, headers: tuple[str, ...], form: RowForm, span: Span
) -> tuple[str, ...]:
    """Return names for all cells of the first row, which may have more than the headers.

    Rows with another number of cells are parsed one by one, which is slow.
    """
    rows = _parse_rows(_span_head(listed, span).decode("utf-8", "replace"), form)
    first = 1 if span.start == 0 and form.has_header else 0
    cell_count = len(next(filter(any, islice(rows, first, None)), ()))
    extra_count = min(max(cell_count - len(headers), 0), form.extra_cells)
    return (*headers, *(f"{_EXTRA}{number}" for number in range(extra_count)))


def _span_head(listed: ListedFile, span: Span) -> bytes:
    with listed.open() as raw, open_unpacked(raw, listed.compression, listed.name) as file:
        if span.start:
            file.seek(span.start)
        try:
            head: bytes = file.read(_HEAD)
        except COMPRESSION_ERRORS:
            return b""  # reported when the file is read
        return head


def _parse_rows(text: str, form: RowForm) -> Iterator[list[str]]:
    lines = io.StringIO(text, newline="")
    with allow_long_cells(), suppress(csv.Error):
        yield from csv.reader(lines, delimiter=form.delimiter, quoting=form.csv_quoting)


def _drop_extra_cells(batch: Batch, headers: tuple[str, ...], form: RowForm) -> Batch:
    """Drop extra cells; restore malformed rows that only have too many cells."""
    names = [*headers, ROW_COLUMN]
    cells_by_row: dict[int, list[str]] = {}
    malformed = []
    for row in batch.malformed:
        texts = next(_parse_rows(row.text, form), [])
        if len(headers) <= len(texts) <= len(headers) + form.extra_cells:
            cells_by_row[row.row] = texts[: len(headers)]
        else:
            malformed.append(row)
    rows = batch.rows.select(names)
    if cells_by_row:
        columns = zip(*cells_by_row.values(), strict=True)
        arrays = [pa.array(column, pa.string()) for column in columns]
        restored = pa.RecordBatch.from_arrays([*arrays, pa.array(list(cells_by_row))], names)
        merged = pa.Table.from_batches([rows, restored.cast(rows.schema)]).sort_by(ROW_COLUMN)
        rows = merged.combine_chunks().to_batches()[0]
    # A row with text only in extra cells is blank now.
    return Batch(drop_empty_rows(rows), tuple(malformed), batch.bytes_read)


def _read_error(error: Exception, text: SpanStream, file: ListedFile, delimiter: str) -> Exception:
    """Return the error to report for an unreadable file, with its cause and position."""
    if text.error is not None:
        return text.error
    message = str(error)
    if any(words in message for words in ("straddl", "out of sync", "too large")):
        try:
            refuse_open_quote(file, delimiter)
        except ExtractError as refused:
            return refused
        return ExtractError(f"{file.name}: a row is longer than {LONGEST_ROW >> 10} KB")
    if isinstance(error, OSError):
        return ExtractError(f"{file.name} cannot be read: {error.strerror or 'input error'}")
    # Arrow's own message may quote a cell, so it is not passed on.
    return _encoding_error(file)


def _encoding_error(listed: ListedFile) -> ExtractError:
    return ExtractError(f"{listed.name} cannot be parsed as a delimited file")


_LINE_BREAK: Final = re.compile(r"\r\n|\n|\r")


def find_swallowing_row(
    rows: pa.RecordBatch, malformed: Sequence[MalformedRow], form: RowForm
) -> int | None:
    """Find the first row with a quoted cell that has swallowed other rows.

    For example, `A,"x,1` and, some lines later, `B,2 in",1` are one cell with line breaks to a
    parser. But its lines are rows, because each has as many cells as the header.

    Args:
        rows: `string` columns, then `_row`.
        malformed: rows with too few or too many cells.
        form: how rows are written.

    Returns:
        Its number; None if there is none.
    """
    cells = rows.columns[:-1]
    breaks = np.zeros(len(rows), dtype=bool)
    for column in cells:
        data = column.buffers()[2]
        text = b"" if data is None else data.to_pybytes()  # most columns have no line break
        for line_end in (b"\n", b"\r"):
            if line_end in text:
                breaks |= pc.match_substring(column, line_end).to_numpy(zero_copy_only=False)
    if not breaks.any() and not malformed:
        return None
    candidates = [
        (row.pop(ROW_COLUMN), [*row.values()]) for row in rows.filter(pa.array(breaks)).to_pylist()
    ]
    texts = ((row.row, row.text.strip("\r\n")) for row in malformed)
    candidates += [(number, next(_parse_rows(text, form), [])) for number, text in texts]
    for number, cells_of_row in sorted(candidates):
        widths = _line_widths(cells_of_row, form.delimiter)
        if len(widths) > 1 and set(widths) == {len(cells)}:
            return int(number)
    return None


def _line_widths(cells: Sequence[str], delimiter: str) -> list[int]:
    """Count the cells of each line of a row, ignoring quotes before a line break."""
    widths = [0]
    for cell in cells:
        first, *following = _LINE_BREAK.split(cell)
        widths[-1] += 1 + (first.count(delimiter) if following else 0)
        widths += [1 + line.count(delimiter) for line in following]
    return widths


def check_row_count(listed: ListedFile, form: RowForm, sha256: str, sentinel_row: int) -> None:
    """Count the rows again, by another parser, after a count of line ends differed.

    The count of line ends is wrong if a quote is inside an unquoted cell or a row ends with a lone
    carriage return.

    Raises:
        ExtractError: the counts differ, or the file was changed.
    """
    if sha256 and read_traits(listed).sha256 != sha256:
        raise ExtractError(f"{listed.name} was changed after it was hashed; copy the extract again")
    try:
        with (
            allow_long_cells(),
            io.TextIOWrapper(listed.open(), "utf-8-sig", "replace", newline="") as text,
        ):
            reader = csv.reader(text, delimiter=form.delimiter, quoting=form.csv_quoting)
            rows = sum(1 for _ in reader)
    except csv.Error:
        rows = -1
    if rows != sentinel_row - 1:
        raise ExtractError(
            f"{listed.name}: {sentinel_row - 1} rows were read (with the header), but a second "
            "count found a "
            "different number; it was changed while it was read, or a quote in it is not doubled"
        )


def refuse_text_after_quotes(listed: ListedFile, delimiter: str, span: Span) -> None:
    """Refuse a file in which text follows a closing quote.

    Usually that quote was meant to open a cell of a later row, and the rows between them have
    become part of one cell. Quotes inside unquoted cells are ordinary text.

    Raises:
        ExtractError: there is such a cell; the error names the row.
        SpanMismatch: there is such a cell in a span that isn't the entire file.
    """
    row = 1
    try:
        unpacked: Any = SpanStream(listed, span, b"", None)
        with (
            allow_long_cells(),
            io.TextIOWrapper(unpacked, "utf-8-sig", "replace", newline="") as text,
        ):
            for _ in csv.reader(text, delimiter=delimiter, strict=True):
                row += 1
    except csv.Error:
        if not span.is_whole:
            raise SpanMismatch from None
        raise ExtractError(
            f"{listed.name}: a quoted cell of row {row} continues after its closing quote; "
            "a quote in it is not doubled, or its closing quote is missing and it contains "
            "other rows"
        ) from None


def _lines_with_end(listed: ListedFile) -> Iterator[str]:
    partial_line = b""
    for chunk in text_chunks(listed):
        *lines, partial_line = (partial_line + chunk).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace") + "\n"
        if len(partial_line) > LONGEST_ROW:
            raise csv.Error
    yield partial_line.decode("utf-8", "replace") + "\n"
    yield "end\n"


def refuse_open_quote(listed: ListedFile, delimiter: str) -> None:
    """Refuse a file whose last quoted cell is never closed.

    A parser reads everything after such a quote as one cell. To name the row, the file is read
    again with the module `csv` and an additional line: the row that swallows this line is open.

    Raises:
        ExtractError: there is such a cell; the error names the row.
    """
    row, is_open = 0, True
    try:
        with allow_long_cells():
            for cells in csv.reader(_lines_with_end(listed), delimiter=delimiter):
                row += 1
                is_open = cells != ["end"]
        if not is_open:
            return
    except csv.Error:
        row += 1  # raised for a cell longer than any row may be
    raise ExtractError(
        f"{listed.name}: row {row} opens a quoted cell that is never closed, or is longer than "
        f"{LONGEST_ROW >> 10} KB; the file is incomplete, or a quote is not doubled"
    )


_FEW: Final = 10
"""Fewer lines than this, all of the wrong length, are findings rather than an error."""
LINE_DELIMITER: Final = "\x1f"
"""Delimiter for reading lines as cells; lines that contain it are restored."""
_LINE: Final = "line"


@dataclass(frozen=True, slots=True)
class RecordType:
    """Columns and form of one type of record of a file.

    Attributes:
        table: its raw table.
        names: distinct names of its columns.
        form: how its lines are recognized and split.
    """

    table: str
    names: tuple[str, ...]
    form: LineForm


@dataclass(frozen=True, slots=True)
class RecordFile:
    """Record types of a file, and the one to read.

    Attributes:
        types: all types of record of the file.
        selected: index of the type to read.
        form: how records are written; its delimiter is unused if the width is fixed.
    """

    types: tuple[RecordType, ...]
    selected: int
    form: RowForm


def read_records(
    listed: ListedFile, file: RecordFile, *, span: Span = WHOLE_FILE, sha256: str = ""
) -> Iterator[Batch]:
    """Yield the records of one type of a file, or of a span of it, in order.

    A record is malformed if its line has the wrong length or number of cells.

    Args:
        file: its record types.
        span: what to read; all of a compressed file.
        sha256: hash of the file at the time its rows were counted; empty for any.

    Raises:
        ExtractError: as `read_batches`; or, if the first type is read, a line is of no type or of
            several.
        SpanMismatch: as `read_batches`.
    """
    form = RowForm(LINE_DELIMITER, quoting=False, has_header=file.form.has_header)
    for batch in read_batches(listed, (_LINE,), form, span=span, sha256=sha256):
        lines = _all_lines(batch)
        yield _select_type(listed.name, lines, file, batch.bytes_read)


def _all_lines(batch: Batch) -> pa.RecordBatch:
    """Return all lines but blank ones; restore those that contain the delimiter."""
    rows = batch.rows
    if batch.malformed:
        texts = pa.array([row.text.rstrip("\r\n") for row in batch.malformed], pa.string())
        numbers = pa.array([row.row for row in batch.malformed], rows.column(1).type)
        restored = pa.RecordBatch.from_arrays([texts, numbers], rows.schema.names)
        merged = pa.Table.from_batches([rows, restored.cast(rows.schema)]).sort_by(ROW_COLUMN)
        rows = merged.combine_chunks().to_batches()[0]
    is_filled = pc.is_valid(trimmed(rows.column(0)))
    return rows if pc.all(is_filled).as_py() else rows.filter(is_filled)


class _Cells:
    """Cells of lines, for records of any type; split lazily.

    Args:
        lines: their text, shape (n,).
        file: how cells are separated.
    """

    def __init__(self, lines: Any, file: RecordFile) -> None:
        self._lines, self._file = lines, file
        self._split: Any = None

    @property
    def split(self) -> Any:
        """Cells of every line as lists; empty for a line with an unclosed quote."""
        if self._split is None:
            cells = pc.split_pattern(self._lines, self._file.form.delimiter)
            if self._file.form.quoting:
                cells = _parse_quoted(self._lines, cells, self._file.form.delimiter)
            self._split = cells
        return self._split

    def column(self, kind: RecordType, name: str) -> Any:
        """Return the named cell of each line, trimmed, as if all were records of a type."""
        index = kind.names.index(name)
        if kind.form.widths:
            return trimmed(_fixed_cell(self._lines, kind.form.widths, index))
        has_cell = pc.greater(pc.list_value_length(self.split), index)
        return trimmed(_list_cell(self.split, index, has_cell))


def _fixed_cell(lines: Any, widths: Sequence[int], index: int) -> Any:
    start = sum(widths[:index])
    return pc.utf8_slice_codeunits(lines, start, start + widths[index])


def _list_cell(cells: Any, index: int, has_cell: Any) -> Any:
    """Return one cell of each list; null if a list is too short."""
    rows = pc.indices_nonzero(has_cell)
    element = pc.list_element(cells.take(rows), index)
    positions = np.zeros(len(cells), dtype=np.int64)
    mask = has_cell.to_numpy(zero_copy_only=False)
    positions[mask] = np.arange(len(rows))
    return element.take(pa.array(positions, mask=~mask))


def _parse_quoted(lines: Any, cells: Any, delimiter: str) -> Any:
    """Replace the cells of lines with quotes by those of a CSV parser."""
    quoted_lines = np.flatnonzero(pc.match_substring(lines, '"').to_numpy(zero_copy_only=False))
    if not len(quoted_lines):
        return cells
    parsed = pa.array(
        [_parse_line(line, delimiter) for line in lines.take(pa.array(quoted_lines)).to_pylist()],
        pa.list_(pa.string()),
    )
    positions = np.arange(len(lines))
    positions[quoted_lines] = len(lines) + np.arange(len(quoted_lines))
    return pa.concat_arrays([cells, parsed]).take(pa.array(positions))


def _parse_line(line: str, delimiter: str) -> list[str]:
    with allow_long_cells():
        try:
            return next(csv.reader([line], delimiter=delimiter, strict=True), [])
        except csv.Error:
            return []


def _select_type(name: str, rows: pa.RecordBatch, file: RecordFile, bytes_read: int) -> Batch:
    """Return the records of the selected type."""
    lines, numbers = rows.columns
    kind, cells = file.types[file.selected], _Cells(lines, file)
    is_of_type = _is_of_type(cells, kind, len(lines))
    if file.selected == 0:  # each type has its own pass; the first one checks all lines
        other_masks = (_is_of_type(cells, kind, len(lines)) for kind in file.types[1:])
        _refuse_ambiguous(name, numbers, [is_of_type, *other_masks], file)
    fits = is_of_type & _has_record_size(lines, cells, kind, file)
    if kind.form.widths and not fits.any() and is_of_type.sum() >= _FEW and numbers[0].as_py() == 1:
        length = pc.utf8_length(lines).filter(pa.array(is_of_type))[0].as_py()
        raise ExtractError(
            f"{name}: its lines have {length} characters, and those of {kind.table} in the layout "
            f"have {sum(kind.form.widths)}"
        )
    is_odd = pa.array(is_of_type & ~fits)
    pairs = zip(numbers.filter(is_odd).to_pylist(), lines.filter(is_odd).to_pylist(), strict=True)
    malformed = [MalformedRow(number, text) for number, text in pairs]
    mask = pa.array(fits)
    if kind.form.widths:
        texts = lines.filter(mask)
        columns = [_fixed_cell(texts, kind.form.widths, i) for i in range(len(kind.names))]
    else:
        lists = cells.split.filter(mask)
        columns = [pc.list_element(lists, i) for i in range(len(kind.names))]
    rows = pa.RecordBatch.from_arrays([*columns, numbers.filter(mask)], [*kind.names, ROW_COLUMN])
    return Batch(drop_empty_rows(rows), tuple(malformed), bytes_read)


def _refuse_ambiguous(name: str, numbers: Any, masks: Sequence[Bools], file: RecordFile) -> None:
    ambiguous = np.flatnonzero(np.sum(masks, axis=0) != 1)
    if not len(ambiguous):
        return
    index = int(ambiguous[0])
    tables = [kind.table for kind, holding in zip(file.types, masks, strict=True) if holding[index]]
    names = " and ".join(tables) if tables else f"none of {', '.join(k.table for k in file.types)}"
    raise ExtractError(
        f"{name}: row {numbers[index].as_py()} matches {names} by its record; "
        "each line must match exactly one record of the layout"
    )


def _is_of_type(cells: _Cells, kind: RecordType, count: int) -> Bools:
    return match_rows(kind.form.record, lambda name: cells.column(kind, name), count)


def _has_record_size(lines: Any, cells: _Cells, kind: RecordType, file: RecordFile) -> Bools:
    """Return which lines have the length, or the number of cells, of a record type."""
    has_size: Bools
    if not kind.form.widths:
        counts = pc.list_value_length(cells.split).to_numpy(zero_copy_only=False)
        maximum = len(kind.names) + file.form.extra_cells
        has_size = (counts >= len(kind.names)) & (counts <= maximum)
        return has_size
    record_length = sum(kind.form.widths)
    lengths = pc.utf8_length(lines).to_numpy(zero_copy_only=False)
    # A line with trailing blanks doesn't fit: cells may have moved within it.
    has_size = (lengths == record_length) | ((lengths < record_length) & kind.form.short_lines)
    return has_size
