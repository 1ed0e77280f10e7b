"""Whatever a payer leaves out, the certificate expects what the mapping publishes."""

import csv
import json
from random import Random

import pytest

from etl.certificate.certificate import broken_files, broken_sums
from etl.model.canonical_tables import AMOUNT_COLUMNS
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from tests.golden.mapping.everything import everything
from tests.integration.certified import Unit

NEEDED = {"claim_line": {"revenue_code", "service_code", "ndc"}, "claim_diagnosis": {"code"}}
"""Columns without which a claim is rejected; dropped less often than others."""
CENTS = ("0.00", "-3.10", "12.50", "100", "7.5", "20.00")


def write_extract(rows, folder):
    folder.mkdir()
    for name, table in TABLES.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, table.names, restval="")
            writer.writeheader()
            writer.writerows(rows[name])
    (folder / "manifest.json").write_text(json.dumps({"layout": "cpcds", "as_of": "2026-01-01"}))
    return folder


def of_claim(rows, claim):
    return {
        name: [dict(row) for row in of_table if row.get("claim_id") == claim]
        for name, of_table in rows.items()
        if name == "claim" or name.startswith("claim_")
    }


def leave_out_amounts(row, random):
    """Leave out all amounts of a row, most of them, a few or none."""
    share = random.choice((0, 0.3, 0.9, 1, 1))
    for column in AMOUNT_COLUMNS:
        row[column] = "" if random.random() < share else random.choice(CENTS)


def leave_out(rows, random):
    """Return the rows of a claim without some of its lines, child rows and cells."""
    count = random.choice((0, 1, 1, 1, 2, 2))
    lines = [row["line_number"] for row in rows["claim_line"]][:count]
    dropped = random.choice((0.0, 0.2, 0.6, 1.0))
    left = {}
    for name, of_table in rows.items():
        is_child = name not in {"claim", "claim_line", "claim_diagnosis"}
        needed = {*TABLES[name].key, *TABLES[name].required, "line_number"}
        left[name] = [
            {
                column: cell
                for column, cell in row.items()
                if column in needed
                or random.random() >= dropped / (4 if column in NEEDED.get(name, ()) else 1)
            }
            for row in of_table
            if (not row.get("line_number") or row["line_number"] in lines)
            and not (is_child and random.random() < dropped / 2)
        ]
    for row in (*left["claim"], *left["claim_line"]):
        leave_out_amounts(row, random)
    for row in (*left["claim_other_payer"], *left["claim_adjustment"]):
        if random.random() < 0.3 and "line_number" not in TABLES["claim_adjustment"].key:
            row["line_number"] = ""
        for column in ("amount_priorpayerpaid", "amount"):
            if column in row:
                row[column] = random.choice(("", *CENTS))
    return left


def with_absence(random, copies):
    """Return an extract's rows in which every claim lacks something else."""
    rows = {name: [] for name in TABLES}
    for copy in range(copies):
        complete = everything(f"-{copy}")
        claims = [row["claim_id"] for row in complete["claim"]]
        for name, of_table in complete.items():
            if not name.startswith("claim"):
                rows[name] += of_table
        for claim in claims:
            for name, of_table in leave_out(of_claim(complete, claim), random).items():
                rows[name] += of_table
    return rows


@pytest.mark.parametrize(
    "seed",
    [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))]
    + [pytest.param(seed, marks=pytest.mark.long) for seed in range(6, 60)],
)
def test_what_claims_lack_makes_no_difference(seed, tmp_path):
    rows = with_absence(Random(seed), 12)
    found = Unit.read(write_extract(rows, tmp_path / "extract"), tmp_path / "work").outcome()
    assert (found.wrong, found.facts) == (0, ())
    assert broken_sums(found.certificate) == []
    assert broken_files(found.certificate) == []
    assert found.certificate.read.counts["claim"] > 20
