"""A unit: two members from rows to outcome, with nothing known before and with a night before."""

from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pytest

from etl.pipeline.progress import StageAdvanced
from tests.unit.pipeline.small_run import (
    OF_M2,
    TASK,
    ClaimsOf,
    cut,
    night_after,
    process,
    texts,
    two_members,
)

EVERYTHING = {"Patient": 2, "Coverage": 2, "ExplanationOfBenefit": 6}
PLACES = [("file", "ascending"), ("row", "ascending"), ("rule", "ascending")]


def assert_same(mine, other):
    """Check that outcomes say the same, in whatever order findings come."""
    assert mine.ledger == other.ledger
    assert +Counter(mine.resources) == +Counter(other.resources)
    assert (mine.missing, mine.rows) == (other.missing, other.rows)
    one, two = mine.checked, other.checked
    assert one.findings.sort_by(PLACES) == two.findings.sort_by(PLACES)
    assert (one.counts, one.money, one.filled) == (two.counts, two.money, two.filled)


def test_all_members_are_processed_where_nothing_is_kept(tmp_path):
    result = process(cut(two_members(), tmp_path))
    outcome = result.outcome
    assert +Counter(outcome.resources) == EVERYTHING
    assert texts(result) == {"made": EVERYTHING, "kept": []}
    assert outcome.ledger is None
    assert outcome.reused == 0
    assert {name: outcome.rows[name] for name in ("member", "coverage", "claim")} == {
        "member": 2,
        "coverage": 2,
        "claim": 6,
    }
    assert {(one.resource, one.key) for one in outcome.missing} == {
        ("Practitioner", "1234567893"),
        ("Organization", "1234567893"),
    }
    assert outcome.checked.tables == {}, "rows stay where they are"


def test_a_unit_reports_its_rows_as_it_gets_on(tmp_path):
    rows, steps = cut(two_members(), tmp_path), list[StageAdvanced]()
    result = process(rows, emit=steps.append)
    assert len(steps) > 2
    assert sum(step.count for step in steps) == sum(result.outcome.rows.values()) > 0


def test_rejected_rows_are_kept_as_they_were_where_they_are_wanted(tmp_path):
    of = two_members()
    of["claim"][OF_M2] |= {"statement_from_date": " 2024-13-01 "}
    rows = cut(of, tmp_path)
    result = process(rows, task=replace(TASK, keeps_rejected=True))
    names = {f"rejected-{rows.facts.names.index(name):05d}": name for name in rows.facts.names}
    kept = {
        names[name]: pa.ipc.open_stream(b"".join(pieces)).read_all()
        for name, pieces in result.files.items()
        if name in names
    }
    assert sorted(kept) == ["claim.csv", "claim_line.csv", "claim_tooth.csv"]
    (claim,) = kept["claim.csv"].select(["claim_id", "statement_from_date", "_row"]).to_pylist()
    assert claim == {"claim_id": "K4", "statement_from_date": " 2024-13-01 ", "_row": 2 + OF_M2}
    assert result.outcome.resources["ExplanationOfBenefit"] == 5


def test_unchanged_members_are_reused_to_the_same_outcome(store, tmp_path):
    rows = cut(two_members(), tmp_path)
    first = process(rows, store)
    night = process(rows, store, night_after(first, rows))
    assert night.outcome.reused == 2
    assert texts(night)["made"] == {}
    assert len(texts(night)["kept"]) == 2
    assert_same(night.outcome, first.outcome)


@pytest.mark.slow
def test_a_changed_member_is_processed_and_the_other_reused(store, tmp_path):
    first = process(cut(two_members(), tmp_path / "first"), store)
    of = two_members()
    of["claim"][OF_M2] |= {"paid_date": "2024-03-13"}
    rows = cut(of, tmp_path / "night")
    night, anew = process(rows, store, night_after(first, rows)), process(rows, store)
    assert night.outcome.reused == 1
    assert texts(night)["made"] == {"Patient": 1, "Coverage": 1, "ExplanationOfBenefit": 1}
    assert len(texts(night)["kept"]) == 1
    assert anew.outcome.ledger != first.outcome.ledger
    assert_same(night.outcome, anew.outcome)


@pytest.mark.slow
@pytest.mark.parametrize("member", ["M1", "M2"])
def test_members_whose_rows_are_wanted_are_not_reused(store, tmp_path, member):
    rows = cut(two_members(), tmp_path)
    task = replace(TASK, row_output=ClaimsOf(member))
    first = process(rows, store, task)
    mine = ["K0", "K1", "K2", "K3", "K5"] if member == "M1" else ["K4"]
    assert texts(first)["claims"] == mine
    night = process(rows, store, replace(night_after(first, rows), row_output=task.row_output))
    assert night.outcome.reused == 1
    assert texts(night)["claims"] == mine
    assert texts(night)["made"]["ExplanationOfBenefit"] == len(mine)
    alone = process(rows, task=task)
    assert texts(alone)["claims"] == mine, "with no store as well"


def test_partitions_with_much_to_process_are_units_of_their_own(store, tmp_path):
    rows = cut(two_members(), tmp_path, count=8)
    steps = list[StageAdvanced]()
    assert process(rows, store, unit=range(8), emit=steps.append) is None
    assert not steps
    assert list(store.list()) == [], "nothing was done"
    parts = [process(rows, store, unit=range(index, index + 1)) for index in range(8)]
    resources = [part.outcome.resources for part in parts if part is not None]
    assert sum(found.get("ExplanationOfBenefit", 0) for found in resources) == 6
    assert len(resources) == 8


def test_partitions_with_little_to_process_are_processed_together(store, tmp_path):
    first = process(cut(two_members(), tmp_path / "first"), store)
    rows = cut(two_members(), tmp_path / "night", count=2)
    night = process(rows, store, night_after(first, rows), unit=range(2))
    assert night.outcome.reused == 2
    assert night.outcome.ledger == first.outcome.ledger
