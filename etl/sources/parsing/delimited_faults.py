"""Faults of delimited files, with their rows: quotes that swallow rows or do not end, lost rows.

Parsers read over most of them. What a batch shows is looked for in it; the place of any other is
found by reading the file again with the module `csv`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.errors import ExtractError
from etl.model.canonical_tables import ROW_COLUMN
from etl.sources.files.listed_files import Listed, text_chunks, traits
from etl.sources.parsing.spans import LONGEST_ROW, Ragged, Span, SpanAstray, SpanText, csv_of_rows

_LINE_BREAK: Final = re.compile(r"\r\n|\n|\r")


def swallowing_row(rows: pa.RecordBatch, ragged: Sequence[Ragged], delimiter: str) -> int | None:
    """Return the number of the first row in which a quote and one of a later row make one cell.

    Such as `A,"x,1` and, some lines later, `B,2 in",1`. To a parser that is one cell with line
    breaks in it. But its lines are rows: each has as many cells as the header.

    Args:
        rows: `string` columns, then `_row`.
        ragged: rows with too few or too many cells.
        delimiter: what stands between cells.

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
    with csv_of_rows():
        for each in ragged:
            text = io.StringIO(each.text.strip("\r\n"), newline="")
            found.append((each.row, next(csv.reader(text, delimiter=delimiter), [])))
    for number, texts in sorted(found):
        widths = _widths(texts, delimiter)
        if len(widths) > 1 and set(widths) == {len(cells)}:
            return int(number)
    return None


def _widths(cells: Sequence[str], delimiter: str) -> list[int]:
    """Return how many cells each line of a row has, if quotes before a line break mean nothing."""
    widths = [0]
    for cell in cells:
        first, *rest = _LINE_BREAK.split(cell)
        widths[-1] += 1 + (first.count(delimiter) if rest else 0)
        widths += [1 + line.count(delimiter) for line in rest]
    return widths


def recount(listed: Listed, delimiter: str, sha256: str, *, quoting: bool, last: int) -> None:
    """Check how many rows were read where a count of line ends came to another number.

    A quote inside an unquoted cell inverts that count, and a lone carriage return is missing from
    it. So the file is counted again by another parser than the one that read it.

    Raises:
        ExtractError: it has another number of rows, or is another file by now.
    """
    if sha256 and traits(listed, quoting=quoting).sha256 != sha256:
        raise ExtractError(f"{listed.name} was changed after it was hashed; copy the extract again")
    try:
        with (
            csv_of_rows(),
            io.TextIOWrapper(listed.open(), "utf-8-sig", "replace", newline="") as text,
        ):
            reader = (
                csv.reader(text, delimiter=delimiter)
                if quoting
                else csv.reader(text, delimiter=delimiter, quoting=csv.QUOTE_NONE)
            )
            rows = sum(1 for _ in reader)
    except csv.Error:
        rows = -1
    if rows != last - 1:
        raise ExtractError(
            f"{listed.name}: with its header {last - 1} rows were read, and a second count found "
            "another number; it was changed while it was read, or a quote in it is not doubled"
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
            f"{listed.name}: a quoted cell of row {row} goes on after the quote that closes it; "
            "a quote in it is not doubled, or it has swallowed rows because its own is missing"
        ) from None


class _EndMark:
    def __init__(self, listed: Listed) -> None:
        self._chunks = text_chunks(listed)
        self.ended = False

    def lines(self) -> Iterator[str]:
        rest = b""
        for chunk in self._chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line.decode("utf-8", "replace") + "\n"
            if len(rest) > LONGEST_ROW:
                raise csv.Error
        if rest:
            yield rest.decode("utf-8", "replace") + "\n"
        self.ended = True
        yield "end\n"


def refuse_open_quote(listed: Listed, delimiter: str) -> None:
    """Refuse a file in which the quote that opens the last cell is never closed.

    A parser reads everything after such a quote as one cell. To name the row, the file is read
    again with the module `csv` and an end line added: the row that swallows this line was open.

    Raises:
        ExtractError: naming the row that is never closed.
    """
    mark = _EndMark(listed)
    row = 0
    try:
        with csv_of_rows():
            for cells in csv.reader(mark.lines(), delimiter=delimiter):
                row += 1
                if mark.ended and cells != ["end"]:
                    break
            else:
                return
    except csv.Error:
        row += 1  # a cell longer than a row may be
    raise ExtractError(
        f"{listed.name}: row {row} opens a quoted cell that is never closed, or is longer than "
        f"{LONGEST_ROW >> 10} KB; the file is cut off or a quote is not doubled"
    )
