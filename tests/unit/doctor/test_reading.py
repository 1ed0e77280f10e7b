"""The first rows of a file, however it is written."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from etl.doctor.reading import SAMPLE_ROWS, FileSample, read_samples
from etl.doctor.record_types import RecordCode
from etl.errors import ExtractError
from etl.sources.extract_folder import list_files
from tests.unit.doctor.world import elements

TEXT = "Member ID,Last Name,Date of Birth\nM1,Ng,1970-01-31\nM2,Ek,1971-02-28\nM3,Ã,1972-03-01\n"


def samples(folder: Path, name: str, content: bytes) -> tuple[FileSample, ...]:
    (folder / name).write_bytes(content)
    (listed,) = list_files(folder)
    return read_samples(listed, elements().words, elements().written)


def sample(folder: Path, name: str, content: bytes) -> FileSample:
    (only,) = samples(folder, name, content)
    return only


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t", "~"])
def test_what_stands_between_cells_is_found_whatever_the_ending_says(
    tmp_path: Path, delimiter: str
) -> None:
    found = sample(tmp_path, "m.csv", TEXT.replace(",", delimiter).encode())
    assert found.form.physical.delimiter == delimiter
    assert found.headers == ("Member ID", "Last Name", "Date of Birth")
    assert found.columns[0] == ("M1", "M2", "M3")
    assert found.whole


@pytest.mark.parametrize(
    ("encoding", "called"),
    [
        ("utf-8", "UTF-8"),
        ("utf-8-sig", "UTF-8 with byte order mark"),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("cp1252", "cp1252"),
    ],
)
def test_text_is_read_in_its_own_encoding(tmp_path: Path, encoding: str, called: str) -> None:
    text = TEXT.replace("Ã", "Núñez").replace("Ek", "Müller")
    found = sample(tmp_path, "m.csv", text.encode(encoding))
    assert found.form.encoding == called
    assert found.columns[1] == ("Ng", "Müller", "Núñez")


def test_delimiters_inside_quoted_cells_part_no_cells(tmp_path: Path) -> None:
    text = 'Member ID;Name;City\nM1;"Ng; Bo";"A, B"\nM2;"Ek; Al";"C, D"\n'
    found = sample(tmp_path, "m.csv", text.encode())
    assert found.form.physical.delimiter == ";"
    assert found.form.quoted
    assert found.columns[1] == ("Ng; Bo", "Ek; Al")


def test_columns_of_fixed_width_are_parted_where_every_line_is_blank(tmp_path: Path) -> None:
    lines = "".join(f"C{at:05d}  M{at % 3}  2023-01-0{at + 1}  {at:3d}.50\n" for at in range(6))
    found = sample(tmp_path, "claims.txt", lines.encode())
    assert found.form.physical.kind == "fixed width"
    assert found.form.widths == (8, 4, 10, 8)
    assert found.columns[1] == ("M0", "M1", "M2", "M0", "M1", "M2")


@pytest.mark.parametrize(
    ("first", "is_header"),
    [
        ("Member ID,Last Name,Date of Birth", True),
        ("XQ1A,ZZB,FLDQ", True),  # strange words, but dates stand below
        ("M0,Smith,1969-01-01", False),
        ("M0000,Smith,NULL", False),
        ("Smith,Ann,Mary", True),  # text above dates
        ("Smith,Ann,", False),
    ],
)
def test_the_first_row_is_a_header_where_it_names_what_stands_below(
    tmp_path: Path, first: str, is_header: bool
) -> None:
    found = sample(tmp_path, "m.csv", f"{first}\n{TEXT.partition(chr(10))[2]}".encode())
    assert found.form.has_header is is_header


def test_a_first_row_of_names_above_names_is_taken_for_a_member(tmp_path: Path) -> None:
    found = sample(tmp_path, "m.csv", b"Smith,Ann\nNg,Bo\nEk,Cy\n")
    assert not found.form.has_header
    assert found.headers == ("column 1", "column 2")


def test_rows_of_several_types_are_told_by_their_first_cell(tmp_path: Path) -> None:
    text = "HDR,20240101\nDTL,C1,99213,10.00\nDTL,C2,99214,20.00\nDTL,C3,99215,30.00\nTRL,3,x\n"
    found = samples(tmp_path, "m.csv", text.encode())
    assert [(one.name, one.rows, len(one.headers)) for one in found] == [
        ("m.csv#1", 1, 2),
        ("m.csv#2", 3, 4),
        ("m.csv#3", 1, 3),
    ]
    assert [one.form.record for one in found] == [
        RecordCode("m.csv", "HDR"),
        RecordCode("m.csv", "DTL"),
        RecordCode("m.csv", "TRL", last=True),
    ]
    assert found[1].columns[1] == ("C1", "C2", "C3")
    for one in found:
        (note,) = one.form.notes
        assert note.startswith("m.csv has rows of several types, by the first cell: here AAA, ")


def test_lines_of_several_types_are_told_by_their_first_characters(tmp_path: Path) -> None:
    claims = [f"10C{at:05d}M{at:05d}2023010{at + 1}" for at in range(6)]
    lines = [f"20C{at:05d}{at:3d} 99213" for at in range(6)]
    text = "\n".join(["0020240201", *claims, *lines, "99 6 12", ""])
    found = samples(tmp_path, "claims.txt", text.encode())
    assert [(one.form.record and one.form.record.code, one.rows) for one in found] == [
        ("00", 1),
        ("10", 6),
        ("20", 6),
        ("99", 1),
    ]
    assert found[1].form.widths == (2, 6, 6, 8)
    assert found[2].columns[1] == tuple(f"C{at:05d}" for at in range(6))
    assert found[3].columns[1:] == (("6",), ("12",))


@pytest.mark.parametrize(
    "text",
    [
        "C1,1,99213\nC2,1,99213,25\nC3,1,99213\n",  # keys: each has one row
        "DTL,C1,M1\nDTL,C2,M2\nDTL,C3,M3\n",  # one type only
        "DTL,C1,M1\nDTL,C2\nTRL,2\n",  # rows of one code differ
        "claims,C1,M1\nclaims,C2,M2\ntrailer,2\n",  # words are no codes
        ",C1,M1\n,C2,M2\nTRL,2\n",  # nor is nothing
    ],
)
def test_rows_without_codes_are_of_one_type(tmp_path: Path, text: str) -> None:
    found = sample(tmp_path, "m.csv", text.encode())
    assert found.name == "m.csv"
    assert found.form.record is None


@pytest.mark.parametrize(
    "lines",
    [
        [f"DTL{at:05d}  20230101  99213" for at in range(6)],  # one type only
        [f"P10{at:04d}   SMITH   1970010{at + 1}" for at in range(6)],  # keys, all as long
        [*(f"10{at:05d}   SMITH   1970010{at + 1}" for at in range(6)), "99 6"],  # keys, a trailer
        [f"{'AB'[at % 2]}X{at:05d}   SMITH   197001{'1' * (at + 1)}" for at in range(6)],
    ],
)
def test_lines_without_codes_are_of_one_type(tmp_path: Path, lines: list[str]) -> None:
    found = sample(tmp_path, "m.txt", "\n".join([*lines, ""]).encode())
    assert found.form.record is None


def test_the_end_of_a_file_that_is_not_read_whole_is_not_known(tmp_path: Path) -> None:
    rows = "".join(f"DTL,C{at},1\nLIN,C{at}\n" for at in range(SAMPLE_ROWS))
    found = samples(tmp_path, "m.csv", (rows + "TRL,1,2,3\n").encode())
    assert [one.form.record for one in found] == [
        RecordCode("m.csv", "DTL"),
        RecordCode("m.csv", "LIN"),
    ]
    assert not any(one.whole for one in found)


def test_a_compressed_file_and_a_parquet_file_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    packed = sample(tmp_path / "a", "m.csv.gz", gzip.compress(TEXT.encode()))
    table = pa.table({"Member ID": ["M1", None], "Paid": [1, 2]})
    parquet.write_table(table, tmp_path / "b" / "m.parquet")
    (listed,) = list_files(tmp_path / "b")
    (stored,) = read_samples(listed, elements().words, elements().written)
    assert packed.columns[0] == ("M1", "M2", "M3")
    assert stored.headers == ("Member ID", "Paid")
    assert stored.columns == (("M1", ""), ("1", "2"))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"PK\x03\x04xl/workbook", "xlsx"),
        (b"PK\x03\x04other", "zip"),
        (b"%PDF-1", "PDF"),
        (b"", "empty"),
    ],
)
def test_what_is_no_table_has_a_name_and_no_columns(
    tmp_path: Path, content: bytes, kind: str
) -> None:
    found = sample(tmp_path, "m.csv", content)
    assert (found.form.physical.kind, found.headers) == (kind, ())


def test_broken_compression_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExtractError, match=r"m.csv.gz cannot be read: its compression is broken"):
        sample(tmp_path, "m.csv.gz", gzip.compress(TEXT.encode() * 50)[:60])


def test_commas_in_all_names_make_no_delimited_file_of_one_of_fixed_width(tmp_path: Path) -> None:
    names = ["AMBROSE, ADA", "NG, BO", "COLE, CYD", "O'BRIEN, EVE"]
    lines = "".join(f"M100{at}{name:<20}1970010{at + 1}\n" for at, name in enumerate(names))
    found = sample(tmp_path, "members.txt", lines.encode())
    assert found.form.physical.kind == "fixed width"


def test_padded_cells_with_delimiters_between_are_delimited(tmp_path: Path) -> None:
    lines = "".join(f"M100{at} |{name:<20}|1970010{at}\n" for at, name in enumerate("ABCD"))
    found = sample(tmp_path, "members.txt", lines.encode())
    assert found.form.physical.delimiter == "|"
