"""The dialect synthea-members: on invented files, and on the real ones where they are at hand."""

import csv
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from etl.sources.extract.opening import open_extract
from tests.unit.sources.dialects import shipped_layouts
from tests.unit.sources.extracts import findings_of, read, rows_of
from tests.unit.sources.golden import as_text

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests/golden/layouts/synthea-members"
REAL = ROOT.parent / "shared/data/cpcds"
real = [
    pytest.mark.shared,
    pytest.mark.skipif(not REAL.exists(), reason="the real files are not beside the project"),
]


@pytest.fixture(scope="module")
def layouts():
    return shipped_layouts()


def test_invented_files_give_the_rows_that_were_written_down(tmp_path, layouts):
    """The case's README says what is in it. WRITE_GOLDEN=1 writes the rows anew."""
    got = as_text(read(GOLDEN / "input", tmp_path / "work", 1, layouts=layouts))
    expected = GOLDEN / "expected.ndjson"
    if os.environ.get("WRITE_GOLDEN") == "1":
        expected.write_text(got, encoding="utf-8")
    assert got.splitlines() == expected.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("count", [2, 5])
def test_the_number_of_partitions_does_not_show(tmp_path, layouts, count):
    one = as_text(read(GOLDEN / "input", tmp_path / "one", 1, layouts=layouts))
    many = as_text(read(GOLDEN / "input", tmp_path / "many", count, layouts=layouts))
    assert sorted(many.splitlines()) == sorted(one.splitlines())


def unused_or_used(layout, header, table):
    raw = layout.raw[table]
    used = set().union(*(spec.headers() for spec in layout.tables if spec.source == table))
    foreign = {
        pair
        for spec in layout.tables
        for columns in (spec.columns, *spec.rows)
        for column in columns.values()
        for pair in column.foreign()
    }
    known = raw.column(header)
    keys = (raw.member, raw.claim, raw.coverage)
    return known in used or known in raw.unused or known in keys or (table, known) in foreign


@pytest.mark.parametrize("folder", ["synthea-members-layout", "google-bigquery-layout"])
class TestRealFiles:
    pytestmark = real

    def test_every_header_is_used_or_unused_with_a_reason(self, folder, layouts):
        extract = open_extract(REAL / folder, layouts)
        assert extract.layout.name == "synthea-members"
        assert extract.findings.num_rows == 0
        for file in extract.files:
            assert file.columns
            for header in file.columns:
                assert unused_or_used(extract.layout, header, file.table), (file.name, header)

    def test_no_foreign_code_and_no_word_gets_into_a_code_column(self, folder, layouts, tmp_path):
        parts = read(REAL / folder, tmp_path / "work", 3, layouts=layouts)
        claims, lines = rows_of(parts, "claim"), rows_of(parts, "claim_line")
        assert rows_of(parts, "claim_diagnosis") == []
        assert all("service_code" not in line and "ndc" not in line for line in lines)
        assert all("benefit_payment_status" not in line for line in lines)
        for column, codes in {
            "claim_type": {"inpatient", "outpatient", "professional", "pharmacy"},
            "discharge_status": {"01"},
            "admission_type": {"9"},
            "point_of_origin": {"2", "9"},
            "payment_status": {"paid"},
            "billing_network_status": {"innetwork", "outofnetwork"},
            "payee_type": {"subscriber"},
        }.items():
            assert {claim[column] for claim in claims} <= codes
        (member,) = rows_of(parts, "member")
        assert member["state"] in ("MA", "CA")
        assert (member["race"], member["country"]) == ("2106-3", "US")
        for table in ("organization", "practitioner"):
            assert all("npi" not in row for row in rows_of(parts, table))

    def test_no_amount_has_more_than_cents_and_each_lost_fraction_is_told(
        self, folder, layouts, tmp_path
    ):
        parts = read(REAL / folder, tmp_path / "work", 2, layouts=layouts)
        written: dict[tuple[str, str], list[str]] = {}
        for table in ("claim", "claim_line"):
            for row in rows_of(parts, table):
                for column, text in row.items():
                    if column.startswith("amount_"):
                        written.setdefault((table, column), []).append(text)
        for texts in written.values():
            assert all(len(text.partition(".")[2]) <= 2 for text in texts)
        told = Counter(
            (table, column)
            for rule, table, _, _, column in findings_of(parts)
            if rule == "dialect-rounded-amount"
        )
        odd = cells_beyond_cents(REAL / folder)
        assert told["claim", "amount_noncovered"] == odd["Claim disallowed amount"] > 0
        assert told["claim", "amount_submitted"] == odd["Claim total submitted amount"]


def cells_beyond_cents(folder):
    """Per header, the claims whose amount has a third fraction digit that is not 0."""
    found: set[tuple[str, str, str]] = set()
    for path in sorted(folder.glob("*laim*.csv")):
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                cells = {name.replace("_", " "): text for name, text in row.items()}
                for name, text in cells.items():
                    if "amount" in name and text.partition(".")[2][2:].strip("0"):
                        claim = cells["Claim unique identifier"] + cells["Claim type"]
                        found.add((name, claim, text))
    return Counter(name for name, _, _ in found)


class TestSyntheaSample:
    pytestmark = real

    @pytest.fixture
    def parts(self, layouts, tmp_path):
        return read(REAL / "synthea-members-layout", tmp_path / "work", 4, layouts=layouts)

    def test_all_of_it_is_there(self, parts):
        expected = {
            "member": 1,
            "coverage": 55,
            "claim": 52,
            "claim_line": 183,
            "organization": 3,
            "practitioner": 3,
        }
        assert {table: len(rows_of(parts, table)) for table in expected} == expected
        types = Counter(claim["claim_type"] for claim in rows_of(parts, "claim"))
        assert types == {"inpatient": 38, "outpatient": 5, "pharmacy": 9}

    def test_every_claim_has_its_payer_by_way_of_its_coverage(self, parts):
        claims = rows_of(parts, "claim")
        assert {claim["payer_id"] for claim in claims} == {"b1c428d6-4f07-31e0-90f0-68ffa6ff8c76"}
        coverages = {row["coverage_id"] for row in rows_of(parts, "coverage")}
        assert {claim["coverage_id"] for claim in claims} <= coverages

    def test_what_was_noticed(self, parts):
        told = Counter((rule, table) for rule, table, *_ in findings_of(parts))
        assert told == {
            ("dialect-foreign-code-system", "claim_diagnosis"): 52,
            ("dialect-foreign-code-system", "claim_line"): 128 + 12,
            ("dialect-rounded-amount", "claim"): 118,
            ("dialect-sentinel-date", "claim_line"): 9,
            ("dialect-sentinel-date", "coverage"): 55,
            ("dialect-stand-in-value", "claim"): 52,
            ("dialect-word-without-code", "claim_line"): 183,
        }

    def test_every_source_row_can_be_had_as_it_was(self, parts):
        path = REAL / "synthea-members-layout/CPCDS_Claims.csv"
        with path.open(encoding="utf-8", newline="") as stream:
            source = list(csv.DictReader(stream))
        found: list[dict[str, Any]] = []
        for index in range(parts.facts.count):
            rows = parts.raw_rows(index).get("CPCDS_Claims.csv")
            found += rows.to_pylist() if rows is not None else []
        found.sort(key=lambda row: row["_row"])
        assert [row["_row"] for row in found] == list(range(2, 185))
        assert [{k: row[k] or "" for k in source[0]} for row in found] == source


class TestBigQuerySample:
    pytestmark = real

    def test_two_claims_of_one_number_stay_two(self, layouts, tmp_path):
        parts = read(REAL / "google-bigquery-layout", tmp_path / "work", 4, layouts=layouts)
        claims = rows_of(parts, "claim")
        numbers = Counter(claim["claim_id"] for claim in claims)
        assert sorted(numbers.values()) == [1, 1, 2]
        assert len(rows_of(parts, "claim_line")) == 13
        assert parts.facts.rows_read["Member_medical_record_number.csv"] == 19

    def test_the_members_and_coverages_that_are_missing_are_known_to_be(self, layouts, tmp_path):
        parts = read(REAL / "google-bigquery-layout", tmp_path / "work", 4, layouts=layouts)
        claims = rows_of(parts, "claim")
        members = pa.array([claim["member_id"] for claim in claims])
        assert sum(parts.keys.exists("member", members).to_pylist()) == 1
        coverages = pa.array([claim["coverage_id"] for claim in claims])
        assert not any(parts.keys.exists("coverage", coverages).to_pylist())
        assert all("payer_id" not in claim for claim in claims)
