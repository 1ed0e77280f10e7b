"""What was found, as a page and as values."""

from etl.doctor.examination import examine
from etl.doctor.report import report_page
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
