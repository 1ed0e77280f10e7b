"""The first rows of a file, however it is written."""

import gzip

import pyarrow as pa
import pytest
from pyarrow import parquet

from etl.doctor.reading import NOT_DRAFTED, read_sample
from etl.errors import ExtractError
from etl.sources.files.listed_files import list_files
from tests.given.tables import table
from tests.unit.doctor.world import elements

TEXT = "Member ID,Last Name,Date of Birth\nM1,Ng,1970-01-31\nM2,Ek,1971-02-28\nM3,Ã,1972-03-01\n"


def sample(folder, name, content):
    (folder / name).write_bytes(content)
    (listed,) = list_files(folder)
    return read_sample(listed, elements().words, elements().written)


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t", "~"])
def test_what_stands_between_cells_is_found_whatever_the_ending_says(tmp_path, delimiter):
    found = sample(tmp_path, "m.csv", TEXT.replace(",", delimiter).encode())
    assert found.form.physical.delimiter == delimiter
    assert found.headers == ("Member ID", "Last Name", "Date of Birth")
    assert found.columns[0] == ("M1", "M2", "M3")
    assert found.is_complete


@pytest.mark.parametrize(*table(__file__, "encodings"))
def test_text_is_read_in_its_own_encoding(tmp_path, encoding, called):
    text = TEXT.replace("Ã", "Núñez").replace("Ek", "Müller")
    found = sample(tmp_path, "m.csv", text.encode(encoding))
    assert found.form.encoding == called
    assert found.columns[1] == ("Ng", "Müller", "Núñez")


def test_delimiters_inside_quoted_cells_part_no_cells(tmp_path):
    text = 'Member ID;Name;City\nM1;"Ng; Bo";"A, B"\nM2;"Ek; Al";"C, D"\n'
    found = sample(tmp_path, "m.csv", text.encode())
    assert found.form.physical.delimiter == ";"
    assert found.form.quoted
    assert found.columns[1] == ("Ng; Bo", "Ek; Al")


@pytest.mark.parametrize(*table(__file__, "first_rows"))
def test_the_first_row_is_a_header_where_it_names_what_stands_below(tmp_path, first, is_header):
    found = sample(tmp_path, "m.csv", f"{first}\n{TEXT.partition(chr(10))[2]}".encode())
    assert bool(found.headers) is is_header


def test_a_first_row_of_names_above_names_is_taken_for_a_member(tmp_path):
    found = sample(tmp_path, "m.csv", b"Smith,Ann\nNg,Bo\nEk,Cy\n")
    assert found.headers == ()


def test_a_compressed_file_and_a_parquet_file_are_read_too(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    packed = sample(tmp_path / "a", "m.csv.gz", gzip.compress(TEXT.encode()))
    table = pa.table({"Member ID": ["M1", None], "Paid": [1, 2]})
    parquet.write_table(table, tmp_path / "b" / "m.parquet")
    (listed,) = list_files(tmp_path / "b")
    stored = read_sample(listed, elements().words, elements().written)
    assert packed.columns[0] == ("M1", "M2", "M3")
    assert stored.headers == ("Member ID", "Paid")
    assert stored.columns == (("M1", ""), ("1", "2"))


@pytest.mark.parametrize(*table(__file__, "kinds"))
def test_what_is_no_table_has_a_name_and_no_columns(tmp_path, content, kind):
    found = sample(tmp_path, "m.csv", content.encode())
    assert (found.form.physical.kind, found.headers) == (kind, ())


def test_broken_compression_is_refused(tmp_path):
    with pytest.raises(ExtractError, match=r"m.csv.gz cannot be read: its compression is broken"):
        sample(tmp_path, "m.csv.gz", gzip.compress(TEXT.encode() * 50)[:60])


def test_padded_cells_with_delimiters_between_are_delimited(tmp_path):
    lines = "".join(f"M100{at} |{name:<20}|1970010{at}\n" for at, name in enumerate("ABCD"))
    found = sample(tmp_path, "members.txt", lines.encode())
    assert found.form.physical.delimiter == "|"


@pytest.mark.parametrize(*table(__file__, "not_drafted"))
def test_other_files_need_a_header_or_a_layout(tmp_path, text, cause):
    found = sample(tmp_path, "m.csv", text.encode())
    hint = " with `fixed_width`" * ("fixed width" in cause)
    assert found.form.not_drafted == NOT_DRAFTED.format(cause) + hint
