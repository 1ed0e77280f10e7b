"""Files of lines: fixed width, several types of record."""

import shutil
from pathlib import Path

import pytest

from etl.errors import ExtractError, MappingError
from etl.sources.extract.opening import open_extract
from etl.sources.layout.syntax import read_layout
from etl.sources.partition.finished_steps import FinishedSteps
from etl.sources.partition.reading import open_partitions
from tests.given.tables import table
from tests.unit.sources.extracts import findings_of, read, rows_of
from tests.unit.sources.golden import assert_written_down

GOLDEN = Path(__file__).parents[2] / "golden/layouts/records"
TEXT = (GOLDEN / "layout.yaml").read_text(encoding="utf-8")


def dock(text=TEXT):
    return read_layout(text, "dock.yaml", {})


def changed(folder, name, old, new):
    """The golden extract with one text of one file in place of another."""
    shutil.copytree(GOLDEN / "input", folder)
    text = (folder / name).read_bytes().decode()
    assert old in text
    (folder / name).write_bytes(text.replace(old, new, 1).encode())
    return folder


@pytest.mark.parametrize("count", [1, 3])
def test_lines_give_the_rows_that_were_written_down(tmp_path, count):
    """The case's README says what is in it."""
    parts = read(GOLDEN / "input", tmp_path / "work", count, layouts=[dock()])
    assert_written_down(parts, GOLDEN)


def test_a_file_is_listed_once_and_its_records_are_counted_by_type(tmp_path):
    parts = read(GOLDEN / "input", tmp_path / "work", layouts=[dock()])
    extract = open_extract(GOLDEN / "input", [dock()])
    assert [file.stored for file in extract.stored] == [
        "claims_0105.dat",
        "members.txt",
        "policies.psv",
    ]
    assert dict(parts.facts.rows_read) == {
        "claims_0105.dat#file_start": 1,
        "claims_0105.dat#claims": 3,
        "claims_0105.dat#lines": 5,
        "claims_0105.dat#file_end": 1,
        "members.txt": 3,
        "policies.psv#policies": 3,
        "policies.psv#policies_end": 1,
    }


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        ("claims_0105.dat", "0020240201", "7720240201",
         "row 1 matches none of file_start, claims, lines, file_end"),
        ("claims_0105.dat", "20C0003001", "2xC0003001", "row 9 matches none of"),
    ],
)  # fmt: skip
def test_a_line_of_no_type_is_refused(tmp_path, name, old, new, sentence):
    folder = changed(tmp_path / "in", name, old, new)
    with pytest.raises(ExtractError) as caught:
        read(folder, tmp_path / "work", layouts=[dock()])
    assert sentence in str(caught.value)
    assert FinishedSteps(tmp_path / "work").find("read") is None
    with pytest.raises(Exception, match="read the extract again"):
        open_partitions(tmp_path / "work")


def test_a_line_of_two_types_is_refused(tmp_path):
    text = TEXT.replace('any_of: ["10"]', 'any_of: ["10", "20"]')
    with pytest.raises(ExtractError, match="row 3 matches claims and lines"):
        read(GOLDEN / "input", tmp_path / "work", layouts=[dock(text)])


def test_a_line_of_another_length_belongs_to_the_claim_that_it_names(tmp_path):
    folder = changed(tmp_path / "in", "claims_0105.dat", "20C0002001", "20C000200001")
    parts = read(folder, tmp_path / "work", layouts=[dock()])
    ragged = {place[2:4] for place in findings_of(parts) if place[0] == "ragged-row"}
    assert ragged == {("claims_0105.dat#lines", 6), ("claims_0105.dat#lines", 10)}
    assert not parts.facts.unowned
    assert "C0002" not in [row["claim_id"] for row in rows_of(parts, "claim_line")]


def test_a_claim_of_another_length_is_known_by_the_id_at_its_head(tmp_path):
    folder = changed(tmp_path / "in", "claims_0105.dat", "M002P02out", "M002P02XXout")
    parts = read(folder, tmp_path / "work", layouts=[dock()])
    assert not parts.facts.unowned
    assert "C0002" not in [row["claim_id"] for row in rows_of(parts, "claim")]


@pytest.mark.parametrize(*table(__file__, "mistakes"))
def test_a_mistake_is_told_with_its_line(old, new, line, error_id, sentence):
    assert old in TEXT
    with pytest.raises(MappingError) as caught:
        dock(TEXT.replace(old, new, 1))
    first = caught.value.every[0]
    assert (sentence in str(first), first.error_id) == (True, error_id), str(first)
    assert first.where == f"dock.yaml:{line}"


def test_a_name_of_a_mainframe_has_no_ending_and_is_taken_by_its_pattern(tmp_path):
    folder = shutil.copytree(GOLDEN / "input", tmp_path / "in")
    (folder / "claims_0105.dat").rename(folder / "P.A0001.ACO.ZC5Y24.D240801.T0102030")
    (folder / "P.A0001.ACO.ZC8Y24.D240801.T0102030").write_text("of another kind")
    (folder / "P.A0001.ACO.ZC5Y24.D240801.sha256").write_text("no rows")
    layout = dock(TEXT.replace('named: "claims_*"', 'named: "P.*.ZC5*"'))
    parts = read(folder, tmp_path / "work", layouts=[layout])
    assert len(rows_of(parts, "claim")) == 3
    assert [finding[2] for finding in findings_of(parts) if finding[0] == "unknown-file"] == [
        "P.A0001.ACO.ZC5Y24.D240801.sha256",
        "P.A0001.ACO.ZC8Y24.D240801.T0102030",
    ]


def test_where_no_line_has_the_length_of_the_layout_both_lengths_are_told(tmp_path):
    folder = shutil.copytree(GOLDEN / "input", tmp_path / "in")
    (line, *_) = (folder / "members.txt").read_text(encoding="utf-8").splitlines()
    (folder / "members.txt").write_text(f"{line}   \n" * 12, encoding="utf-8")
    with pytest.raises(ExtractError) as refused:
        read(folder, tmp_path / "work", layouts=[dock()])
    assert str(refused.value) == (
        f"members.txt: its lines have {len(line) + 3} characters, and those of people in the "
        f"layout have {len(line)}"
    )
