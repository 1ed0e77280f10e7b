"""What fits into a budget of memory, and what is refused."""

import pytest

from etl.bootstrap.settings import read_settings
from etl.errors import StoreError, UsageError
from etl.local.executor import LocalExecutor
from etl.local.memory import MIN_PARTITION_ROWS, MemoryBudget, free_memory, partition_memory
from etl.local.workers import Workers
from etl.pipeline.context import Cutting
from etl.sources.extract.opening import open_extract
from etl.sources.files.listed_files import ignore
from etl.sources.partition.reading import largest_member
from etl.sources.partition.row_files import largest_partition
from etl.synth import Spec, write_extract
from tests.given.tables import table

MB = 1_000_000
MOST = 200_000


@pytest.mark.parametrize("suites", [False, True])
@pytest.mark.parametrize("total", [500 * MB, 900 * MB, 1_500 * MB, 8_000 * MB])
def test_what_follows_from_a_budget_fits_into_it(total, suites):
    budget = MemoryBudget(total, suites)
    processes = budget.processes(4)
    rows = budget.partition_rows(processes, MOST)
    assert 1 <= processes <= 4
    assert MIN_PARTITION_ROWS <= rows <= MOST
    budget.check_largest(250 * rows, processes)
    assert processes * partition_memory(250 * rows) < total


def test_more_memory_is_never_fewer_processes_nor_less_than_one():
    counts = [MemoryBudget(total * 100 * MB, suites=True).processes(8) for total in range(60)]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (1, 8)


def test_no_more_rows_than_the_setting_says():
    assert MemoryBudget(8_000 * MB, suites=True).partition_rows(1, 5_000) == 5_000


def test_a_budget_in_which_nothing_fits_is_one_sentence():
    with pytest.raises(UsageError, match=r"run.memory is 100 MB, but a run needs at least 360 MB"):
        MemoryBudget(100 * MB, suites=False).partition_rows(1, MOST)
    assert MemoryBudget(360 * MB, suites=False).partition_rows(1, MOST) == MIN_PARTITION_ROWS
    assert UsageError.exit_code == 2


def extract_reader(folder, members, partitions):
    """Write an extract; return a function that reads it within so many bytes of memory."""
    write_extract(folder / "in", Spec(members=members, seed=1))
    extract = open_extract(folder / "in", ())
    cutting = Cutting(folder / "work", partitions, digests=False)

    def read(memory=None):
        budget = memory and MemoryBudget(memory, suites=False)
        with Workers(1, lambda: pytest.fail("this process has its definitions")) as workers:
            return LocalExecutor(workers, budget).read(extract, cutting, ignore)

    return read


def test_members_that_must_be_worked_on_together_and_do_not_fit_are_one_sentence(tmp_path):
    read = extract_reader(tmp_path, 20, 2)
    read(400 * MB)
    needed = partition_memory(largest_partition(tmp_path / "work", 2))
    read(280 * MB + needed)  # what an earlier attempt read is looked at as well
    with pytest.raises(StoreError, match=r"must be processed together need about \d+ MB"):
        read(280 * MB + needed - 1)


@pytest.mark.parametrize(("text", "size"), [("1.5GB", 1_500 * MB), ("800 MB", 800 * MB)])
def test_a_size_is_written_with_its_unit(text, size):
    assert read_settings(None, run={"memory": text}).run.memory == size


def test_a_member_with_more_rows_than_fit_is_one_sentence(tmp_path):
    read = extract_reader(tmp_path, 1, 4)
    of_nobody = {"organization.csv", "practitioner.csv"}
    rows = sum(rows for name, rows in read().facts.rows_read.items() if name not in of_nobody)
    assert largest_member(tmp_path / "work", 4) == rows > 10
    needed = 280 * MB + 7_500 * rows
    read(needed)
    message = rf"one member has {rows:,} rows, .*about \d+ MB; run.memory is \d+ MB: raise"
    with pytest.raises(StoreError, match=message):
        read(needed - 1)


def test_many_rows_of_a_member_are_weighed_against_what_is_free(tmp_path, monkeypatch):
    read = extract_reader(tmp_path, 1, 1)
    free = MemoryBudget(250 * MB, suites=False, is_set=False)
    monkeypatch.setattr("etl.local.executor.free_memory", lambda: free)
    read()  # few rows are no reason to look
    monkeypatch.setattr("etl.local.executor.MANY_ROWS", 5)
    with pytest.raises(StoreError, match="this machine has free 250 MB: use a machine"):
        read()


@pytest.mark.parametrize(*table(__file__, "free_memory"))
def test_what_is_free_is_the_system_s_or_the_container_s_number(meminfo, limit, free, tmp_path):
    for name, text in (("meminfo", meminfo), ("limit", limit)):
        if text is not None:
            (tmp_path / name).write_text(text)
    found = free_memory(tmp_path / "meminfo", tmp_path / "limit")
    assert (found and found.total) == free
