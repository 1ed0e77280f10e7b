"""Whatever accepted rows hold, what they become conforms."""

import json
import random

import pytest

from etl.conform.checker import Checker
from etl.conform.findings import IssueSeverity
from tests.golden.mapping.everything import (
    everything,
    thinned,
    unfilled,
)
from tests.golden.mapping.rendering import rendered


def errors(rows, view="financial"):
    """Return what is wrong with the resources that some rows become."""
    checker = Checker()
    told = []
    for text, _ in rendered(rows, view=view):
        resource = json.loads(text)
        resource["meta"].setdefault("lastUpdated", "2024-06-01T00:00:00Z")  # publishing sets it
        told += [
            f"{resource['resourceType']}.{issue.path}: {issue.rule.text}"
            for _, issue in checker.check(resource).issues
            if issue.rule.severity is IssueSeverity.ERROR
        ]
    return told


def test_the_rows_of_everything_fill_every_column():
    assert unfilled(everything()) == []


def test_full_rows_become_conforming_resources():
    assert errors(everything()) == []


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_left_of_the_rows_they_become_conforming_resources(seed):
    _assert_conforming(seed)


@pytest.mark.parametrize(
    "seed",
    [
        *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 14)),
        *(pytest.param(seed, marks=pytest.mark.long) for seed in range(14, 32)),
        *(pytest.param(seed, marks=pytest.mark.long) for seed in range(32, 200)),
    ],
)
def test_however_much_is_left_of_the_rows_they_become_conforming_resources(seed):
    _assert_conforming(seed)


def _assert_conforming(seed):
    chance = random.Random(seed)
    assert errors(thinned(everything(), chance)) == []
