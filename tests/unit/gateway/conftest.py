"""The samples served, once for a module."""

import pytest

from tests.unit.gateway.calls import served
from tests.unit.gateway.trees import LISTED, opened, sample_tree


@pytest.fixture(scope="module")
def service():
    return opened(sample_tree()).service


@pytest.fixture(scope="module")
def listed():
    """The samples' claims and directory, served by one process."""
    return served(opened(sample_tree(), listed=sample_tree(LISTED)))
