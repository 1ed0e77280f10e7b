"""What tests of executors share: definitions, and an extract with the tree that comes of it."""

import pytest

from tests.contract.executor.spark import entangled
from tests.contract.executor.test_executor_contract import Payer, direct_executor, load


@pytest.fixture(scope="module")
def definitions():
    return load()


@pytest.fixture(scope="module")
def extract(tmp_path_factory):
    """An extract in which everything that can be shared is."""
    return entangled(tmp_path_factory.mktemp("extract"))


@pytest.fixture(scope="module")
def expected(definitions, extract, tmp_path_factory):
    """The tree of that extract."""
    payer = Payer(definitions, tmp_path_factory.mktemp("expected"))
    payer.publish(direct_executor, extract, 1)
    return payer.files()
