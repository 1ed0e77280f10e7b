"""Parse CSV into rows that keep their lines: crosswalks, and lists of codes.

Blank lines and lines that begin with `#` are comments. Blanks around a cell are ignored.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final, TypeAlias

from etl.documents.models import Mistake
from etl.documents.yaml_text import Map, Mark
from etl.errors import MappingError, Mistakes

Names: TypeAlias = tuple[str, ...]
_NOT_CSV: Final = (
    "not CSV: a quote that begins a cell is not closed, text follows the one that ends it, or a "
    "cell is longer than 128 KB"
)


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A CSV text with a parsed header.

    Attributes:
        columns: names of the columns.
        rows: rows as column -> cell, in the order of lines; can be iterated once. Invalid lines
            are reported as mistakes and skipped.
    """

    columns: Names
    rows: Iterator[Map]


def read_csv(
    text: str, file: str, row_id: str, mistakes: Mistakes, header: Callable[[Names], Names]
) -> CsvTable:
    """Parse a CSV text.

    Args:
        text: the CSV; a byte order mark is ignored.
        file: the file's name in messages.
        row_id: id of the error of an invalid line, or one whose number of cells isn't the header's.
        mistakes: collects the mistakes of lines while `rows` is iterated.
        header: takes the header's cells (none for an empty file), returns the names of the columns,
            raises `Mistake`.

    Raises:
        MappingError: the header is missing or invalid.
    """
    records = _parse(text.removeprefix("\ufeff"), file, row_id, mistakes)
    mark, cells = next(records, (Mark(file, 1), ()))
    mistakes.report()
    try:
        columns = header(cells)
    except Mistake as error:
        raise MappingError(str(mark), error.error_id, error.message, hint=error.hint) from None
    return CsvTable(columns, _read_rows(records, columns, row_id, mistakes))


def _read_rows(
    records: Iterator[tuple[Mark, Names]], columns: Names, row_id: str, mistakes: Mistakes
) -> Iterator[Map]:
    for mark, cells in records:
        if len(cells) != len(columns):
            message = f"{len(cells)} cells under a header of {len(columns)}"
            mistakes.add(MappingError(str(mark), row_id, message))
            continue
        row = Map(zip(columns, cells, strict=True))
        row.mark, row.marks = mark, dict.fromkeys(columns, mark)
        yield row


def _parse(text: str, file: str, row_id: str, mistakes: Mistakes) -> Iterator[tuple[Mark, Names]]:
    """Yield mark and cells of each record, which may span several lines."""
    lines, number = io.StringIO(text, newline=""), 1
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            number += 1
            continue
        reader, mark = csv.reader(chain([line], lines), strict=True), Mark(file, number)
        try:
            cells = next(reader)
        except csv.Error:
            mistakes.add(MappingError(str(mark), row_id, _NOT_CSV))
        else:
            yield mark, tuple(cell.strip() for cell in cells)
        number += reader.line_num
