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


@pytest.mark.parametrize("folder", [SAMPLES, GOLDEN / "wide/extract", GOLDEN / "parts/extract"])
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
