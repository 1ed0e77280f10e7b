"""Layouts that ship, and examples of a payer's own: golden rows, and samples if at hand."""

import csv
import re
import shutil
from pathlib import Path

import pytest

from etl.errors import ExtractError
from etl.model.canonical_tables import TABLES
from etl.sources.extract.opening import open_extract
from etl.sources.extract.sql_extract import (
    check_sql_extract,
    count_files,
    read_sql_layout,
    stage_queries,
)
from etl.sources.files.listed_files import SOURCE_POSITIONS
from etl.sources.files.stored_files import FolderFiles
from etl.sources.partition.reading import partition_extract
from tests.unit.sources.dialects import known_layouts
from tests.unit.sources.extracts import findings_of, read, rows_of
from tests.unit.sources.golden import assert_written_down

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests/golden/layouts"
HEADERS = ROOT.parent / "shared/data/cpcds/headers"
SQL = ("cms-part-d", "cms-prauc", "cms-rif-synthea", "qhp-json")
OWN = ("language", "records")
"""Layouts that have their golden rows in other tests."""
NAMES = sorted({path.name for path in GOLDEN.iterdir()} - {*SQL, *OWN})


@pytest.fixture(scope="module")
def layouts():
    return known_layouts()


def test_every_layout_has_golden_rows(layouts):
    assert {layout.name for layout in layouts} == {*NAMES}
    assert all(layout.title and layout.description for layout in layouts)
    assert all((GOLDEN / name / "README.md").is_file() for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_files_are_known_and_give_the_rows_that_were_written_down(name, tmp_path, layouts):
    """The case's README says what is in it."""
    folder = GOLDEN / name / "input"
    extract = open_extract(folder, layouts)
    assert extract.layout.name == name
    assert extract.findings.num_rows == 0
    assert_written_down(read(folder, tmp_path / "work", 1, layouts=layouts), GOLDEN / name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "of_no_use"),
    # A plan has a row for each county; an older row of a beneficiary stands beside newer ones.
    [
        ("cms-part-d", ["unused-row"] * 5),
        ("cms-prauc", ["unused-row"]),
        ("cms-rif-synthea", []),
        ("qhp-json", []),
    ],
)
def test_a_layout_in_sql_gives_the_rows_that_were_written_down(name, of_no_use, tmp_path):
    """Its files are known by names and headers; equal rows are the same ones, from any file."""
    layout = read_sql_layout(ROOT / "mappings/layouts" / name)
    case = GOLDEN / name
    place = FolderFiles(case / "input")
    assert count_files(layout, place) == len(place.entries())
    assert check_sql_extract(layout, place) == ()
    assert not count_files(layout, FolderFiles(GOLDEN / "cms-idr/input"))
    staged = stage_queries(layout, place, tmp_path)
    extract = open_extract(staged, ())
    assert extract.findings.column("rule").to_pylist() == of_no_use
    assert_written_down(partition_extract(extract, tmp_path / "work", partitions=1), case)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "repeated"), [("cms-prauc", 0), ("cms-rif-synthea", -1)])
def test_a_layout_in_sql_names_a_row_of_its_claim_even_if_the_claim_is_in_two_files(
    name, repeated, tmp_path
):
    """The repeated row isn't the first segment, or line, of what it belongs to."""
    files: dict[str, list[list[str]]] = {}
    for path in (GOLDEN / name / "input").iterdir():
        header, *rows = path.read_text(encoding="utf-8").splitlines()
        for part, its_rows in ((1, [rows[repeated]]), (2, rows[::-1])):
            lines = [header, *its_rows]
            file = tmp_path / f"{path.stem}-{part}.csv"
            file.write_text("\n".join(lines) + "\n", encoding="utf-8")
            files[file.name] = [re.split("[|,]", line) for line in lines]
    layout = read_sql_layout(ROOT / "mappings/layouts" / name)
    work = tmp_path / "work"
    work.mkdir()
    stage_queries(layout, FolderFiles(tmp_path), work)
    named = set()
    for path in (work / "results").glob("*.csv"):
        key = TABLES[path.stem].key[0]
        with path.open(encoding="utf-8", newline="") as results:
            for row in csv.DictReader(results):
                file, number = (row[column] for column in SOURCE_POSITIONS)
                assert row[key] in files[file][int(number) - 1], (path.stem, file, number)
                named.add((path.stem, file[-5]))
    several = {"cms-prauc": "prior_auth", "cms-rif-synthea": "claim"}[name]
    assert {(several, "1"), (several, "2")} <= named


def test_a_kind_of_claims_may_be_missing_from_the_layout_in_sql(tmp_path):
    layout = read_sql_layout(ROOT / "mappings/layouts/cms-rif-synthea")
    for name in ("beneficiary_2021.csv", "pde.csv"):
        shutil.copy(GOLDEN / "cms-rif-synthea/input" / name, tmp_path)
    assert count_files(layout, FolderFiles(tmp_path)) == 2


@pytest.mark.shared
@pytest.mark.skipif(not HEADERS.is_dir(), reason="the real headers are not beside the project")
@pytest.mark.parametrize(
    "name", [name for name in NAMES if name.startswith(("healthsparq", "onyx", "synthea"))]
)
def test_the_headers_of_a_source_are_known_for_its_layout_and_each_of_them_is_named(
    name, layouts, tmp_path
):
    files = sorted((HEADERS / name).iterdir())
    for file in files:
        header = file.read_text(encoding="utf-8").strip()
        row = re.sub(r"[^,|]+", "x", header)
        (tmp_path / file.name).write_text(f"{header}\n{row}\n", encoding="utf-8")
    extract = open_extract(tmp_path, layouts)
    assert extract.layout.name == name
    assert len(extract.files) == len(files)
    assert extract.findings.num_rows == 0


def test_a_file_without_a_value_in_its_ids_is_of_no_layout_and_the_message_says_so(
    tmp_path, layouts
):
    for file in (GOLDEN / "tuva-input/input").iterdir():
        rows = [line.split(",") for line in file.read_text(encoding="utf-8").splitlines()]
        for row in rows[1:]:
            row[rows[0].index("member_id")] = "  "
        text = "\n".join(",".join(row) for row in rows)
        (tmp_path / file.name).write_text(text, encoding="utf-8")
    for named in ("tuva-input", None):
        with pytest.raises(ExtractError, match=r"\.csv has no value in (member|person)_id"):
            open_extract(tmp_path, layouts, layout=named)


def test_two_payment_dates_of_a_claim_leave_its_adjudication_date_out(tmp_path, layouts):
    folder = shutil.copytree(GOLDEN / "tuva-input/input", tmp_path / "in")
    claims = folder / "medical_claim.csv"
    lines = claims.read_text(encoding="utf-8").splitlines(keepends=True)
    lines[2] = lines[2].replace("2024-03-20", "2024-03-27")
    claims.write_text("".join(lines), encoding="utf-8")
    parts = read(folder, tmp_path / "work", 1, layouts=layouts)
    (claim,) = [row for row in rows_of(parts, "claim") if row["claim_id"] == "k1"]
    assert "adjudication_date" not in claim
    assert ("dialect-conflict-left-out", "claim", "medical_claim.csv", 3, "adjudication_date") in (
        findings_of(parts)
    )


def test_the_layout_that_is_extended_counts_where_both_fit(tmp_path, layouts):
    """Where some rows have a member, the others are no members by their person."""
    for file in (GOLDEN / "tuva-input-persons/input").iterdir():
        header, row, *rows = file.read_text(encoding="utf-8").splitlines()
        cells = row.split(",")
        cells[header.split(",").index("member_id")] = "m7"
        text = "\n".join([header, ",".join(cells), *rows])
        (tmp_path / file.name).write_text(text, encoding="utf-8")
    assert open_extract(tmp_path, layouts).layout.name == "tuva-input"
