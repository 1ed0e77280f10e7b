"""What tests of executors share: definitions, and an extract with the tree that comes of it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from etl.pipeline.definitions import Definitions
from tests.contract.executor.direct import DirectExecutor
from tests.contract.executor.spark import entangled
from tests.contract.executor.test_executor_contract import Payer, load


@pytest.fixture(scope="module")
def definitions() -> Definitions:
    return load()


@pytest.fixture(scope="module")
def extract(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An extract in which everything that can be shared is."""
    return entangled(tmp_path_factory.mktemp("extract"))


@pytest.fixture(scope="module")
def expected(
    definitions: Definitions, extract: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The tree of that extract."""
    payer = Payer(definitions, tmp_path_factory.mktemp("expected"))
    payer.publish(lambda: nullcontext(DirectExecutor()), extract, 1)
    return payer.files()
