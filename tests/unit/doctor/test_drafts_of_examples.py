"""The draft of files that have headers is a layout without mistakes, and reads them."""

import pytest

from etl.sources.extract.opening import open_extract
from etl.sources.layout.syntax import read_layout
from etl.sources.partition.reading import partition_extract
from tests.e2e.commands import ROOT, SAMPLES, cpcds, done
from tests.unit.doctor.world import GOLDEN
from tests.unit.sources.dialects import known_layouts

LAYOUTS = ROOT / "tests/golden/layouts"
SHARED = ROOT.parent / "shared/data/cpcds"
CROSSWALKS = {
    name: crosswalk for layout in known_layouts() for name, crosswalk in layout.crosswalks.items()
}
NOT_DRAFTED = "such a file needs a header or a layout"
WITHOUT_HEADERS = {LAYOUTS / name / "input" for name in ("apcd-cdl", "records")}
WRITTEN_DIFFERENTLY = {GOLDEN / "odd/extract", LAYOUTS / "cms-part-d/input"}
"""Their files are read when they are written or renamed as the doctor's notes say."""
NOT_TABLES = {LAYOUTS / "qhp-json/input"}
WITH_HEADERS = sorted(
    {SAMPLES, *LAYOUTS.glob("*/input"), *GOLDEN.glob("*/extract")}
    - WITHOUT_HEADERS
    - WRITTEN_DIFFERENTLY
    - NOT_TABLES
)


def check_draft(extract, folder):
    """Check that the draft of an extract has no mistakes and that each of its files is read."""
    draft = folder / "mine.yaml"
    done(cpcds("doctor", extract, "--write", draft))
    layout = read_layout(draft.read_text(encoding="utf-8"), "mine.yaml", CROSSWALKS)
    opened = open_extract(extract, [layout], layout=layout.name)
    parts = partition_extract(opened, folder / "work", partitions=1)
    files = {file.table: file.name for file in opened.files if file.table}
    assert files.keys() == layout.raw.keys()
    assert all(parts.facts.rows_read[name] for name in files.values())


@pytest.mark.slow
@pytest.mark.parametrize("extract", WITH_HEADERS, ids=lambda path: path.parent.name)
def test_a_draft_has_no_mistakes_and_reads_the_files_that_it_came_from(extract, tmp_path):
    check_draft(extract, tmp_path)


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the design folder is not beside the project")
@pytest.mark.parametrize(
    "name", ["cms-idr", "cms-rif-synthea", "google-bigquery-layout", "synthea-members-layout"]
)
def test_the_draft_of_real_files_has_no_mistakes_and_reads_them(name, tmp_path):
    check_draft(SHARED / name, tmp_path)


def test_a_draft_of_headers_alone_has_no_mistakes(tmp_path):
    for path in (LAYOUTS / "tuva-input/input").glob("*.csv"):
        header = path.read_text(encoding="utf-8").partition("\n")[0]
        (tmp_path / path.name).write_text(f"{header}\n", encoding="utf-8")
    draft = tmp_path / "mine.yaml"
    done(cpcds("layouts", "init", tmp_path, "--write", draft))
    text = draft.read_text(encoding="utf-8")
    assert read_layout(text, "mine.yaml", CROSSWALKS).raw["medical_claim"].id_headers["claim"]
    assert "# 50%; QUESTION: no value was seen" in text


@pytest.mark.parametrize("extract", sorted(WITHOUT_HEADERS), ids=lambda path: path.parent.name)
def test_files_that_the_doctor_does_not_draft_need_a_header_or_a_layout(extract, tmp_path):
    called = cpcds("doctor", extract, "--write", tmp_path / "mine.yaml")
    assert called.code == 2
    assert NOT_DRAFTED in called.err
    assert not (tmp_path / "mine.yaml").exists()


@pytest.mark.parametrize("extract", sorted(NOT_TABLES), ids=lambda path: path.parent.name)
def test_files_of_json_are_not_drafted_and_the_doctor_says_what_reads_them(extract, tmp_path):
    told = done(cpcds("doctor", extract)).out
    assert "drugs.json is JSON; use a layout in SQL with `json`" in told
    assert cpcds("doctor", extract, "--write", tmp_path / "mine.yaml").code == 2
    assert not (tmp_path / "mine.yaml").exists()
