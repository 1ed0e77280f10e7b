"""A layout to start from: it can be used, and uses nothing that is in doubt."""

from __future__ import annotations

from pathlib import Path

import pytest

from etl.bootstrap.mappings import read_crosswalks, shipped
from etl.doctor.drafting import LayoutDraft
from etl.doctor.elements import read_elements
from etl.doctor.examination import Examination, examine
from etl.sources import Layout, read_layout
from etl.sources.layout_columns import ConstantText, FromColumn, Lookup
from tests.e2e.commands import SAMPLES
from tests.unit.doctor.world import GOLDEN, elements, examined


def layout_of(found: Examination) -> Layout:
    return read_layout(LayoutDraft(found, "mine").text(), "mine.yaml", {})


@pytest.mark.parametrize(
    "folder",
    [
        SAMPLES,
        GOLDEN / "wide/extract",
        GOLDEN / "parts/extract",
        GOLDEN / "headless/extract",
        GOLDEN / "fixed/extract",
        GOLDEN / "records/extract",
    ],
)
def test_a_draft_passes_the_check_of_layouts(folder: Path) -> None:
    layout = layout_of(examine(folder, elements()))
    assert {"member", "coverage", "claim", "claim_line"} <= {spec.table for spec in layout.tables}


def test_a_question_is_the_reason_why_a_column_is_unused() -> None:
    layout = layout_of(examine(GOLDEN / "wide/extract", elements()))
    unused = layout.raw["claims"].unused
    assert set(unused) == {"Line Amt"}
    assert unused["Line Amt"].startswith("QUESTION: claim_line.amount_")
    lines = next(spec for spec in layout.tables if spec.table == "claim_line")
    assert "Line Amt" not in lines.headers()


def test_what_no_file_has_is_never_there_and_never_made_up() -> None:
    layout = layout_of(examine(GOLDEN / "parts/extract", elements()))
    claim = next(spec for spec in layout.tables if spec.table == "claim")
    for spec in layout.tables:
        for columns in (spec.columns, *spec.rows):
            for name, made in columns.items():
                if isinstance(made.source, ConstantText):
                    assert name in ("role", "type", "use", "sequence")
    assert all(made.when == () for made in claim.columns.values())
    wide = layout_of(examine(GOLDEN / "wide/extract", elements()))
    adjudicated = next(one for one in wide.tables if one.table == "claim").columns[
        "adjudication_date"
    ]
    (condition,) = adjudicated.when
    assert adjudicated.source == FromColumn(condition.column or "")
    assert condition.filled is False


def test_a_payer_that_only_the_coverage_names_is_looked_up_there() -> None:
    wide = layout_of(examine(GOLDEN / "wide/extract", elements()))
    source = next(one for one in wide.tables if one.table == "claim").columns["payer_id"].source
    assert isinstance(source, Lookup)
    assert (source.table, source.by, source.value) == ("policies", ("Policy Number",), "Payer Id")


def test_tables_that_no_file_has_are_fed_by_the_ids_alone(tmp_path: Path) -> None:
    found = examined(
        tmp_path,
        members_csv="Member ID,Last Name,DOB,Sex\nM1001,Ng,1970-01-31,F\n",
        claims_csv="Claim Number,Member ID,Claim Type,Paid Date\nC1,M1001,vision,2023-01-01\n",
    )
    layout = layout_of(found)
    coverage = next(spec for spec in layout.tables if spec.table == "coverage")
    assert coverage.columns["payer_id"].when


def test_words_go_through_the_crosswalk_of_a_known_layout_that_knows_all_of_them(
    tmp_path: Path,
) -> None:
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


def test_headers_are_quoted_where_yaml_would_read_them_as_something_else(tmp_path: Path) -> None:
    found = examined(
        tmp_path,
        members_csv='Member ID,"Name: last, of # all",DOB,Sex,NO\nM1001,Ng,1970-01-31,F,x\n',
        claims_csv="Claim Number,Member ID,Claim Type,Paid Date\nC1,M1001,vision,2023-01-01\n",
    )
    columns = layout_of(found).raw["members"].columns
    assert {"Name: last, of # all", "NO"} <= set(columns)


def test_a_draft_of_files_without_a_header_reads_them_by_the_places_of_their_columns() -> None:
    layout = layout_of(examine(GOLDEN / "headless/extract", elements()))
    assert [raw.columns[:2] for raw in layout.raw.values()] == [("column 1", "column 2")] * 3
    assert not any(raw.has_header for raw in layout.raw.values())
    assert layout.raw["acme_members"].may_be("acme_members")
    fed = {spec.table: spec for spec in layout.tables}
    assert fed["claim"].columns["member_id"].source == FromColumn("column 3")
    amounts = [name for spec in layout.tables for name in spec.columns if "amount" in name]
    assert amounts == []
    assert layout.raw["claims_202304"].unused["column 15"].startswith("QUESTION: claim.payment")


def test_files_that_are_not_in_a_draft_are_named_in_it(tmp_path: Path) -> None:
    found = examined(
        tmp_path,
        members_csv="Member ID,Last Name,DOB,Sex\nM1001,Ng,1970-01-31,F\n",
        codes_csv="AA,1\nAA,2\nBB,1,x\n",
    )
    text = LayoutDraft(found, "mine").text()
    line = "# QUESTION: codes.csv is not in this draft: nothing says what its rows are\n"
    assert text.count(line) == 1
    assert "codes:" not in text


def test_a_draft_of_several_types_of_records_has_a_raw_file_for_each() -> None:
    text = LayoutDraft(examine(GOLDEN / "records/extract", elements()), "records").text()
    raw = read_layout(text, "records.yaml", {}).raw
    of_delimited = [name for name in raw if name.startswith("claims_202405_")]
    assert of_delimited == [f"claims_202405_{code}" for code in ("hdr", "clm", "lin", "trl")]
    assert all(raw[name].may_be("claims_202405") for name in of_delimited)
    assert set(raw["claims_202405_hdr"].unused) == {"column 2", "column 3"}
    end = raw["claims_202405_trl"]
    assert set(end.unused) == {"column 4"}  # what is a sum of two columns' is a question
    assert end.unused["column 4"].startswith("QUESTION: totals, sum_of: { claims_202405_clm: ")
    assert "{ column: column 2, rows_of: [claims_202405_clm] }  # QUESTION" in text
    lines = {name: one.lines.widths for name, one in raw.items() if one.lines}
    assert lines["bills_202405_clm"][:3] == (3, 10, 7)
    assert "{ column: column 1, width: 3, at: 1 }  # QUESTION" in text


def test_a_draft_of_types_says_that_others_may_stand_behind_the_first_rows(tmp_path: Path) -> None:
    rows = "".join(f"CLM,C{at:05d},M1\nLIN,C{at:05d},1,99213\n" for at in range(3_000))
    found = examined(tmp_path, claims_csv=rows)
    text = LayoutDraft(found, "mine").text()
    assert "# QUESTION: claims.csv was not read to its end" in text


def test_amounts_that_look_like_diagnoses_are_no_diagnoses(tmp_path: Path) -> None:
    rows = "".join(f"C100{at},{at % 3 + 1},250.{at}0,99213\n" for at in range(9))
    (file,) = examined(tmp_path, claims_csv=rows).files
    assert file.columns[2].match.question
    assert {one.amount != "" for one in file.columns[2].match.others} == {True}


def test_of_two_columns_that_may_be_the_birth_date_none_is_taken(tmp_path: Path) -> None:
    rows = "".join(
        f"M10000{at},19{50 + at}-01-3{at % 2},19{60 + at}-02-1{at},{'FM'[at % 2]}\n"
        for at in range(6)
    )
    found = examined(tmp_path, members_csv=rows)
    told = {column.header: column for column in found.files[0].columns}
    assert [told[f"column {at}"].element for at in (1, 4)] == ["member.member_id", "member.gender"]
    assert told["column 2"].match.question
    assert told["column 3"].match.question


def test_a_draft_of_fixed_width_cuts_columns_and_marks_where_it_is_unsure() -> None:
    text = LayoutDraft(examine(GOLDEN / "fixed/extract", elements()), "fixed").text()
    layout = read_layout(text, "fixed.yaml", {})
    lines = {name: raw.lines.widths for name, raw in layout.raw.items() if raw.lines}
    assert lines["coverage"] == (7, 7, 8, 8, 8, 5)
    assert lines["members"] == (7, 16, 8, 2, 5)  # commas in names part nothing
    assert lines["claims_202304"][-2:] == (5, 10)  # digits of larger amounts are the amount's
    assert "{ column: column 8, width: 10, at: 55 }  # QUESTION" in text
