"""Rows with the same key: which stays, which is superseded, when none may stay."""

import pyarrow as pa
import pytest

from etl.quality.check import check
from etl.quality.checks.frames import NoKeys, RuleContext, read_directory
from etl.quality.totals.counts import RowCounts
from etl.rows import no_findings
from tests.unit.quality.world import (
    LISTED,
    KeysInMemory,
    World,
    accepted,
    found,
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


def test_identical_rows_stay_once_and_the_rest_is_superseded():
    checked = run(twice({}))
    assert ("duplicate-identical", "claim", 8, None) in found(checked)
    assert checked.counts["claim"] == RowCounts(7, 6, 0, 1)
    assert accepted(checked, "claim", "claim_id").count("K2") == 1


def test_rows_that_differ_in_spelling_only_are_identical():
    checked = run(twice({"paid_date": "20240312", "amount_submitted": "100", "record_action": "U"}))
    assert checked.counts["claim"] == RowCounts(7, 6, 0, 1)


def test_the_latest_row_stays_where_the_source_tells_which_it_is():
    checked = run(
        twice(
            {"paid_date": "2024-03-13", "last_updated": "2024-03-13T00:30:00+02:00"},
            {"last_updated": "2024-03-12T23:00:00Z"},
        )
    )
    # 00:30 at +02:00 is 22:30 UTC the day before: the first row is the later one.
    assert ("duplicate-older", "claim", 8, None) in found(checked)
    assert accepted(checked, "claim", "paid_date")[2] == "2024-03-12"
    assert checked.counts["claim"] == RowCounts(7, 6, 0, 1)


def test_fractions_of_a_second_decide_too():
    checked = run(
        twice(
            {
                "paid_date": "2024-03-13",
                "last_updated": "2024-03-12T23:00:00.1234567891Z"[:-2] + "Z",
            },
            {"last_updated": "2024-03-12T23:00:00.12345678Z"},
        )
    )
    assert ("duplicate-older", "claim", 4, None) in found(checked)


@pytest.mark.parametrize(
    ("second", "first"),
    [
        ({"paid_date": "2024-03-13"}, {}),
        ({"paid_date": "2024-03-13", "last_updated": "2024-03-13"}, {}),
        ({"paid_date": "2024-03-13", "last_updated": "2024-03-13"}, {"last_updated": "2024-03-13"}),
        (
            {"paid_date": "2024-03-13", "last_updated": "2024-03-13"},
            {"last_updated": "2024-03-13T00:00:00Z"},
        ),
    ],
    ids=["no stamps", "one stamp", "equal stamps", "a date is its midnight"],
)
def test_rows_that_contradict_each_other_are_all_rejected(second, first):
    checked = run(twice(second, first))
    assert {
        ("claim", 4, "duplicate-conflict"),
        ("claim", 8, "duplicate-conflict"),
        ("claim_line", 4, "hangs-on-rejected"),
    } <= rejected(checked)
    assert "K2" not in accepted(checked, "claim", "claim_id")
    assert "K2" not in accepted(checked, "claim_line", "claim_id")


def test_a_delete_and_an_add_of_one_claim_contradict_each_other():
    checked = run(twice({"record_action": "D"}))
    assert ("claim", 8, "duplicate-conflict") in rejected(checked)


def test_a_claim_of_two_members_is_shown_to_neither():
    newer = {"member_id": "M2", "coverage_id": "C2", "last_updated": "2024-04-01"}
    checked = run(twice(newer, {"last_updated": "2024-03-01"}))
    assert {("claim", 4, "claim-of-two-members"), ("claim", 8, "claim-of-two-members")} <= rejected(
        checked
    )
    assert "K2" not in accepted(checked, "claim", "claim_id")


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


def test_lines_of_one_claim_that_contradict_each_other_take_the_claim_along():
    of = world()
    of["claim_line"].append(of["claim_line"][2] | {"units": "2"})
    checked = run(of)
    assert ("claim", 4, "line-rejected") in rejected(checked)
    assert checked.counts["claim_line"] == RowCounts(7, 5, 2, 0)


def test_a_superseded_line_is_not_counted_into_the_claim():
    of = world()
    of["claim_line"].append(dict(of["claim_line"][2]))
    checked = run(of)
    assert {rule for rule, *_ in found(checked)} == {"duplicate-identical"}


def test_three_part_keys_are_told_apart():
    of = world()
    base = of["claim_adjustment"][0]
    of["claim_line"].append(of["claim_line"][2] | {"line_number": "2"})
    of["claim_adjustment"] += [
        base | {"sequence": "2"},
        base | {"line_number": "2"},
        base | {"line_number": "2", "sequence": "2"},
    ]
    for amount in [name for name in of["claim_line"][-1] if name.startswith("amount_")]:
        del of["claim_line"][-1][amount]
    assert found(run(of)) == set()


def test_the_directory_is_checked_alone():
    of: World = {
        "organization": [
            {"organization_id": "O1", "name": "Clinic", "npi": "1234567893"},
            {"organization_id": "O2", "name": "Clinic", "npi": "1234567890"},
        ],
        "practitioner": [
            {"practitioner_id": "D1", "family_name": "Roe", "organization_id": "O9"},
            {"practitioner_id": "D2", "npi": "123"},
        ],
    }
    both = tables(of)
    directory = read_directory(both["organization"], both["practitioner"])
    checked = check(both, no_findings(), RuleContext(standard_book(), NoKeys(), directory))
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
    both = tables(
        {
            "organization": [
                {"organization_id": f"O{n}", "name": "Clinic", "npi": npi}
                for n, npi in enumerate(cells)
            ]
        }
    )
    directory = read_directory(both["organization"], both["practitioner"])
    checked = check(both, no_findings(), RuleContext(standard_book(), NoKeys(), directory))
    assert found(checked) == {
        ("npi-unassigned", "organization", 4, "npi"),
        ("npi", "organization", 5, "npi"),
        ("npi-unassigned", "organization", 6, "npi"),
    }
    assert accepted(checked, "organization", "npi") == [*cells[:3], None, cells[4]]


def test_a_tax_id_has_nine_digits():
    numbers = ["12-3456789", "123456789", "123-45-6789", "1-2345678", "12345678"]
    both = tables({"organization": [{"organization_id": n, "tax_id": n} for n in numbers]})
    directory = read_directory(both["organization"], both["practitioner"])
    checked = check(both, no_findings(), RuleContext(standard_book(), NoKeys(), directory))
    assert {row for rule, _, row, _ in found(checked) if rule == "tax-id-shape"} == {5, 6}


def test_an_npi_that_names_several_rows_is_found():
    first, second, third = "1234567893", "2234567891", "1111111112"
    both = tables(
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
    directory = read_directory(both["organization"], both["practitioner"])
    checked = check(both, no_findings(), RuleContext(standard_book(), NoKeys(), directory))
    assert {finding for finding in found(checked) if finding[0] == "npi-of-several"} == {
        ("npi-of-several", table, row, "npi")
        for table in ("organization", "practitioner")
        for row in (2, 3, 6)
    }


def test_the_directory_knows_ids_and_npis():
    assert LISTED.holds(pa.array(["P1", "X", None]), ["organization"]).tolist() == [
        True,
        False,
        False,
    ]
