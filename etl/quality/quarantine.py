"""Write the quarantine: one CSV file per source file, with the reasons in front of each row.

    cpcds_row,cpcds_rules,CLAIM ID,AMT,…
    17,amount-unreadable,C1,"1,234.50",…

Rows are in the order of their file, so that the same extract gives the same bytes. The file
contains members' data: it is written beside the report, never into it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa

from etl.columns.arrays import as_array
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN

REASON_COLUMNS: Final = ("cpcds_row", "cpcds_rules")
"""In front of the source's own columns: row of the file (the header is row 1), rule ids by `;`."""


def reasons(rejected: Iterable[pa.Table]) -> dict[int, dict[int, str]]:
    """Return file -> row -> rule ids, in file order, from the rejected rows of all partitions.

    A row of a file can be several canonical rows (a dialect's claim and its line): it appears in
    the quarantine once, with the rules of all of them. A row that only depends on a rejected one
    also names the rule where the chain began.

    Args:
        rejected: tables of `check.REJECTED_SCHEMA`.
    """
    reasons_by_file: dict[int, dict[int, list[str]]] = {}
    for table in rejected:
        for entry in table.select(["file", "row", "rules", "cause"]).to_pylist():
            rules = reasons_by_file.setdefault(entry["file"], {}).setdefault(entry["row"], [])
            for rule in (*entry["rules"].split(";"), entry["cause"]):
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
        source: the file's rows: the columns of `header` as text, and the two place columns. Rows
            of other files are ignored. Any number of tables, in any order.
        header: the columns as the file spells them.
        rows: row -> rule ids, as `reasons` gives them.
        file: number of the file.
    """
    yield _format([*REASON_COLUMNS, *header])
    if not rows:
        return
    rejected = np.fromiter(rows, dtype=np.int64, count=len(rows))
    rejected_rows: list[tuple[int, tuple[Any, ...]]] = []
    for table in source:
        numbers = as_array(table.column(ROW_COLUMN)).to_numpy(zero_copy_only=False)
        files = as_array(table.column(FILE_COLUMN)).to_numpy(zero_copy_only=False)
        at = np.flatnonzero((files == file) & np.isin(numbers, rejected))
        if len(at):
            cells = table.select(list(header)).take(pa.array(at))
            columns = [column.to_pylist() for column in cells.columns]
            rejected_rows.extend(zip(numbers[at].tolist(), zip(*columns, strict=True), strict=True))
    for number, row in sorted(dict(rejected_rows).items()):
        yield _format([str(number), rows[number], *("" if cell is None else cell for cell in row)])


def _format(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    # Python 3.12 and older do not quote a lone CR, which other readers take for the end of a row.
    has_cr = any("\r" in cell for cell in cells)
    quoting: Literal[0, 1] = csv.QUOTE_ALL if has_cr else csv.QUOTE_MINIMAL
    csv.writer(text, lineterminator="\n", quoting=quoting).writerow(cells)
    return text.getvalue().encode()
