"""Whatever befalls publishing, nights, rollbacks and prunes, readers see a whole release."""

from itertools import count

import pytest

from tests.simulation.mutations import MUTATIONS
from tests.simulation.schedule import simulate

SEEDS = 200
"""Schedules that CI plays; `make simulate` goes on from there."""

QUICK = (
    "a commit replaces whatever is there",
    "the pointer is swapped before its manifest is put",
    "leases are not looked at",
    "a prune puts up no fence",
    "a prune deletes objects before manifests",
    "a prune keeps a release less",
)
"""Mutations that so many schedules find."""
WITHIN = 1500
"""Most schedules that are tried; one in six hundred meets a prune without a fence."""


def test_a_seed_is_a_schedule_to_the_last_call():
    one = simulate(7)
    assert one == simulate(7)
    assert len(one.log) > 100
    assert one.log != simulate(8).log


@pytest.mark.slow
def test_whatever_befalls_a_tree_its_releases_are_whole_and_what_was_told_is_true():
    broken = []
    releases = 0
    for seed in range(SEEDS):
        found = simulate(seed)
        releases += found.releases
        if found.broken:
            broken.append(f"python -m tests.simulation --seed {seed}: {found.broken}")
    assert broken == []
    assert releases > SEEDS


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_the_simulation_finds_a_broken_mechanism(name):
    with MUTATIONS[name]():
        found = next((seed for seed in range(WITHIN) if simulate(seed).broken), None)
    assert found is not None


@pytest.mark.long
@pytest.mark.parametrize("name", MUTATIONS.keys() - set(QUICK))
def test_the_simulation_finds_what_hangs_on_more_than_one_accident(name):
    with MUTATIONS[name]():
        found = next((seed for seed in count() if simulate(seed).broken or seed > 20_000), 0)
    assert found <= 20_000
