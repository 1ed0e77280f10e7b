"""Rows with too few or too many cells: what of them can be read, and whose they are."""

import pytest

from tests.unit.sources.dialects import BILLS, layout, write
from tests.unit.sources.extracts import CLAIM, MEMBER, all_loaded, read, write_extract

HEADER = "claim_id,line_number,service_from_date,service_text\n"


def bare(parts, table):
    """Return the ids of rows that could not be read, of a table, by the table's first key."""
    return [
        row[f"{table if table in ('member', 'coverage') else 'claim'}_id"]
        for loaded in all_loaded(parts)
        if table in loaded.unread
        for row in loaded.unread[table].to_pylist()
    ]


def lines(tmp_path, *rows, header=HEADER):
    claims = [CLAIM, {**CLAIM, "claim_id": "CL2"}, {**CLAIM, "claim_id": "2"}]
    folder = write_extract(tmp_path / "in", {"claim": claims})
    (folder / "claim_line.csv").write_text(header + "".join(f"{row}\n" for row in rows))
    return read(folder, tmp_path / "work", 3)


@pytest.mark.parametrize(
    "row",
    [
        "CL2,1,2024-01-05,Blood panel, fasting",
        "CL2,1,2024-01-05",
        "CL2",
        ' CL2 ,1,"2024-01-05, or so",a,b',
        # 2 is a claim as well, but nothing stands before the first column.
        "CL2,2,2024-01-05,Blood panel, fasting",
    ],
)
def test_an_id_in_the_first_column_is_where_it_should_be(tmp_path, row):
    parts = lines(tmp_path, "CL1,1,2024-01-05,x", row)
    assert [one and one.strip() for one in bare(parts, "claim_line")] == ["CL2"]
    assert parts.facts.unowned == {}


@pytest.mark.parametrize("row", ["x,2024-01-05,CL2,1,a", "2024-01-05,CL2,1", "CL2,x,y,z,1"])
def test_an_id_further_on_is_not_trusted(tmp_path, row):
    header = "service_text,service_from_date,claim_id,line_number\n"
    parts = lines(tmp_path, "x,2024-01-05,CL1,1", row, header=header)
    assert bare(parts, "claim_line") == [None]
    assert parts.facts.unowned == {"claim_line.csv": (3,)}


def test_an_id_of_which_nothing_can_be_read_elsewhere_is_not_trusted(tmp_path):
    parts = lines(tmp_path, "CL1,1,2024-01-05,x", "CL9,1,2024-01-05,x,y", " ,1,2024-01-05,x,y")
    assert bare(parts, "claim_line") == [None, None]
    assert parts.facts.unowned == {"claim_line.csv": (3, 4)}


def test_a_claim_is_known_by_its_own_id_where_no_claim_can_be_read(tmp_path):
    folder = write_extract(tmp_path / "in", {"claim": [CLAIM], "claim_line": []})
    path = folder / "claim.csv"
    path.write_text(path.read_text(encoding="utf-8").rstrip("\n") + ",x\n", encoding="utf-8")
    parts = read(folder, tmp_path / "work")
    assert bare(parts, "claim") == [CLAIM["claim_id"]]
    assert parts.facts.unowned == {}


def test_a_row_lies_in_the_partition_of_what_it_belongs_to(tmp_path):
    parts = lines(tmp_path, "CL1,1,2024-01-05,x", "CL2,1,2024-01-05,a,b")
    (of_claims,) = (n for n in range(3) if parts.load(n).tables["claim"].num_rows)
    assert parts.load(of_claims).unread["claim_line"].num_rows == 1
    findings = parts.load(of_claims).findings.to_pylist()
    assert [(one["rule"], one["table"], one["row"]) for one in findings] == [
        ("ragged-row", "claim_line", 3)
    ]


def test_a_coverage_says_whose_it_is_and_is_told_only_with_its_member(folder, tmp_path):
    (folder / "coverage.csv").write_text(
        "coverage_id,member_id,relationship,payer_id\n"
        "C1,M1,self,P1,x\nC2,x,M1,self,P1\nC3,M9,self,P1,x\n"
    )
    parts = read(folder, tmp_path / "work")
    rows = parts.load(0).unread["coverage"].to_pylist()
    assert sorted((one["coverage_id"] or "", one["member_id"] or "") for one in rows) == [
        ("", ""),
        ("", ""),
        ("C1", "M1"),
    ]
    assert parts.facts.unowned == {"coverage.csv": (3, 4)}


def test_rows_of_the_directory_belong_to_nobody(tmp_path):
    folder = write_extract(tmp_path / "in", {"organization": [{"organization_id": "O1"}]})
    with (folder / "organization.csv").open("a") as file:
        file.write("O2,x,y,z\n")
    parts = read(folder, tmp_path / "work")
    assert parts.directory().unread["organization"].num_rows == 1
    assert parts.facts.unowned == {}


def test_a_dialects_row_belongs_to_the_claim_that_it_is_put_together_with(tmp_path):
    bills = BILLS + "B1,M1,2,professional,2024-01-05,2024-01-09,10,10,D1,O1,I10,ICD,a,b\n"
    bills += "B7,M1,1,professional,2024-01-05,2024-01-09,10,10,D1,O1,I10,ICD,a,b\n"
    parts = read(write(tmp_path / "in", bills), tmp_path / "work", layouts=[layout()])
    assert bare(parts, "claim_line") == ["B1", None]
    assert parts.facts.unowned == {"bills.csv": (4,)}
    assert parts.load(0).tables["claim_line"].num_rows == 1


def test_a_dialects_row_of_persons_is_a_member(tmp_path):
    persons = "Person,Policy,Born,Name,Sex,Payer\nM1,C1,1970-01-01,Ng,f,P1\nM2,C2,x,y,f,P1,z\n"
    parts = read(write(tmp_path / "in", persons=persons), tmp_path / "work", layouts=[layout()])
    assert bare(parts, "member") == ["M2"]
    assert bare(parts, "coverage") == []


def test_cells_are_cut_as_the_file_is_read(tmp_path):
    folder = write_extract(tmp_path / "in", {"member": [MEMBER, {**MEMBER, "member_id": "M2"}]})
    (folder / "member_telecom.psv").write_text(
        'member_id|value|sequence|system\n"M2"|"a|b"|1|phone|x\nM1|1|phone\n'
    )
    parts = read(folder, tmp_path / "work")
    rows = parts.load(0).unread["member_telecom"].to_pylist()
    assert [one["member_id"] for one in rows] == ["M2", "M1"]
