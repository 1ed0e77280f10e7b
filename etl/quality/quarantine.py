"""The quarantine: rejected rows as they were, one CSV a source file, with the reasons in front.

    cpcds_row,cpcds_rules,CLAIM ID,AMT,…
    17,amount-unreadable,C1,"1,234.50",…

Rows are in the order of their file, so that the same extract gives the same bytes. The file holds
members' data: it is written beside the report, never into it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from etl.columns.arrays import as_array
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN

REASON_COLUMNS: Final = ("cpcds_row", "cpcds_rules")
"""In front of the source's own columns: row of the file (the header is row 1), rule ids by `;`."""


def reasons(rejected: Iterable[pa.Table]) -> dict[int, dict[int, str]]:
    """Return file -> row -> rule ids, in file order, from the rejected rows of all partitions.

    A row of a file can be several canonical rows (a dialect's claim and its line): it stands in
    the quarantine once, with the rules of all of them. A row that only depends on a rejected one
    names the rule where the chain began after it.

    Args:
        rejected: tables of `check.REJECTED_SCHEMA`.
    """
    reasons_by_file: dict[int, dict[int, list[str]]] = {}
    for table in rejected:
        for each in table.select(["file", "row", "rules", "cause"]).to_pylist():
            rules = reasons_by_file.setdefault(each["file"], {}).setdefault(each["row"], [])
            for rule in (*each["rules"].split(";"), each["cause"]):
                if rule and rule not in rules:
                    rules.append(rule)
    return {
        file: {row: ";".join(rows[row]) for row in sorted(rows)}
        for file, rows in sorted(reasons_by_file.items())
    }


def quarantine_csv(
    source: Iterable[pa.Table], header: Sequence[str], rows: Mapping[int, str], file: int
) -> Iterator[bytes]:
    """Yield the quarantine of one source file.

    Args:
        source: the file's rows as they were: the columns of `header` as text, and the two places.
            Rows of other files among them are left alone. Any number of tables, in any order.
        header: the columns as the file spells them.
        rows: row -> rule ids, as `reasons` gives them.
        file: number of the file.
    """
    yield _line([*REASON_COLUMNS, *header])
    if not rows:
        return
    wanted = np.fromiter(rows, dtype=np.int64, count=len(rows))
    kept: list[tuple[int, tuple[Any, ...]]] = []
    for table in source:
        numbers = as_array(table.column(ROW_COLUMN)).to_numpy(zero_copy_only=False)
        files = as_array(table.column(FILE_COLUMN)).to_numpy(zero_copy_only=False)
        here = np.flatnonzero((files == file) & np.isin(numbers, wanted))
        if len(here):
            cells = table.select(list(header)).take(pa.array(here))
            columns = [column.to_pylist() for column in cells.columns]
            kept.extend(zip(numbers[here].tolist(), zip(*columns, strict=True), strict=True))
    for number, row in sorted(dict(kept).items()):
        yield _line([str(number), rows[number], *("" if cell is None else cell for cell in row)])


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()
