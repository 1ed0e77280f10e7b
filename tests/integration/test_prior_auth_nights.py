"""Nights of prior authorizations: what changes is worked on, and nothing else."""

import csv
import json
from dataclasses import replace

import pytest

from etl.model.canonical_tables import TABLES
from tests.given.tables import read_tables
from tests.integration.nights import worked_on
from tests.integration.test_remembering import run_with_and_without_memory

pytestmark = pytest.mark.slow

HEADER, LINE, DIAGNOSIS = "prior_auth", "prior_auth_line", "prior_auth_diagnosis"


def written(folder, rows, as_of):
    """Write an extract, and return where."""
    folder.mkdir()
    for name, of_table in rows.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, TABLES[name].names)
            writer.writeheader()
            writer.writerows(of_table)
    manifest = {"layout": "cpcds", "as_of": as_of}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def lose_prior_auth(rows):
    del rows[HEADER][1], rows[DIAGNOSIS][1]
    rows[LINE] = [row for row in rows[LINE] if row["prior_auth_id"] != "P2"]


CHANGES = {
    "decided otherwise": lambda rows: rows[HEADER][1].update(
        review_action="A3", denial_reason="50"
    ),
    "line changed": lambda rows: rows[LINE][2].update(units_requested="6"),
    "line lost": lambda rows: rows[LINE].pop(3),
    "diagnosis lost": lambda rows: rows[DIAGNOSIS].pop(1),
    "lost": lose_prior_auth,
    "another one": lambda rows: rows[HEADER].append({**rows[HEADER][1], "prior_auth_id": "P9"}),
    "for a drug": lambda rows: rows[HEADER][1].update(is_drug="Y"),
    "claim of another member": lambda rows: rows[HEADER][1].update(claim_ids="K1"),
    "rejected": lambda rows: rows[HEADER][1].update(type="unheard of"),
}
"""What happens to the prior authorization of member M2 from one night to the next."""


@pytest.mark.parametrize("name", CHANGES)
def test_a_night_in_which_one_changes_is_that_of_a_full_run(payer, tmp_path, name):
    payer.changed = {"limits": {"rejected_claims": 1}}
    first = written(tmp_path / "first", read_tables(__file__), "2026-01-01")
    rows = read_tables(__file__)
    CHANGES[name](rows)
    second = written(tmp_path / "second", rows, "2026-01-02")
    run_with_and_without_memory(payer, first, second, tmp_path)
    other = replace(payer, target=tmp_path / "other")
    other.run(first)
    assert worked_on(other, second) == (1, 2)
