"""Whatever befalls publishing, nights, rollbacks and prunes, readers see a whole release."""

import pytest

from tests.simulation.schedule import simulate

SEEDS = 200
"""Schedules that CI plays; `make simulate` goes on from there."""


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
