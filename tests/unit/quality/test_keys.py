"""Rows with the same key: which stays, which is superseded, when none may stay."""

import pyarrow as pa

from etl.quality.check import check
from etl.quality.checks.frames import NoKeys, RuleContext, read_directory
from etl.quality.totals.counts import RowCounts
from etl.rows import no_findings
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


def run_directory(of):
    """Check rows of the directory."""
    both = tables(of)
    directory = read_directory(both["organization"], both["practitioner"])
    return check(both, no_findings(), RuleContext(standard_book(), NoKeys(), directory))


def test_the_directory_is_checked_alone():
    of = {
        "organization": [
            {"organization_id": "O1", "name": "Clinic", "npi": "1234567893"},
            {"organization_id": "O2", "name": "Clinic", "npi": "1234567890"},
        ],
        "practitioner": [
            {"practitioner_id": "D1", "family_name": "Roe", "organization_id": "O9"},
            {"practitioner_id": "D2", "npi": "123"},
        ],
    }
    checked = run_directory(of)
    assert found(checked) == {
        ("npi", "organization", 3, "npi"),
        ("npi", "practitioner", 3, "npi"),
        ("practitioner-organization-unknown", "practitioner", 2, "organization_id"),
        ("practitioner-without-name", "practitioner", 3, None),
    }
    assert accepted(checked, "organization", "npi") == ["1234567893", None]
    assert checked.counts["organization"] == RowCounts(2, 2, 0, 0)


def test_an_npi_of_an_unassigned_range_is_warned_of_and_stays():
    cells = ["1234567893", "2234567891", "3234567899", "3234567893", "9234567896"]
    rows = [
        {"organization_id": f"O{n}", "name": "Clinic", "npi": npi} for n, npi in enumerate(cells)
    ]
    checked = run_directory({"organization": rows})
    assert found(checked) == {
        ("npi-unassigned", "organization", 4, "npi"),
        ("npi", "organization", 5, "npi"),
        ("npi-unassigned", "organization", 6, "npi"),
    }
    assert accepted(checked, "organization", "npi") == [*cells[:3], None, cells[4]]


def test_a_tax_id_has_nine_digits():
    numbers = ["12-3456789", "123456789", "123-45-6789", "1-2345678", "12345678"]
    checked = run_directory(
        {"organization": [{"organization_id": n, "tax_id": n} for n in numbers]}
    )
    assert {row for rule, _, row, _ in found(checked) if rule == "tax-id-shape"} == {5, 6}


def test_an_npi_that_names_several_rows_is_found():
    first, second, third = "1234567893", "2234567891", "1111111112"
    checked = run_directory(
        {
            table: [
                {key: "A", "npi": first},
                {key: "B", "npi": first},
                {key: second, "npi": second},  # its own key
                {key: third},
                {key: "C", "npi": third},
            ]
            for table, key in (
                ("organization", "organization_id"),
                ("practitioner", "practitioner_id"),
            )
        }
    )
    assert {finding for finding in found(checked) if finding[0] == "npi-of-several"} == {
        ("npi-of-several", table, row, "npi")
        for table in ("organization", "practitioner")
        for row in (2, 3, 6)
    }


def test_the_directory_knows_ids_and_npis():
    assert LISTED.contains(pa.array(["P1", "X", None]), ["organization"]).tolist() == [
        True,
        False,
        False,
    ]
