"""No sum of money that a report withholds, and none over a few claims, follows from those shown."""

from itertools import chain, combinations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl.model.canonical_tables import CLAIM_TYPES
from etl.quality.totals.money import MoneyKey, MoneyTotals
from etl.reports.small_cells import SUMS, shown_money
from tests.given.tables import read_tables

MOST = 10
PARTS = read_tables(__file__)["parts"]
"""Each sum, and the parts that it is a sum of: what nobody knows to begin with."""
UNKNOWN = PARTS["source"]


def cell(counts):
    """Return a cell over so many claims; the amounts are of no concern."""
    net, other, gone, old = counts
    return MoneyTotals(
        source=100 * sum(counts),
        published=100 * (net + other),
        quarantined=100 * gone,
        superseded=100 * old,
        net=100 * net,
        published_claims=net + other,
        quarantined_claims=gone,
        superseded_claims=old,
        net_claims=net,
    )


def table(rows):
    money = {
        MoneyKey("claim", name, "benefit"): cell(counts)
        for name, counts in zip(CLAIM_TYPES, rows, strict=False)
    }
    return money, shown_money(money, MOST)


def functional(rows, name, types):
    """Return a sum over some claim types as a row of an equation."""
    found = np.zeros((len(rows), len(UNKNOWN)))
    for part in PARTS[name]:
        found[list(types), UNKNOWN.index(part)] = 1
    return found.ravel()


def known(rows, shown):
    """Return the equations of a reader who also knows of which parts there is no claim."""
    every = range(len(rows))
    whole = shown.totals["claim", "benefit"]
    lines = [(each, [at]) for at, each in enumerate(shown.cells.values())] + [(whole, every)]
    equations = [
        functional(rows, name, types)
        for each, types in lines
        for name in SUMS
        if getattr(each, name) is not None
    ]
    for at, counts in enumerate(rows):
        for part, count in zip(UNKNOWN, counts, strict=True):
            if not count:
                equations.append(functional(rows, part, [at]))
    return np.array(equations).reshape(len(equations), len(rows) * len(UNKNOWN))


def follows(what, equations):
    """Return whether a sum is a linear combination of the known ones."""
    if not len(equations):
        return False
    both = np.vstack([equations, what])
    return bool(np.linalg.matrix_rank(both) == np.linalg.matrix_rank(equations))


def claims_in(rows, name, types):
    return int((functional(rows, name, types) @ np.array(rows).ravel()).item())


def groups(rows):
    every = range(len(rows))
    return chain.from_iterable(combinations(every, size) for size in range(1, len(rows) + 1))


counts_of_a_type = st.tuples(*[st.sampled_from([0, 0, 1, 4, 6, 10, 11, 500])] * 4)


@settings(deadline=None, max_examples=300)
@given(st.lists(counts_of_a_type, min_size=1, max_size=4))
@example([(500, 0, 1, 0), (500, 0, 0, 0)])
@example([(500, 0, 1, 0), (500, 0, 11, 0)])
@example([(500, 0, 6, 0), (500, 0, 6, 0), (500, 0, 0, 0)])
@example([(500, 6, 0, 0), (6, 0, 0, 0), (500, 0, 0, 0)])
@example([(0, 6, 0, 0), (11, 6, 0, 0), (500, 0, 0, 0)])
@example([(500, 0, 1, 0), (500, 0, 0, 1), (1, 0, 0, 0)])
@example([(0, 10, 0, 0), (10, 1, 0, 0), (10, 1, 0, 0)])
def test_no_withheld_sum_follows_from_those_shown(rows):
    _, shown = table(rows)
    equations = known(rows, shown)
    for name in PARTS:
        for types in groups(rows):
            if 0 < claims_in(rows, name, types) <= MOST:
                assert not follows(functional(rows, name, types), equations), (name, types)
    for at, each in enumerate(shown.cells.values()):
        for name in SUMS:
            if getattr(each, name) is None and claims_in(rows, name, [at]):
                assert not follows(functional(rows, name, [at]), equations), (name, at)


@settings(deadline=None)
@given(st.lists(counts_of_a_type, min_size=1, max_size=4))
def test_what_is_shown_is_exact_and_with_many_claims_everywhere_all_of_it_is(rows):
    money, shown = table(rows)
    for key, each in shown.cells.items():
        assert each.adds_up
        for name in SUMS:
            assert getattr(each, name) in (None, getattr(money[key], name))
    few = any(0 < count <= MOST for counts in rows for count in counts)
    assert bool(shown.withheld) <= few
    if not few:
        assert shown.totals["claim", "benefit"].withheld == 0
