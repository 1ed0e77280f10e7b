"""Control totals: what the trailer of a file states of its records, against what was read.

Rows are counted and cells added up over all partitions, as exact decimals, so that neither the
order of rows nor the number of processes matters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import as_array
from etl.errors import ExtractError
from etl.model.canonical_tables import FILE_COLUMN
from etl.sources.extract import SourceFile
from etl.sources.layout import ControlTotal, RawTable
from etl.sources.malformed_rows import readable
from etl.sources.raw_rows import RawRows
from etl.sources.text_conversions import added_up

ReadRows = Callable[[str], pa.Table]
"""Raw table -> its rows, with `_file`."""


def check_totals(
    files: Sequence[SourceFile],
    raw: Mapping[str, RawTable],
    rows_read: Mapping[str, int],
    read: ReadRows,
) -> None:
    """Compare what trailers state with the rows of their files.

    Args:
        files: those that were read.
        raw: raw files of the layout.
        rows_read: name of a file -> its rows, unreadable ones included.
        read: reads the rows of a raw table.

    Raises:
        ExtractError: a file has no trailer or several, a figure cannot be read, or one differs:
            both are named.
    """
    trailers = [file for file in files if raw[file.table].totals]
    cells: dict[str, RawRows] = {}

    def column(file: SourceFile, header: str) -> Any:
        """Return the cells of a file's records under a header; `?` where one cannot be read."""
        table = file.table
        if table not in cells:
            cells[table] = RawRows(readable(read(table)), cells=raw[table].cells)
        rows = cells[table]
        own = pc.equal(rows.table.column(FILE_COLUMN), file.index)
        made = rows.noted(header)
        values = made.values
        for _, mask in made.notes:
            values = pc.if_else(pa.array(mask), "?", values)
        return values.filter(as_array(own))

    for trailer in trailers:
        if rows_read[trailer.name] != 1:
            raise ExtractError(
                f"{trailer.stored} has {rows_read[trailer.name]} records of {trailer.table}, "
                "where one states its totals; it is cut off, or not one file"
            )
        beside = [file for file in files if file.stored == trailer.stored]
        for total in raw[trailer.table].totals:
            cell = column(trailer, total.column)
            stated, unread = added_up(cell)
            if cell.null_count != 0 or len(cell) != 1 or unread:
                raise ExtractError(
                    f"{trailer.stored}: {total.column!r} of {trailer.table} is no number, where "
                    "it states a total; copy the extract again, or correct the layout"
                )
            _compare(trailer, total, stated, beside, rows_read, column)


def _compare(
    trailer: SourceFile,
    total: ControlTotal,
    stated: Decimal,
    beside: Sequence[SourceFile],
    rows_read: Mapping[str, int],
    column: Callable[[SourceFile, str], Any],
) -> None:
    names = ", ".join(total.tables)
    says = f"{trailer.stored}: {total.column!r} of {trailer.table} says"
    if total.rows_of:
        counted = sum(rows_read[file.name] for file in beside if file.table in total.rows_of)
        if counted != stated:
            raise ExtractError(
                f"{says} {_plain(stated)} rows of {names}, and {counted:,} were read; "
                "copy the extract again"
            )
        return
    headers = dict(total.sum_of)
    summed = [file for file in beside if file.table in headers]
    cells = [as_array(column(file, headers[file.table])) for file in summed]
    added, unread = added_up(pa.concat_arrays([pa.nulls(0, pa.string()), *cells]))
    unread += sum(rows_read[file.name] for file in summed) - sum(map(len, cells))
    if added != stated:
        without = f" without {unread:,} that cannot be read" if unread else ""
        raise ExtractError(
            f"{says} {_plain(stated)} in all of {names}, and the sum is {_plain(added)}{without}; "
            "copy the extract again"
        )


def _plain(number: Decimal) -> str:
    text = f"{number:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
