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
    without_line_amounts,
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


VIEWS = pytest.mark.parametrize("view", ["financial", "basis"])


@VIEWS
@pytest.mark.parametrize("shape", [lambda rows: rows, without_line_amounts], ids=["all", "header"])
def test_full_rows_become_conforming_resources(view, shape):
    assert errors(shape(everything()), view) == []


@VIEWS
@pytest.mark.parametrize(
    "seed",
    [
        *range(6),
        *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 10)),
        *(pytest.param(seed, marks=pytest.mark.long) for seed in range(10, 200)),
    ],
)
def test_whatever_is_left_of_the_rows_they_become_conforming_resources(view, seed):
    assert errors(thinned(everything(), random.Random(seed)), view) == []
