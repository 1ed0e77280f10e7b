"""Delimited files, and files of which each line is a record, into batches of text.

A batch has one `string` column a header, as the file has them: not trimmed, `""` where empty, and
`_row`, the row number that a spreadsheet would show. Rows in which every cell is empty, blank lines
included, are dropped, but keep their row numbers. Rows with too few or too many cells are returned
separately, unchanged.

A record has a fixed width, or is of one of several types in one file. Its lines are read as a
delimited file of one column, in spans like any other, and each is cut into cells by itself. So a
line break never stands in a cell, and a line means the same whichever process reads it.
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
    PACKING_ERRORS,
    Listed,
    QuoteWatch,
    RowForm,
    text_chunks,
    traits,
    unpacked,
)
from etl.sources.layout.model import LineForm, holds
from etl.sources.parsing.spans import (
    LONGEST_ROW,
    WHOLE,
    Batch,
    Ragged,
    Span,
    SpanAstray,
    SpanText,
    csv_of_rows,
    drop_empty_rows,
    refuse_long_rows,
    row_too_long,
)

BLOCK_BYTES: Final = LONGEST_ROW
"""Bytes parsed at a time: the longest row must fit in; and no size is quicker."""
MOST_BLANK: Final = 10_000_000
"""Most blank rows, one after the other; a spreadsheet has a million."""
_END: Final = "\0"
"""First cell of the sentinel row that follows the last row: no file has a NUL in it."""
_EXTRA: Final = "\0extra"
"""Beginning of the name of a cell that has no header."""
_HEAD: Final = 1 << 16


def read_batches(
    listed: Listed,
    headers: tuple[str, ...],
    form: RowForm,
    *,
    span: Span = WHOLE,
    sha256: str = "",
) -> Iterator[Batch]:
    """Yield the rows of a delimited file, or of a span of it, in order.

    Args:
        listed: the file.
        headers: distinct names for its columns.
        form: how its rows are written.
        span: what to read; all of a compressed file.
        sha256: hash of the file at the time its rows were counted; empty for any.

    Raises:
        ExtractError: the file is not UTF-8, has NUL bytes, broken compression, a quoted cell that
            is never closed, goes on after its end or has swallowed rows, or a row longer than
            `LONGEST_ROW`. Of a span it may be named wrongly.
            Of a whole file: it has another number of rows, however they are counted.
        SpanAstray: the span does not end where a row does, has another number of rows, or a quoted
            cell in it is followed by text.
    """
    delimiter = form.delimiter
    wide = _wide_headers(listed, headers, form, span) if form.extra_cells else headers
    end = (_END + delimiter * (len(wide) - 1) + "\n").encode()
    quotes = QuoteWatch(delimiter) if form.quoting else None
    stream = SpanText(listed, span, end, quotes)
    try:
        last, swallowing = yield from _batches(stream, headers, wide, form, quotes, span)
    except (pa.ArrowInvalid, OSError) as error:
        raise _read_error(error, stream, listed, delimiter) from None
    finally:
        stream.close()
    if span.end is None and last is None:
        refuse_open_quote(listed, delimiter)
        raise _encoding_error(listed)
    if quotes is not None and quotes.is_astray:
        refuse_text_after_quotes(listed, delimiter, span)
    if swallowing is not None:
        raise ExtractError(
            f"{listed.name}: row {swallowing} has a quoted cell with line breaks, and each of its "
            "lines has as many cells as the header: it probably contains other rows, because a "
            "quote in it is not doubled or does not close a cell; no text may contain lines that "
            "look like rows"
        )
    if last is None or span.next_row not in (None, last):
        if not span.is_whole:
            raise SpanAstray
        recount(listed, form, sha256, last or 0)


def _batches(
    stream: SpanText,
    headers: tuple[str, ...],
    wide: tuple[str, ...],
    form: RowForm,
    quotes: QuoteWatch | None,
    span: Span,
) -> Generator[Batch, None, tuple[int | None, int | None]]:
    """Yield the rows; return the number of the sentinel row.

    Returns:
        That number, None where it is no row: a quoted cell that is open at the end has swallowed
        it. And the number of the first row that seems to have swallowed others; None for none.
    """
    ragged: list[Ragged] = []
    skipped: list[int] = []

    def keep(row: Any) -> str:
        number = row.number + span.row - 1
        skipped.append(number)
        # A line of blanks alone holds no more than an empty one.
        if row.text.strip():
            ragged.append(Ragged(number, row.text))
        return "skip"

    first = 1 if span.start == 0 and form.has_header else 0
    reader = arrow_csv.open_csv(
        pa.PythonFile(stream, mode="r"),
        read_options=arrow_csv.ReadOptions(
            use_threads=False, block_size=BLOCK_BYTES, column_names=list(wide), skip_rows=first
        ),
        parse_options=arrow_csv.ParseOptions(
            delimiter=form.delimiter,
            quote_char=False if quotes is None else '"',
            newlines_in_values=quotes is not None,
            ignore_empty_lines=False,
            invalid_row_handler=keep,
        ),
        convert_options=arrow_csv.ConvertOptions(
            check_utf8=False, column_types=dict.fromkeys(wide, pa.string())
        ),
    )
    number, blank, last, swallowing = span.row + first, 0, None, None
    try:
        for batch in reader:
            # Row numbers of this batch: from here on, without the skipped ones.
            numbers = np.arange(number, number + batch.num_rows + len(skipped), dtype=np.int64)
            if skipped:
                numbers = numbers[~np.isin(numbers, skipped)]
            numbers = numbers[: batch.num_rows]
            if len(numbers):
                number = int(numbers[-1]) + 1
                skipped[:] = [row for row in skipped if row >= number]
            rows = batch.append_column(ROW_COLUMN, pa.array(numbers))
            if batch.num_rows and batch.column(0)[-1].as_py() == _END:
                last, rows = number - 1, rows.slice(0, batch.num_rows - 1)
            # The parser may be a block ahead, so only the rows taken here are removed.
            taken = tuple(ragged)
            del ragged[: len(taken)]
            refuse_long_rows(rows, stream.name)
            if long := [row.row for row in taken if len(row.text.encode()) > LONGEST_ROW]:
                raise row_too_long(stream.name, long[0])
            if quotes is not None and quotes.has_seen_any and swallowing is None:
                swallowing = swallowing_row(rows, taken, form)
            full = drop_empty_rows(rows)
            blank = 0 if full.num_rows or taken else blank + rows.num_rows
            if blank > MOST_BLANK:
                raise ExtractError(f"{stream.name}: {blank:,} rows up to row {number} are blank")
            parsed = Batch(full, taken, stream.done)
            yield _without_extra(parsed, headers, form) if form.extra_cells else parsed
    finally:
        stream.close()
        del reader  # ends the thread in which it reads ahead
    return last, swallowing


def _wide_headers(
    listed: Listed, headers: tuple[str, ...], form: RowForm, span: Span
) -> tuple[str, ...]:
    """Return names for as many cells as the first row has, if rows may have more than headers.

    Rows that have another number of cells are read one by one, so most should have that one.
    """
    rows = _parse_rows(_span_head(listed, span).decode("utf-8", "replace"), form)
    first = 1 if span.start == 0 and form.has_header else 0
    cells = len(next(filter(any, islice(rows, first, None)), ()))
    extra = min(max(cells - len(headers), 0), form.extra_cells)
    return (*headers, *(f"{_EXTRA}{number}" for number in range(extra)))


def _span_head(listed: Listed, span: Span) -> bytes:
    with listed.open() as raw, unpacked(raw, listed.compression, listed.name) as file:
        if span.start:
            file.seek(span.start)
        try:
            head: bytes = file.read(_HEAD)
        except PACKING_ERRORS:
            return b""  # reported when the file is read
        return head


def _parse_rows(text: str, form: RowForm) -> Iterator[list[str]]:
    lines = io.StringIO(text, newline="")
    with csv_of_rows(), suppress(csv.Error):
        yield from csv.reader(lines, delimiter=form.delimiter, quoting=form.csv_quoting)


def _without_extra(batch: Batch, headers: tuple[str, ...], form: RowForm) -> Batch:
    """Return a batch without extra cells; rows that have more cells than the first included."""
    names = [*headers, ROW_COLUMN]
    cells: dict[int, list[str]] = {}
    ragged = []
    for row in batch.ragged:
        found = next(_parse_rows(row.text, form), [])
        if len(headers) <= len(found) <= len(headers) + form.extra_cells:
            cells[row.row] = found[: len(headers)]
        else:
            ragged.append(row)
    rows = batch.rows.select(names)
    if cells:
        columns = zip(*cells.values(), strict=True)
        arrays = [pa.array(column, pa.string()) for column in columns]
        more = pa.RecordBatch.from_arrays([*arrays, pa.array(list(cells))], names)
        both = pa.Table.from_batches([rows, more.cast(rows.schema)]).sort_by(ROW_COLUMN)
        rows = both.combine_chunks().to_batches()[0]
    # A row that had something in its extra cells alone is blank without them.
    return Batch(drop_empty_rows(rows), tuple(ragged), batch.done)


def _read_error(error: Exception, stream: SpanText, listed: Listed, delimiter: str) -> Exception:
    """Return the error to report for an unreadable file, with its cause and position."""
    if stream.error is not None:
        return stream.error
    text = str(error)
    if "straddl" in text or "out of sync" in text or "too large" in text:
        try:
            refuse_open_quote(listed, delimiter)
        except ExtractError as refused:
            return refused
        return ExtractError(f"{listed.name}: a row is longer than {LONGEST_ROW >> 10} KB")
    if isinstance(error, OSError):
        return ExtractError(f"{listed.name} cannot be read: {error.strerror or 'input error'}")
    # Arrow's own message may quote a cell, so it is not passed on.
    return _encoding_error(listed)


def _encoding_error(listed: Listed) -> ExtractError:
    return ExtractError(f"{listed.name} cannot be parsed as a delimited file")


_LINE_BREAK: Final = re.compile(r"\r\n|\n|\r")


def swallowing_row(rows: pa.RecordBatch, ragged: Sequence[Ragged], form: RowForm) -> int | None:
    """Return the number of the first row in which a quote and one of a later row make one cell.

    Such as `A,"x,1` and, some lines later, `B,2 in",1`. To a parser that is one cell with line
    breaks in it. But its lines are rows: each has as many cells as the header.

    Args:
        rows: `string` columns, then `_row`.
        ragged: rows with too few or too many cells.
        form: how rows are written.

    Returns:
        None where there is none.
    """
    cells = rows.columns[:-1]
    broken = np.zeros(len(rows), dtype=bool)
    for column in cells:
        data = column.buffers()[2]
        text = b"" if data is None else data.to_pybytes()  # of the whole column: most have no break
        for end in (b"\n", b"\r"):
            if end in text:
                broken |= pc.match_substring(column, end).to_numpy(zero_copy_only=False)
    if not broken.any() and not ragged:
        return None
    found = [
        (row.pop(ROW_COLUMN), [*row.values()]) for row in rows.filter(pa.array(broken)).to_pylist()
    ]
    found += [(row.row, next(_parse_rows(row.text.strip("\r\n"), form), [])) for row in ragged]
    for number, texts in sorted(found):
        widths = _line_widths(texts, form.delimiter)
        if len(widths) > 1 and set(widths) == {len(cells)}:
            return int(number)
    return None


def _line_widths(cells: Sequence[str], delimiter: str) -> list[int]:
    """Return how many cells each line of a row has, if quotes before a line break are ignored."""
    widths = [0]
    for cell in cells:
        first, *rest = _LINE_BREAK.split(cell)
        widths[-1] += 1 + (first.count(delimiter) if rest else 0)
        widths += [1 + line.count(delimiter) for line in rest]
    return widths


def recount(listed: Listed, form: RowForm, sha256: str, last: int) -> None:
    """Check how many rows were read where a count of line ends came to another number.

    A quote inside an unquoted cell inverts that count, and a lone carriage return is missing from
    it. So the file is counted again by another parser than the one that read it.

    Raises:
        ExtractError: it has another number of rows, or is another file by now.
    """
    if sha256 and traits(listed).sha256 != sha256:
        raise ExtractError(f"{listed.name} was changed after it was hashed; copy the extract again")
    try:
        with (
            csv_of_rows(),
            io.TextIOWrapper(listed.open(), "utf-8-sig", "replace", newline="") as text,
        ):
            reader = csv.reader(text, delimiter=form.delimiter, quoting=form.csv_quoting)
            rows = sum(1 for _ in reader)
    except csv.Error:
        rows = -1
    if rows != last - 1:
        raise ExtractError(
            f"{listed.name}: {last - 1} rows were read (with the header), but a second "
            "count found a "
            "different number; it was changed while it was read, or a quote in it is not doubled"
        )


def refuse_text_after_quotes(listed: Listed, delimiter: str, span: Span) -> None:
    """Refuse a file in which text follows the quote that closes a cell.

    Usually that quote was meant to open a cell of a later row, and the rows between them have
    become part of one cell. Quotes inside unquoted cells are ordinary text.

    Raises:
        ExtractError: naming the row.
        SpanAstray: there is such a cell in a span that is not the whole file.
    """
    row = 1
    try:
        unpacked: Any = SpanText(listed, span, b"", None)
        with (
            csv_of_rows(),
            io.TextIOWrapper(unpacked, "utf-8-sig", "replace", newline="") as text,
        ):
            for _ in csv.reader(text, delimiter=delimiter, strict=True):
                row += 1
    except csv.Error:
        if not span.is_whole:
            raise SpanAstray from None
        raise ExtractError(
            f"{listed.name}: a quoted cell of row {row} continues after its closing quote; "
            "a quote in it is not doubled, or its closing quote is missing and it contains "
            "other rows"
        ) from None


def _lines_and_end(listed: Listed) -> Iterator[str]:
    rest = b""
    for chunk in text_chunks(listed):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace") + "\n"
        if len(rest) > LONGEST_ROW:
            raise csv.Error
    yield rest.decode("utf-8", "replace") + "\n"
    yield "end\n"


def refuse_open_quote(listed: Listed, delimiter: str) -> None:
    """Refuse a file in which the quote that opens the last cell is never closed.

    A parser reads everything after such a quote as one cell. To name the row, the file is read
    again with the module `csv` and an end line added: the row that swallows this line was open.

    Raises:
        ExtractError: naming the row that is never closed.
    """
    row, is_open = 0, True
    try:
        with csv_of_rows():
            for cells in csv.reader(_lines_and_end(listed), delimiter=delimiter):
                row += 1
                is_open = cells != ["end"]
        if not is_open:
            return
    except csv.Error:
        row += 1  # a cell longer than a row may be
    raise ExtractError(
        f"{listed.name}: row {row} opens a quoted cell that is never closed, or is longer than "
        f"{LONGEST_ROW >> 10} KB; the file is incomplete, or a quote is not doubled"
    )


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
        lines = _joined_lines(batch)
        yield _records_of_type(listed.name, lines, file, batch.done)


def _joined_lines(batch: Batch) -> pa.RecordBatch:
    """Return all lines, including those that contain the delimiter; blank lines are skipped."""
    rows = batch.rows
    if batch.ragged:
        texts = pa.array([row.text.rstrip("\r\n") for row in batch.ragged], pa.string())
        numbers = pa.array([row.row for row in batch.ragged], rows.column(1).type)
        more = pa.RecordBatch.from_arrays([texts, numbers], rows.schema.names)
        both = pa.Table.from_batches([rows, more.cast(rows.schema)]).sort_by(ROW_COLUMN)
        rows = both.combine_chunks().to_batches()[0]
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
            return trimmed(_fixed_cell(self._lines, kind.form.widths, at))
        there = pc.greater(pc.list_value_length(self.split), at)
        return trimmed(_list_cell(self.split, at, there))


def _fixed_cell(lines: Any, widths: Sequence[int], at: int) -> Any:
    start = sum(widths[:at])
    return pc.utf8_slice_codeunits(lines, start, start + widths[at])


def _list_cell(cells: Any, at: int, there: Any) -> Any:
    """Return one cell of each list; null if a list is too short."""
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
        [_record_cells(line, delimiter) for line in lines.take(pa.array(quoted)).to_pylist()],
        pa.list_(pa.string()),
    )
    numbers = np.arange(len(lines))
    numbers[quoted] = len(lines) + np.arange(len(quoted))
    return pa.concat_arrays([cells, parsed]).take(pa.array(numbers))


def _record_cells(line: str, delimiter: str) -> list[str]:
    with csv_of_rows():
        try:
            return next(csv.reader([line], delimiter=delimiter, strict=True), [])
        except csv.Error:
            return []


def _records_of_type(name: str, rows: pa.RecordBatch, file: RecordFile, done: int) -> Batch:
    """Return the records of the type that is read."""
    lines, numbers = rows.columns
    own, cells = file.types[file.own], _Cells(lines, file)
    of_type = _of_type(cells, own, len(lines))
    if file.own == 0:  # each type has a pass of its own, and one of them looks at every line
        others = (_of_type(cells, kind, len(lines)) for kind in file.types[1:])
        _refuse_strays(name, numbers, [of_type, *others], file)
    fits = of_type & _has_record_size(lines, cells, own, file)
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
        columns = [_fixed_cell(rest, own.form.widths, at) for at in range(len(own.names))]
    else:
        lists = cells.split.filter(kept)
        columns = [pc.list_element(lists, at) for at in range(len(own.names))]
    rows = pa.RecordBatch.from_arrays([*columns, numbers.filter(kept)], [*own.names, ROW_COLUMN])
    return Batch(drop_empty_rows(rows), tuple(ragged), done)


def _refuse_strays(name: str, numbers: Any, kinds: Sequence[Bools], file: RecordFile) -> None:
    astray = np.flatnonzero(np.sum(kinds, axis=0) != 1)
    if not len(astray):
        return
    at = int(astray[0])
    tables = [kind.table for kind, holding in zip(file.types, kinds, strict=True) if holding[at]]
    of = " and ".join(tables) if tables else f"none of {', '.join(k.table for k in file.types)}"
    raise ExtractError(
        f"{name}: row {numbers[at].as_py()} matches {of} by its record; "
        "each line must match exactly one record of the layout"
    )


def _of_type(cells: _Cells, kind: RecordType, count: int) -> Bools:
    return holds(kind.form.record, lambda name: cells.column(kind, name), count)


def _has_record_size(lines: Any, cells: _Cells, kind: RecordType, file: RecordFile) -> Bools:
    """Return which lines have the length, or the number of cells, of a record type."""
    has_size: Bools
    if not kind.form.widths:
        counts = pc.list_value_length(cells.split).to_numpy(zero_copy_only=False)
        most = len(kind.names) + file.form.extra_cells
        has_size = (counts >= len(kind.names)) & (counts <= most)
        return has_size
    record_length = sum(kind.form.widths)
    lengths = pc.utf8_length(lines).to_numpy(zero_copy_only=False)
    # A line with trailing blanks doesn't fit: cells may have moved within it.
    has_size = (lengths == record_length) | ((lengths < record_length) & kind.form.short_lines)
    return has_size
