"""Which element each column is, which file joins which, what is in doubt and what is missing."""

import json
import os

import pytest

from etl.doctor.drafting import LayoutDraft
from etl.doctor.examination import examine
from etl.doctor.report import report_json
from tests.given.tables import table
from tests.unit.doctor.world import GOLDEN, columns, elements, examined, named

MEMBERS = "Member ID,Last Name,DOB,Sex\nM1001,Ng,1970-01-31,F\nM1002,Ek,1971-02-28,M\n"


@pytest.mark.parametrize("case", sorted(path.name for path in GOLDEN.iterdir()))
def test_the_report_and_the_layout_of_a_case_are_those_that_a_person_has_read(case):
    folder = GOLDEN / case
    found = examine(folder / "extract", elements())
    made = {
        "report.json": json.dumps(report_json(found), indent=1, ensure_ascii=False) + "\n",
        "layout.yaml": LayoutDraft(found, case).text(),
    }
    for name, text in made.items():
        if os.environ.get("WRITE_GOLDEN"):
            (folder / name).write_text(text, encoding="utf-8")
        assert text == (folder / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(*table(__file__, "columns"))
def test_a_column_is_the_element_that_its_name_and_its_values_tell(files, claims, tmp_path):
    assert named(examined(tmp_path, **files), "claims.csv") == claims


WIDE = "Claim Number,Member ID,Claim Type,Statement From Date,Line Number,Procedure Code,{}\n"


def wide(amounts, *cells):
    rows = [
        f"C30{at // 2:02},M1001,vision,2023-02-01,{at % 2 + 1},9921{at % 5},{cell}\n"
        for at, cell in enumerate(cells)
    ]
    return WIDE.format(amounts) + "".join(rows)


def test_an_amount_that_several_elements_fit_is_asked_about_and_never_named(tmp_path):
    found = examined(tmp_path, claims_csv=wide("Line Amount", *(f"{at}.50" for at in range(8))))
    assert named(found, "claims.csv")["Line Amount"] == "?"
    ((file, column),) = found.questions
    assert (file.name, column.header) == ("claims.csv", "Line Amount")
    assert len(column.match.rivals) > 1
    assert all(other.amount for other in column.match.rivals)


def test_an_amount_never_gets_what_another_amount_has_left_over(tmp_path):
    header = "Claim Number,Member ID,Claim Type,Paid Date,Total Allowed Amount,Allowed Amt Total"
    rows = "".join(f"C300{at},M1001,vision,2023-02-01,{at}.50,{at}.75\n" for at in range(4))
    told = named(examined(tmp_path, claims_csv=f"{header}\n{rows}"), "claims.csv")
    amounts = [told["Total Allowed Amount"], told["Allowed Amt Total"]]
    assert amounts.count("claim.amount_eligible") == 1
    assert {*amounts} <= {"claim.amount_eligible", "?", ""}


def test_numbered_columns_are_one_element_each_with_its_number(tmp_path):
    header = "Claim Number,Member ID,Claim Type,Dx 1,Dx 2,Dx 3,Dx POA 1,Dx POA 2,Dx POA 3"
    rows = "".join(f"C300{at},M1001,vision,E11.{at},I10,J45.2,Y,N,U\n" for at in range(4))
    found = examined(tmp_path, claims_csv=f"{header}\n{rows}")
    told = columns(found, "claims.csv")
    assert [told[f"Dx {at}"].element for at in (1, 2, 3)] == ["claim_diagnosis.code"] * 3
    assert [told[f"Dx {at}"].number for at in (1, 2, 3)] == [1, 2, 3]
    assert told["Dx POA 2"].element == "claim_diagnosis.present_on_admission"


def test_well_known_headers_that_nothing_carries_say_why(tmp_path):
    text = (
        MEMBERS.replace("Sex", "Sex,Client Code")
        .replace(",F\n", ",F,X\n")
        .replace(",M\n", ",M,X\n")
    )
    column = columns(examined(tmp_path, members_csv=text), "members.csv")["Client Code"]
    assert column.element == ""
    assert column.match.element.reason == "says where the file came from"


def test_the_order_of_columns_and_rows_does_not_change_what_is_found(tmp_path):
    rows = [line.split(",") for line in MEMBERS.splitlines()]
    turned = "\n".join(",".join(reversed(row)) for row in (rows[0], *reversed(rows[1:]))) + "\n"
    one = named(examined(tmp_path / "a", members_csv=MEMBERS), "members.csv")
    other = named(examined(tmp_path / "b", members_csv=turned), "members.csv")
    assert one == other


def test_a_surrogate_key_leads_to_the_file_whose_key_it_is(tmp_path):
    members = "MBR_SK,MEMBER_ID,LAST_NM,BIRTH_DT\n1,M1,Ng,19700131\n2,M2,Ek,19710131\n"
    claims = "CLM_ID,MBR_SK,PAID_DT\nC1,1,20240101\nC2,1,20240102\nC3,2,20240103\n"
    found = examined(tmp_path, members_csv=members, claims_csv=claims)
    joins = [(join.file, join.header, join.to_file, join.to_header) for join in found.joins]
    assert joins == [("claims.csv", "MBR_SK", "members.csv", "MBR_SK")]
