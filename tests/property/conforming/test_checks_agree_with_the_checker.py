"""The column checks and the checker of JSON say the same of every resource.

Mappings are spoilt one change at a time, so that obligations are broken which rows alone never
break: an element is taken out, a guard, a default, a constant changed. What the checker says is
wrong the checks must find, by proof or by column; and they find nothing else.
"""

import random
from functools import cache

import pytest

from etl.mapping.obligations import obligations
from tests.golden.mapping.rendering import mapping_set
from tests.property.conforming.plans import spoilt
from tests.property.conforming.spoiling import some_rows, verdicts, world


@cache
def plans():
    """Return the plans of both views."""
    return mapping_set().plans + mapping_set(view="basis").plans


@cache
def rows(copies):
    """Return rows as the engine looks at them."""
    return world(some_rows(1, copies))


def assert_agreed(plan, copies):
    """Check that both find fault with the same resources."""
    for verdict in verdicts(plan, *rows(copies)):
        assert bool(verdict.checks) == bool(verdict.errors), verdict


@pytest.mark.parametrize("name", [plan.name for plan in mapping_set().plans])
def test_the_shipped_mappings_leave_little_to_the_rows(name):
    plan = next(one for one in mapping_set().plans if one.name == name)
    found = obligations(plan, mapping_set().crosswalks)
    proved = sum(bool(one.proved) for one in found)
    listed = [one.listed for one in found if one.listed]
    assert proved > 2 * (len(found) - proved - len(listed))
    # dom-6, or PDex's rule that names no value set; and a value set whose codes are not to be had
    assert len(set(listed)) <= 2


@pytest.mark.parametrize("seed", range(40))
def test_of_a_spoilt_mapping_both_find_the_same_resources(seed):
    chance = random.Random(seed)
    assert_agreed(spoilt(chance.choice(plans()), chance), 4)


@pytest.mark.parametrize(
    "seed",
    [
        *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1000, 1016)),
        *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1016, 1080)),
        *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1080, 1400)),
    ],
)
def test_of_more_spoilt_mappings_both_find_the_same_resources(seed):
    chance = random.Random(seed)
    assert_agreed(spoilt(chance.choice(plans()), chance), 12)


@pytest.mark.parametrize("seed", range(6))
def test_of_mappings_spoilt_in_three_places_as_well(seed):
    chance = random.Random(f"three {seed}")
    plan = chance.choice(plans())
    for _ in range(3):
        plan = spoilt(plan, chance)
    assert_agreed(plan, 4)
