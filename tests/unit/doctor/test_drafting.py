"""A layout to start from: it can be used, and uses nothing that is in doubt."""

import pytest

from etl.bootstrap.mappings import read_crosswalks, shipped
from etl.doctor.drafting import LayoutDraft
from etl.doctor.elements import read_elements
from etl.doctor.examination import examine
from etl.doctor.report import report_json
from etl.sources.layout.syntax import read_layout
from tests.unit.doctor.world import examined


def layout_of(found):
    return read_layout(LayoutDraft(found, "mine").text(), "mine.yaml", {})


def test_tables_that_no_file_has_are_fed_by_the_ids_alone(tmp_path):
    found = examined(
        tmp_path,
        members_csv="Member ID,Last Name,DOB,Sex\nM1001,Ng,1970-01-31,F\n",
        claims_csv="Claim Number,Member ID,Claim Type,Paid Date\nC1,M1001,vision,2023-01-01\n",
    )
    layout = layout_of(found)
    coverage = next(spec for spec in layout.tables if spec.table == "coverage")
    assert coverage.columns["payer_id"].when


def test_words_go_through_the_crosswalk_of_a_known_layout_that_knows_all_of_them(tmp_path):
    crosswalks = read_crosswalks([shipped()])
    own = {
        name.removeprefix("layouts/"): one
        for name, one in crosswalks.items()
        if name.startswith("layouts/")
    }
    path = shipped() / "layouts" / "synthea-members.yaml"
    known = [read_layout(path.read_text(encoding="utf-8"), str(path), own)]
    text = (shipped() / "doctor" / "elements.yaml").read_text(encoding="utf-8")
    every = read_elements(text, "elements.yaml", crosswalks, known)
    (tmp_path / "claims.csv").write_text(
        "Claim Number,Member ID,Claim Type,Paid Date\n"
        "C1,M1,inpatient-facility,2023-01-01\nC2,M1,outpatient-facility,2023-01-02\n"
    )
    text = LayoutDraft(examine(tmp_path, every), "mine", known).text()
    assert "claim_type: { column: Claim Type, crosswalk: synthea-claim-type }" in text


def test_headers_are_quoted_where_yaml_would_read_them_as_something_else(tmp_path):
    found = examined(
        tmp_path,
        members_csv='Member ID,"Name: last, of # all",DOB,Sex,NO\nM1001,Ng,1970-01-31,F,x\n',
        claims_csv="Claim Number,Member ID,Claim Type,Paid Date\nC1,M1001,vision,2023-01-01\n",
    )
    columns = layout_of(found).raw["members"].columns
    assert {"Name: last, of # all", "NO"} <= set(columns)


def test_files_that_are_not_in_a_draft_are_named_in_it(tmp_path):
    found = examined(
        tmp_path,
        members_csv="Member ID,Last Name,DOB,Sex\nM1001,Ng,1970-01-31,F\n",
        codes_csv="AA,1\nAA,2\nBB,1,x\n",
        ended_csv="Claim Number,Member ID,Claim Type\nC1,M1001,vision\nTRL,1\n",
    )
    text = LayoutDraft(found, "mine").text()
    needs = "such a file needs a header or a layout"
    assert f"# QUESTION: codes.csv is not in this draft: it has no header; {needs}\n" in text
    assert f"# QUESTION: ended.csv is not in this draft: it ends with a trailer; {needs}\n" in text
    assert "codes:" not in text
    assert "ended:" not in text


@pytest.mark.parametrize("column", ["Birth Date", "Gender", "Paid Amount", "Dx 1"])
def test_a_column_without_values_is_a_guess_of_50_percent_at_most(tmp_path, column):
    found = examined(
        tmp_path,
        claims_csv=f"Claim Number,Member ID,Claim Type,Paid Date,{column}\n"
        "C1,M1001,vision,2023-01-01,\nC2,M1002,vision,2023-01-02,\n",
    )
    (file,) = report_json(found)["files"]
    assert file["columns"][-1]["confidence"] <= 0.5
    assert file["columns"][0]["confidence"] > 0.5
    (claims,) = layout_of(found).raw.values()
    assert claims.unused[column].startswith("QUESTION")


def test_an_empty_column_beside_others_of_its_kind_is_used(tmp_path):
    header = "Claim Number,Member ID,Claim Type,Paid Date,Dx 1,Dx 2"
    rows = "".join(f"C{at},M{at},vision,2023-01-0{at},E11.{at},\n" for at in range(1, 5))
    found = examined(tmp_path, claims_csv=f"{header}\n{rows}")
    first, second = found.files[0].columns[-2:]
    assert first.confidence > 0.5 >= second.confidence
    assert "Dx 2" not in layout_of(found).raw["claims"].unused


def test_files_with_the_same_headers_are_told_apart_by_their_names(tmp_path):
    text = "Member ID,Last Name,DOB,Sex{}\nM1001,Ng,1970-01-31,F{}\n"
    found = examined(
        tmp_path,
        claims_csv="Claim Number,Member ID,Claim Type,Paid Date\nC1,M1001,vision,2023-01-01\n",
        east_csv=text.format("", ""),
        north_csv=text.format(",City", ",Oslo"),
        west_csv=text.format(",City", ",Rome"),
    )
    raw = layout_of(found).raw
    assert {name: one.name_patterns for name, one in raw.items()} == {
        "claims": (),
        "east": (),
        "north": ("north",),
        "west": ("west",),
    }


def test_cells_that_end_every_row_are_of_no_column(tmp_path):
    found = examined(
        tmp_path, claims_csv="Claim Number,Member ID,Claim Type\nC1,M1,vision,\nC2,M2,oral,\n"
    )
    assert found.files[0].rows == 2
    assert layout_of(found).raw["claims"].extra_cells == 1


def test_dates_that_are_none_and_amounts_that_may_be_cents_are_told(tmp_path):
    header = "Claim Number,Member ID,Claim Type,Paid Date,Statement From Date,Total Allowed Amount"
    rows = "".join(
        f"C30{at:02},M1001,vision,{day},20240102,{1000 + at}\n"
        for at, day in enumerate(["20240101", "00000000", "99991231"] * 4)
    )
    draft = LayoutDraft(examined(tmp_path, claims_csv=f"{header}\n{rows}"), "drafted").text()
    assert 'paid_date: { column: Paid Date, sentinels: ["00000000", "99991231"] }  # 99%' in draft
    assert "if these are cents, set number: { implied: 2 }" in draft
