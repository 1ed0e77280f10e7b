"""No value of a file comes out of the doctor: not in a report, a page or a layout."""

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from etl.doctor.drafting import LayoutDraft
from etl.doctor.examination import examine
from etl.doctor.report import report_json, report_page
from tests.unit.doctor.world import elements

# Letters and digits that no header, no word of the field and no outline is made of.
VALUES = st.text(alphabet="qxzQXZ5678žß", min_size=5, max_size=12).filter(
    lambda text: len(set(text)) > 2
)
HEADERS = (
    ("Member ID", "Last Name", "DOB", "Gender"),
    ("Claim Number", "Member ID", "Claim Type", "Line Amount", "Dx 1"),
    (),
)


@settings(max_examples=25, deadline=None)
@given(
    headers=st.sampled_from(HEADERS),
    rows=st.lists(st.lists(VALUES, min_size=4, max_size=5), min_size=1, max_size=6),
    delimiter=st.sampled_from([",", ";", "|", "\t"]),
    encoding=st.sampled_from(["utf-8", "utf-16", "cp1252"]),
    ending=st.sampled_from(["csv", "txt"]),
)
def test_no_value_of_a_file_comes_out(headers, rows, delimiter, encoding, ending):
    width = len(headers) or 4
    lines = [headers, *(row[:width] + ["zz5xq"] * (width - len(row)) for row in rows)]
    text = "\n".join(delimiter.join(line) for line in lines if line) + "\n"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"file.{ending}").write_bytes(text.encode(encoding))
        found = examine(Path(folder), elements())
    told = json.dumps(report_json(found), ensure_ascii=False) + report_page(found, "extract")
    told += LayoutDraft(found, "mine").text()
    values = {value for row in rows for value in row}
    assert values
    assert [value for value in values if value in told] == []
