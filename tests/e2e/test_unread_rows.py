"""Rows that cannot be read take along what they belong to, or stop the run."""

import json

import pytest

from tests.e2e.commands import cpcds, done, rows_of
from tests.unit.sources.extracts import CLAIM, COVERAGE, LINE, MEMBER, write_extract

WHOLE = {
    "member": [MEMBER],
    "coverage": [COVERAGE],
    "claim": [{**CLAIM, "claim_id": claim} for claim in ("K1", "K2")],
    "claim_line": [
        {**LINE, "claim_id": claim, "line_number": number, "service_code": "99213"}
        for claim, number in (("K1", "1"), ("K1", "2"), ("K2", "1"))
    ],
    "claim_diagnosis": [
        {"claim_id": claim, "sequence": "1", "code": "I10", "type": "principal"}
        for claim in ("K1", "K2")
    ],
}


def spoil(path, number, change):
    """Change the cells of a row of a file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[number - 1] = ",".join(change(lines[number - 1].split(",")))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def extract(tmp_path):
    return write_extract(tmp_path / "extract", WHOLE)


def test_a_claim_is_rejected_with_a_row_of_it_that_cannot_be_read(extract, tmp_path):
    spoil(extract / "claim_line.csv", 3, lambda cells: [*cells[:2], "split", *cells[2:]])
    done(cpcds("validate", extract, "--report", tmp_path, "--workers", "1"))
    report = json.loads((tmp_path / "report" / "report.json").read_bytes())
    rules = {
        f"{path.name}:{row['cpcds_row']}": row["cpcds_rules"]
        for path in (tmp_path / "quarantine").glob("*.csv")
        for row in rows_of(path)
    }
    assert rules["claim_line.ragged.csv:3"] == "ragged-row"
    assert "ragged-row" in rules["claim.csv:2"].split(";")
    assert "ragged-row" in rules["claim_line.csv:2"].split(";")
    assert not any(name in rules for name in ("claim.csv:3", "claim_line.csv:4"))
    (ragged,) = (one for one in report["rules"] if one["rule"] == "ragged-row")
    assert ragged["rejected_rows"] == 4
    assert sum(one["rejected_rows"] for one in report["rules"]) == sum(
        one["quarantined"] for one in report["tables"].values()
    )


@pytest.mark.slow
@pytest.mark.parametrize("cells", [["TRAILER"], ["", "1", "principal", "I10"]])
def test_a_row_that_names_no_claim_stops_a_run_and_is_stated_elsewhere(extract, tmp_path, cells):
    spoil(extract / "claim_diagnosis.csv", 2, lambda _: cells)
    called = cpcds("run", extract, "--to", tmp_path / "tree", "--workers", "1")
    assert called.code == 4
    assert "1 rows cannot be read" in called.sentence
    assert "claim_diagnosis.csv: 1" in called.sentence
    assert not (tmp_path / "tree" / "current.json").exists()
    stated = "claim_diagnosis.csv: 1 rows cannot be read or have no owner, so it is unknown what"
    for command, option in (("convert", "--out"), ("validate", "--report")):
        said = done(cpcds(command, extract, option, tmp_path / command, "--workers", "1"))
        assert stated in said.out.replace("\n", " ")
    report = json.loads((tmp_path / "validate" / "report" / "report.json").read_bytes())
    unowned = {one["name"]: one["unowned_rows"] for one in report["extract"]["files"]}
    assert {name: count for name, count in unowned.items() if count} == {"claim_diagnosis.csv": 1}
