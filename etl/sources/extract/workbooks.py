"""Excel workbooks, read with calamine: each sheet becomes a delimited file.

Row numbers stay those of the sheet. Numbers are written with the digits that Excel has, 15 at
most; what it does not keep (leading zeros of a number) is not in the workbook.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Final

from etl.errors import ExtractError
from etl.sources.extract.archives import refuse_bomb
from etl.sources.files.stored_files import disk_error

_MOST_EXACT: Final = 1e15
"""From here on Excel has replaced digits by zeros."""


def stage_workbook(stream: BinaryIO, size: int, name: str, folder: Path) -> tuple[str, ...]:
    """Write the sheets of a workbook as files, and return their names.

    The only sheet has the workbook's name, each of several its own. Empty sheets are left out.

    Args:
        stream: the workbook, which can be sought in.
        size: its size in bytes.
        name: its name.
        folder: closed to others.

    Raises:
        ExtractError: it is broken, encrypted, too large unpacked, has a hidden sheet with cells, or
            a cell whose value Excel has rounded.
        StoreError: the disk is full.
    """
    from python_calamine import CalamineError, CalamineWorkbook, SheetVisibleEnum

    refuse_bomb(stream, size, name)
    stream.seek(0)
    try:
        with CalamineWorkbook.from_filelike(stream) as workbook:
            shown = []
            for sheet in workbook.sheets_metadata:
                cells = workbook.get_sheet_by_name(sheet.name)
                if cells.start is None:
                    continue
                if sheet.visible != SheetVisibleEnum.Visible:
                    raise ExtractError(
                        f"{name} has a hidden sheet with cells; show it or delete it, so that "
                        "what is delivered can be seen"
                    )
                shown.append((sheet.name, cells))
            written = []
            for title, cells in shown:
                file = f"{name.rpartition('.')[0] if len(shown) == 1 else title}.csv"
                if not file.isprintable() or "/" in file or file.startswith("."):
                    raise ExtractError(f"{name}: a sheet has a name that no file can have")
                _write(cells.iter_rows(), f"{name}, sheet {title}", folder / file)
                written.append(file)
    except CalamineError:
        raise ExtractError(
            f"{name}: the workbook is broken, cut off or encrypted; save it again without a "
            "password"
        ) from None
    if not written:
        raise ExtractError(f"{name} has no sheet with cells")
    return tuple(written)


def _write(rows: Iterable[list[Any]], where: str, path: Path) -> None:
    try:
        with path.open("x", encoding="utf-8", newline="") as target:
            path.chmod(0o600)
            writer = csv.writer(target, lineterminator="\n")
            for number, row in enumerate(rows, start=1):
                writer.writerow(
                    [_text(cell, where, number, at) for at, cell in enumerate(row, start=1)]
                )
    except FileExistsError:
        raise ExtractError(f"{path.name} is in the extract twice; take one of them away") from None
    except OSError as error:
        raise disk_error(error) from None


def _text(cell: Any, where: str, row: int, column: int) -> str:
    place = f"{where}, row {row}, column {column}"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "Y" if cell else "N"
    if isinstance(cell, int | float):
        if abs(cell) >= _MOST_EXACT:
            raise ExtractError(
                f"{place}: a number of more than 15 digits, of which Excel has kept 15; format "
                "the column as text and fill it again"
            )
        return f"{Decimal(f'{cell:.15g}') + 0:f}"
    if isinstance(cell, date | time):  # a datetime is a date
        return cell.isoformat()
    raise ExtractError(f"{place}: a length of time, which no column has; format it as text")
