"""What fits into a budget of memory, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from etl.bootstrap.settings import read_settings
from etl.errors import StoreError
from etl.local.executor import LocalExecutor
from etl.local.memory_budget import LEAST_ROWS, MemoryBudget, partition_memory
from etl.local.workers import Workers
from etl.pipeline.executor import Cutting
from etl.sources import largest_partition, open_extract
from etl.sources.events import ignore
from etl.synth import Spec, write_extract

MB = 1_000_000
MOST = 200_000


@pytest.mark.parametrize("suites", [False, True])
@pytest.mark.parametrize("total", [500 * MB, 900 * MB, 1_500 * MB, 8_000 * MB])
def test_what_follows_from_a_budget_fits_into_it(total: int, suites: bool) -> None:
    budget = MemoryBudget(total, suites)
    processes = budget.processes(4)
    rows = budget.partition_rows(processes, MOST)
    assert 1 <= processes <= 4
    assert LEAST_ROWS <= rows <= MOST
    budget.check_largest(250 * rows, processes)
    assert processes * partition_memory(250 * rows) < total


def test_more_memory_is_never_fewer_processes_nor_less_than_one() -> None:
    counts = [MemoryBudget(total * 100 * MB, suites=True).processes(8) for total in range(60)]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (1, 8)


def test_no_more_rows_than_the_setting_says() -> None:
    assert MemoryBudget(8_000 * MB, suites=True).partition_rows(1, 5_000) == 5_000


def test_a_budget_in_which_nothing_fits_is_one_sentence() -> None:
    with pytest.raises(StoreError, match=r"run.memory is 100 MB, and a run takes 360 MB at least"):
        MemoryBudget(100 * MB, suites=False).partition_rows(1, MOST)
    assert MemoryBudget(360 * MB, suites=False).partition_rows(1, MOST) == LEAST_ROWS
    assert StoreError.exit_code == 5


def test_members_that_must_be_worked_on_together_and_do_not_fit_are_one_sentence(
    tmp_path: Path,
) -> None:
    write_extract(tmp_path / "in", Spec(members=20, seed=1))
    extract = open_extract(tmp_path / "in", ())
    cutting = Cutting(tmp_path / "work", 2, digests=False)

    def read(memory: int) -> None:
        with Workers(1, lambda: pytest.fail("this process has its definitions")) as workers:
            budget = MemoryBudget(memory, suites=False)
            LocalExecutor(workers, budget).read(extract, cutting, ignore)

    read(400 * MB)
    needed = partition_memory(largest_partition(cutting.folder, 2))
    read(280 * MB + needed)  # what an earlier attempt read is looked at as well
    with pytest.raises(StoreError, match=r"must be worked on together need about \d+ MB"):
        read(280 * MB + needed - 1)


@pytest.mark.parametrize(("text", "size"), [("1.5GB", 1_500 * MB), ("800 MB", 800 * MB)])
def test_a_size_is_written_with_its_unit(text: str, size: int) -> None:
    assert read_settings(None, run={"memory": text}).run.memory == size
