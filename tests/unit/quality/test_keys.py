"""Rows with the same key: which stays, which is superseded, when none may stay."""

import pyarrow as pa
import pytest

from etl.quality.check import check
from etl.quality.checks.frames import NoKeys, RuleContext, read_directory
from etl.rows import no_findings
from tests.given.tables import table
from tests.unit.quality.world import (
    LISTED,
    KeysInMemory,
    accepted,
    assert_outcome,
    found,
    outcomes,
    rejected,
    run,
    standard_book,
    tables,
    world,
)


def twice(change, first=None):
    """Return a world in which claim K2 comes a second time, changed."""
    of = world()
    original = of["claim"][2]
    of["claim"].append(original | change)
    of["claim"][2] = original | (first or {})
    return of


@outcomes(__file__)
def test_of_rows_with_one_key_the_latest_stays_or_none(outcome):
    assert_outcome(outcome)


def test_a_claim_of_a_member_in_another_partition_is_shown_to_neither():
    known = KeysInMemory(shared_claims=frozenset({"K2"}))
    checked = run(world(), known=known)
    assert ("claim", 4, "claim-of-two-members") in rejected(checked)
    assert ("claim_care_team", 2, "hangs-on-rejected") in rejected(checked)


def test_a_coverage_of_two_members_is_nobodys():
    known = KeysInMemory(shared_coverages=frozenset({"C1"}))
    checked = run(world(), known=known)
    assert ("coverage", 2, "coverage-of-two-members") in rejected(checked)
    assert checked.counts["claim"].published == 0


@pytest.mark.parametrize(*table(__file__, "directories"))
def test_the_directory_is_checked_alone(rows, findings, published):
    both = tables(rows)
    directory = read_directory(both["organization"], both["practitioner"])
    checked = check(both, no_findings(), RuleContext(standard_book(), NoKeys(), directory))
    assert found(checked) == {
        (rule, name, row, column or None) for rule, name, row, column in findings
    }
    for name, column, cells in published or ():
        assert accepted(checked, name, column) == [cell or None for cell in cells]
    assert {name: checked.counts[name].published for name in rows} == {
        name: len(of_table) for name, of_table in rows.items()
    }


def test_the_directory_knows_ids_and_npis():
    assert LISTED.contains(pa.array(["P1", "X", None]), ["organization"]).tolist() == [
        True,
        False,
        False,
    ]
