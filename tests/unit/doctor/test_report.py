"""What was found, as a page and as values."""

from etl.doctor.examination import examine
from etl.doctor.report import report_json, report_page
from tests.unit.doctor.world import GOLDEN, elements, examined


def test_the_page_loads_nothing_and_runs_nothing():
    page = report_page(examine(GOLDEN / "wide/extract", elements()), "wide")
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "http:" not in page
    assert "https:" not in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_headers_of_a_file_are_text_on_the_page(tmp_path):
    found = examined(
        tmp_path, m_csv="Member ID,Last Name <b>x</b>,DOB\nM1,Ng,1970-01-31\nM2,Ek,1970-01-30\n"
    )
    assert "<b>x</b>" not in report_page(found, "<i>extract</i>")
    assert "<i>" not in report_page(found, "<i>extract</i>")


def test_a_file_that_is_not_written_as_it_should_be_says_what_to_do():
    report = report_json(examine(GOLDEN / "odd/extract", elements()))
    notes = {file["file"]: " ".join(file["notes"]) for file in report["files"]}
    assert 'delimiter: ";"' in notes["members.csv"]
    assert "iconv -f cp1252 -t UTF-8 members.csv" in notes["members.csv"]
    assert "UTF-16" in notes["coverage.csv"]
    assert "fixed width" in notes["fixed.txt"]
    assert "needs a header or a layout" in notes["fixed.txt"]
    assert "it has no header" in notes["headless.csv"]
    assert "needs a header or a layout" in notes["mixed.csv"]


def test_dates_and_amounts_that_are_not_read_as_they_are_say_so():
    report = report_json(examine(GOLDEN / "parts/extract", elements()))
    why = {
        column["column"]: column["why"] for file in report["files"] for column in file["columns"]
    }
    assert "dates are DD-Mon-YYYY, write them YYYY-MM-DD" in why["clm_from_dt"]
    assert "amounts are not plain decimals, write them 1234.56" in why["tot_chrg_amt"]
