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


@pytest.mark.parametrize("name", [plan.name for plan in mapping_set().plans])
def test_the_shipped_mappings_leave_little_to_the_rows(name):
    plan = next(one for one in mapping_set().plans if one.name == name)
    found = obligations(plan, mapping_set().crosswalks)
    proved = sum(bool(one.proved) for one in found)
    listed = [one.listed for one in found if one.listed]
    assert proved > 2 * (len(found) - proved - len(listed))
    # dom-6, or PDex's rule that names no value set; and a value set whose codes are not to be had
    assert len(set(listed)) <= 2


@pytest.mark.parametrize(
    ("seed", "changes", "copies"),
    [
        *((seed, 1, 4) for seed in range(40)),
        *((f"three {seed}", 3, 4) for seed in range(6)),
        *(pytest.param(seed, 1, 12, marks=pytest.mark.slow) for seed in range(1000, 1016)),
        *(pytest.param(seed, 1, 12, marks=pytest.mark.long) for seed in range(1016, 1400)),
    ],
)
def test_of_a_spoilt_mapping_both_find_fault_with_the_same_resources(seed, changes, copies):
    chance = random.Random(seed)
    plan = chance.choice(plans())
    for _ in range(changes):
        plan = spoilt(plan, chance)
    for verdict in verdicts(plan, *rows(copies)):
        assert bool(verdict.checks) == bool(verdict.errors), verdict
