"""Behind a sum of money stand so many claims: not rows, and not lines."""

from etl.quality.totals.money import MoneyKey, MoneyTotals
from tests.unit.quality.world import run, world


def claims(of, level="claim"):
    """Return the claims with a submitted amount: published, quarantined, superseded, net."""
    each = run(of).money.get(MoneyKey(level, "professional", "submitted"), MoneyTotals())
    return (
        each.published_claims,
        each.quarantined_claims,
        each.superseded_claims,
        each.net_claims,
    )


def test_each_sum_of_two_partitions_is_added_to_its_like():
    units, tens = MoneyTotals(*range(1, 10)), MoneyTotals(*range(10, 100, 10))
    assert units + tens == MoneyTotals(11, 22, 33, 44, 55, 66, 77, 88, 99)


def test_a_claim_counts_where_its_amount_does():
    assert claims(world()) == claims(world(), "claim_line") == (1, 0, 0, 1)


def test_a_rejected_claim_counts_as_quarantined_with_its_lines():
    of = world()
    of["claim"][2]["amount_copay"] = "no amount"
    assert claims(of) == claims(of, "claim_line") == (0, 1, 0, 0)


def test_a_claim_without_that_amount_does_not_count():
    of = world()
    del of["claim"][2]["amount_submitted"]
    assert claims(of) == (0, 0, 0, 0)


def test_lines_of_one_claim_are_one_claim():
    of = world()
    of["claim_line"].append(of["claim_line"][2] | {"line_number": "2"})
    assert claims(of, "claim_line") == (1, 0, 0, 1)
    of["claim"][2]["amount_copay"] = "no amount"
    assert claims(of, "claim_line") == (0, 1, 0, 0)


def test_a_claim_that_was_sent_many_times_is_one_claim():
    of = world()
    of["claim"][2]["amount_copay"] = "no amount"
    of["claim"].extend(of["claim"][2] | {"amount_submitted": f"{100 + n}.00"} for n in range(12))
    assert claims(of)[1] == 1
    assert sum(claims(of)) <= 3, "a row that a later one replaced is superseded"


def test_claims_of_two_members_with_one_id_are_two():
    of = world()
    of["claim"].append(of["claim"][2] | {"member_id": "M2", "coverage_id": "C2"})
    assert claims(of) == (0, 2, 0, 0)
