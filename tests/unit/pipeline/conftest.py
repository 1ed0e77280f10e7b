"""What tests of the pipeline share."""

import pytest

from tests.unit.publish.samples import CountingStore


@pytest.fixture
def store():
    return CountingStore()
