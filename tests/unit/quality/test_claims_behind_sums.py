"""Behind a sum of money stand so many claims: not rows, and not lines."""

import pytest

from etl.quality.totals.money import MoneyKey, MoneyTotals
from tests.given.tables import table
from tests.unit.quality.world import changed_world, run, world


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


@pytest.mark.parametrize(*table(__file__, "counts"))
def test_a_claim_counts_once_where_its_amount_does(changes, counts, counts_of_lines):
    of = changed_world(changes)
    assert claims(of) == tuple(counts)
    assert claims(of, "claim_line") == tuple(counts_of_lines)


def test_a_claim_that_was_sent_many_times_is_one_claim():
    of = world()
    of["claim"][2]["amount_copay"] = "no amount"
    of["claim"].extend(of["claim"][2] | {"amount_submitted": f"{100 + n}.00"} for n in range(12))
    assert claims(of)[1] == 1
    assert sum(claims(of)) <= 3, "a row that a later one replaced is superseded"
