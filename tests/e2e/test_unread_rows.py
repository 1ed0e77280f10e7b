"""Rows that cannot be read take along what they belong to, or stop the run."""

import csv
import json

import pytest

from tests.e2e.commands import cpcds, done
from tests.unit.sources.extracts import CLAIM, COVERAGE, LINE, MEMBER, write_extract

K1 = {**CLAIM, "claim_id": "K1", "amount_submitted": "1000.00", "billing_provider_id": "P1"}
K2 = {**K1, "claim_id": "K2", "amount_submitted": "50.00"}
LINES = [
    {**LINE, "claim_id": "K1", "line_number": "1", "service_code": "99213"}
    | {"amount_submitted": "100.00"},
    {**LINE, "claim_id": "K1", "line_number": "2", "service_code": "80053"}
    | {"amount_submitted": "900.00"},
    {**LINE, "claim_id": "K2", "line_number": "1", "service_code": "99213"}
    | {"amount_submitted": "50.00"},
]
DIAGNOSES = [
    {"claim_id": claim, "sequence": "1", "code": "I10", "type": "principal"}
    for claim in ("K1", "K2")
]
PROVIDER = {"organization_id": "P1", "name": "Clinic", "npi": "1234567893"}
WHOLE = {
    "member": [MEMBER],
    "coverage": [COVERAGE],
    "claim": [K1, K2],
    "claim_line": LINES,
    "claim_diagnosis": DIAGNOSES,
    "organization": [PROVIDER],
}


def torn(folder, table, row, how):
    """Spoil a row of a table: one cell too many, one too few, or a key that cannot be read."""
    path = folder / f"{table}.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    headers, cells = lines[0].split(","), lines[row - 1].split(",")
    at = headers.index("claim_id")
    lines[row - 1] = {
        "more": ",".join([*cells[:2], "split", *cells[2:]]),
        "less": ",".join(cells[:-1]),
        "no-key": ",".join(["?", "?", *cells[1:]]),
        "empty-key": ",".join([*cells[:at], "", *cells[at + 1 :]]),
        "trailer": "TRAILER",
    }[how]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def extract(tmp_path):
    return write_extract(tmp_path / "extract", WHOLE)


def validated(extract, folder, **environment):
    """Return the report on an extract."""
    done(cpcds("validate", extract, "--report", folder, "--workers", "1", **environment))
    return json.loads((folder / "report" / "report.json").read_bytes())


def quarantine(folder):
    """Return file:row -> rules of the quarantine."""
    found = {}
    for path in sorted((folder / "quarantine").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found[f"{path.name}:{row['cpcds_row']}"] = row["cpcds_rules"]
    return found


def converted(extract, out):
    """Return the EOBs of an extract."""
    done(cpcds("convert", extract, "--out", out, "--workers", "1"))
    path = out / "ExplanationOfBenefit.ndjson"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def numbers(eobs):
    return sorted(one["identifier"][0]["value"] for one in eobs)


@pytest.mark.parametrize(
    ("table", "row", "how"), [("claim_line", 3, "more"), ("claim_diagnosis", 2, "less")]
)
def test_a_claim_is_rejected_with_a_row_of_it_that_cannot_be_read(
    extract, tmp_path, table, row, how
):
    torn(extract, table, row, how)
    assert numbers(converted(extract, tmp_path / "out")) == ["K2"]
    report = validated(extract, tmp_path)
    rules = quarantine(tmp_path)
    assert rules[f"{table}.ragged.csv:{row}"] == "ragged-row"
    assert "ragged-row" in rules["claim.csv:2"].split(";")
    assert "ragged-row" in rules["claim_line.csv:2"].split(";")
    assert not any(name in rules for name in ("claim.csv:3", "claim_line.csv:4"))
    (ragged,) = (one for one in report["rules"] if one["rule"] == "ragged-row")
    assert ragged["rejected_rows"] == 4
    assert sum(one["rejected_rows"] for one in report["rules"]) == sum(
        one["quarantined"] for one in report["tables"].values()
    )


def published(extract, target, **environment):
    return cpcds("run", extract, "--to", target, "--workers", "1", **environment)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "how"),
    [("claim_diagnosis", "trailer"), ("claim_line", "no-key"), ("claim_line", "empty-key")],
)
def test_a_row_that_names_no_claim_stops_a_run_and_is_stated_elsewhere(
    extract, tmp_path, table, how
):
    torn(extract, table, 2, how)
    called = published(extract, tmp_path / "tree")
    assert called.code == 4
    assert "1 rows cannot be read" in called.sentence
    assert f"{table}.csv: 1" in called.sentence
    assert not (tmp_path / "tree" / "current.json").exists()
    stated = (
        f"{table}.csv: 1 rows cannot be read or have no owner, so it is unknown what they belong to"
    )
    for command, option in (("convert", "--out"), ("validate", "--report")):
        said = done(cpcds(command, extract, option, tmp_path / command, "--workers", "1"))
        assert stated in said.out.replace("\n", " ")
    report = json.loads((tmp_path / "validate" / "report" / "report.json").read_bytes())
    unowned = {one["name"]: one["unowned_rows"] for one in report["extract"]["files"]}
    assert unowned[f"{table}.csv"] == 1
    assert sum(unowned.values()) == 1
