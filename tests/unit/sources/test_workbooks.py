"""Excel workbooks as files of an extract: what a cell becomes, and what is refused."""

import datetime
import zipfile
from collections.abc import Sequence
from typing import Any

import openpyxl
import pytest

from etl.errors import ExtractError
from etl.sources.extract.opening import open_extract
from etl.sources.extract.staging import list_workbooks, stage_extract, stage_workbooks
from etl.sources.files.stored_files import FolderFiles
from tests.unit.sources.extracts import SMALL, headers_of, write_extract

AT = datetime.datetime(2024, 5, 1, 13, 4)  # noqa: DTZ001 # Excel knows no zones
Rows = Sequence[Sequence[Any]]


def workbook(path, sheets, hidden=""):
    made = openpyxl.Workbook()
    made.remove(made.worksheets[0])
    for title, rows in sheets.items():
        sheet = made.create_sheet(title)
        for row in rows:
            sheet.append(list(row))
        sheet.sheet_state = "hidden" if title == hidden else "visible"
    made.save(path)
    return path


def staged(path):
    """Return the files that a workbook is staged as."""
    folder = path.parent / "staged"
    folder.mkdir()
    files = stage_extract(FolderFiles(path.parent), path.name, path.name, folder)
    return {entry.name: (folder / entry.name).read_bytes().decode() for entry in files.entries()}


def test_values_become_the_text_that_excel_shows_with_all_its_digits(tmp_path):
    rows: Rows = [
        ["id", "paid", "day", "at", "yes", "note", "none"],
        ["007", 1234.5, datetime.date(2024, 5, 1), AT, True, "a", 1],
        [7, -0.01, datetime.date(1999, 12, 31), None, False, 'b,"c"\nd', None],
        [],
        [123456789012345, 0.1 + 0.2, None, datetime.time(9, 30), None, " e ", 1e-7],
        ["8", None, None, None, None, "a_x000D_b", None],
    ]  # fmt: skip
    assert staged(workbook(tmp_path / "claims.xlsx", {"Sheet1": rows})) == {
        "claims.csv": "id,paid,day,at,yes,note,none\n"
        "007,1234.5,2024-05-01,2024-05-01T13:04:00,Y,a,1\n"
        '7,-0.01,1999-12-31,,N,"b,""c""\nd",\n'
        ",,,,,,\n"
        "123456789012345,0.3,,09:30:00,, e ,0.0000001\n"
        '"8","","","","","a\rb",""\n'
    }


def test_each_of_several_sheets_is_a_file_of_its_name_and_empty_ones_are_none(tmp_path):
    sheets: dict[str, Rows] = {"claim": [["claim_id"]], "Sheet2": [], "claim line": [["x"]]}
    assert staged(workbook(tmp_path / "all.xlsx", sheets)) == {
        "claim.csv": "claim_id\n",
        "claim line.csv": "x\n",
    }


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            [["x"], [12345678901234567]],
            "sheet S, row 2, column 1: a number with more than 15 digits",
        ),
        ([["x"], [None, datetime.timedelta(hours=30)]], "row 2, column 2: a duration"),
        ([], "has no sheet with cells"),
    ],
)
def test_cells_that_are_no_exact_text_are_refused_by_their_place(rows, sentence, tmp_path):
    with pytest.raises(ExtractError, match=sentence):
        staged(workbook(tmp_path / "claims.xlsx", {"S": rows}))


def test_a_hidden_sheet_with_cells_is_refused(tmp_path):
    sheets: dict[str, Rows] = {"claim": [["claim_id"]], "old": [["claim_id"], ["C1"]]}
    with pytest.raises(ExtractError, match="has a hidden sheet with cells"):
        staged(workbook(tmp_path / "claims.xlsx", sheets, hidden="old"))


def test_a_workbook_that_is_cut_off_is_called_broken(tmp_path):
    path = workbook(tmp_path / "claims.xlsx", {"claim": [["claim_id"]] * 500})
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ExtractError, match="broken"):
        staged(path)


def test_a_workbook_that_would_fill_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("etl.sources.files.listed_files.FREE_BYTES", 1 << 10)
    path = workbook(tmp_path / "claims.xlsx", {"claim": [["claim_id"]]})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/media/x.bin", bytes(8 << 20))
    with pytest.raises(ExtractError, match="unpacks to more than 100 times its size"):
        staged(path)


def test_a_folder_of_workbooks_is_an_extract_of_their_sheets(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, rows in SMALL.items():
        headers = headers_of(rows, name)
        cells = [[row.get(header) or None for header in headers] for row in rows]
        workbook(folder / f"{name}.xlsx", {"Sheet1": [headers, *cells]})
    (folder / "~$claim.xlsx").write_bytes(b"lock file of Excel")
    place = FolderFiles(folder)
    sheets = tmp_path / "sheets"
    sheets.mkdir()
    opened = open_extract(stage_workbooks(place, list_workbooks(place), sheets), ())
    plain = open_extract(write_extract(tmp_path / "plain"), ())
    assert [file.name for file in opened.files if file.table] == [file.name for file in plain.files]
    assert {file.table: file.columns for file in opened.files if file.table} == {
        file.table: file.columns for file in plain.files
    }


def test_workbooks_beside_files_with_rows_are_left_as_they_are(tmp_path):
    workbook(tmp_path / "notes.xlsx", {"S": [["x"]]})
    (tmp_path / "member.csv").write_text("member_id\n")
    assert list_workbooks(FolderFiles(tmp_path)) == ()
