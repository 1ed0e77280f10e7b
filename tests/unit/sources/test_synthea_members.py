"""The dialect synthea-members on its real files, where they are at hand."""

import csv
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from etl.sources.extract.opening import open_extract
from tests.unit.sources.dialects import shipped_layouts
from tests.unit.sources.extracts import findings_of, read, rows_of

REAL = Path(__file__).parents[4] / "shared/data/cpcds"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not REAL.exists(), reason="the real files are not beside the project"),
]


@pytest.fixture
def partitions(request, tmp_path):
    return read(REAL / request.param, tmp_path / "work", 4, layouts=shipped_layouts())


synthea = pytest.mark.parametrize("partitions", ["synthea-members-layout"], indirect=True)
big_query = pytest.mark.parametrize("partitions", ["google-bigquery-layout"], indirect=True)


@pytest.mark.parametrize("folder", ["synthea-members-layout", "google-bigquery-layout"])
def test_every_file_and_header_is_known(folder):
    extract = open_extract(REAL / folder, shipped_layouts())
    assert extract.layout.name == "synthea-members"
    assert extract.findings.num_rows == 0


@synthea
def test_all_rows_are_read_and_what_they_lack_is_noticed(partitions):
    row_counts = {
        "member": 1,
        "coverage": 55,
        "claim": 52,
        "claim_line": 183,
        "organization": 3,
        "practitioner": 3,
    }
    assert {table: len(rows_of(partitions, table)) for table in row_counts} == row_counts
    claims = rows_of(partitions, "claim")
    types = Counter(claim["claim_type"] for claim in claims)
    assert types == {"inpatient": 38, "outpatient": 5, "pharmacy": 9}
    assert {claim["payer_id"] for claim in claims} == {"b1c428d6-4f07-31e0-90f0-68ffa6ff8c76"}
    coverages = {row["coverage_id"] for row in rows_of(partitions, "coverage")}
    assert {claim["coverage_id"] for claim in claims} <= coverages
    assert Counter((rule, table) for rule, table, *_ in findings_of(partitions)) == {
        ("dialect-foreign-code-system", "claim_diagnosis"): 52,
        ("dialect-foreign-code-system", "claim_line"): 128 + 12,
        ("dialect-rounded-amount", "claim"): 118,
        ("dialect-sentinel-date", "claim_line"): 9,
        ("dialect-sentinel-date", "coverage"): 55,
        ("dialect-stand-in-value", "claim"): 52,
        ("dialect-word-without-code", "claim_line"): 183,
    }


@synthea
def test_every_source_row_can_be_had_as_it_was(partitions):
    path = REAL / "synthea-members-layout/CPCDS_Claims.csv"
    with path.open(encoding="utf-8", newline="") as stream:
        source = list(csv.DictReader(stream))
    found = []
    for index in range(partitions.facts.count):
        rows = partitions.raw_rows(index).get("CPCDS_Claims.csv")
        found += rows.to_pylist() if rows is not None else []
    found.sort(key=lambda row: row["_row"])
    assert [row["_row"] for row in found] == list(range(2, 185))
    assert [{k: row[k] or "" for k in source[0]} for row in found] == source


@big_query
def test_two_claims_of_one_number_stay_two_and_missing_members_are_known(partitions):
    claims = rows_of(partitions, "claim")
    numbers = Counter(claim["claim_id"] for claim in claims)
    assert sorted(numbers.values()) == [1, 1, 2]
    assert len(rows_of(partitions, "claim_line")) == 13
    assert partitions.facts.rows_read["Member_medical_record_number.csv"] == 19
    members = pa.array([claim["member_id"] for claim in claims])
    assert sum(partitions.keys.exists("member", members).to_pylist()) == 1
    coverages = pa.array([claim["coverage_id"] for claim in claims])
    assert not any(partitions.keys.exists("coverage", coverages).to_pylist())
    assert all("payer_id" not in claim for claim in claims)
