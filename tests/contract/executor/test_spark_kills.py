"""Drivers that are killed: what readers see, and what the next run makes."""

from __future__ import annotations

import shutil
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest

from etl.pipeline.definitions import Definitions
from tests.contract.executor.direct import DirectExecutor
from tests.contract.executor.spark import MARKS, entangled, spark_or_skip
from tests.contract.executor.spark_driver import STAGES, driver
from tests.contract.executor.test_executor_contract import Payer, load

pytestmark = list(MARKS)

HERE = {"spark.master": "local[2]", "spark.ui.enabled": "false"}


@pytest.fixture(scope="module")
def definitions() -> Definitions:
    return load()


@pytest.fixture(scope="module")
def extracts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    first, second = (entangled(tmp_path_factory.mktemp("extract"), day) for day in (0, 1))
    return first, second


@pytest.fixture(scope="module")
def expected(
    definitions: Definitions,
    extracts: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Payer, Payer]:
    """The trees of one night and of two."""
    first, second = (Payer(definitions, tmp_path_factory.mktemp("expected")) for _ in range(2))
    first.publish(lambda: nullcontext(DirectExecutor()), extracts[0], 1)
    shutil.copytree(first.target, second.target)
    second.publish(lambda: nullcontext(DirectExecutor()), extracts[1], 2)
    return first, second


@pytest.mark.parametrize("stage", STAGES)
def test_a_driver_that_is_killed_changes_nothing_for_readers_and_the_next_ends_as_undisturbed(
    definitions: Definitions,
    extracts: tuple[Path, Path],
    expected: tuple[Payer, Payer],
    tmp_path: Path,
    stage: str,
) -> None:
    spark_or_skip()
    before, after = expected
    payer = Payer(definitions, tmp_path)
    shutil.copytree(before.target, payer.target)
    killed = driver(HERE, payer, extracts[1], 2, stage)
    assert killed.wait(600) == -signal.SIGKILL, (payer.folder / "driver.log").read_text()
    now = payer.files()  # current.json as well
    assert {name: now.get(name) for name in before.files()} == before.files()
    assert len(now) > len(before.files())  # it had begun to publish
    again = driver(HERE, payer, extracts[1], 2)
    assert again.wait(600) == 0, (payer.folder / "driver.log").read_text()
    assert payer.files() == after.files()
