"""The contract of `each`: results in the order of the jobs, whatever dies meanwhile."""

import multiprocessing
import os
import signal
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import pytest

from etl.errors import ExtractError
from etl.jobs import no_event
from etl.local.executor import LocalExecutor
from etl.local.workers import Workers
from etl.sources.extract.opening import open_extract
from tests.contract.executor.direct import DirectExecutor
from tests.unit.sources.extracts import write_extract
from tests.waiting import until


def nothing():
    """Stand for definitions: no job here asks for any."""
    return object()


@contextmanager
def _local(processes):
    with Workers(processes, nothing) as workers:
        workers.begin(processes)
        yield LocalExecutor(workers)


KINDS = {
    "direct": lambda: nullcontext(DirectExecutor()),
    "one process": partial(_local, 1),
    "two processes": partial(_local, 2),
}


@pytest.fixture(scope="module", params=KINDS)
def runner(request):
    with KINDS[request.param]() as opened:
        yield opened


def doubled(job, emit):
    del emit
    return 2 * job


def late_or_wrong(folder, job, emit):
    """Fail at the jobs 3 and 5; at 3 not before 5 was begun, where another process begins it."""
    del emit
    (folder / str(job)).touch()
    if job == 3:
        if (folder / "several").exists():
            until((folder / "5").exists)
        raise ExtractError("the third")
    if job == 5:
        raise ExtractError("the fifth")
    return job


def wait_for(folder, job, emit):
    """Wait at every job but the first for a file that nobody writes."""
    del emit
    (folder / f"begun{job}").touch()
    if job:
        until((folder / "never").exists)
    return job


def test_results_come_in_the_order_of_the_jobs(runner):
    assert list(runner.run_each(doubled, range(100), no_event)) == list(range(0, 200, 2))
    assert list(runner.run_each(doubled, (), no_event)) == []


def test_jobs_are_asked_for_as_they_are_begun(runner):
    jobs = iter(range(1000))
    results = runner.run_each(doubled, jobs, no_event)
    assert next(results) == 0
    assert next(jobs) <= 1 + 4 * runner.processes
    assert len(list(results)) == 998


def test_the_first_error_in_the_order_of_the_jobs_is_raised(runner, tmp_path):
    if runner.processes > 1:
        (tmp_path / "several").touch()
    taken = list[int]()
    with pytest.raises(ExtractError, match="the third"):
        taken.extend(runner.run_each(partial(late_or_wrong, tmp_path), range(9), no_event))
    assert taken == [0, 1, 2]
    assert list(runner.run_each(doubled, range(3), no_event)) == [0, 2, 4], "the next jobs are done"


def test_an_interruption_ends_jobs_and_processes(tmp_path):
    def interrupt():
        with _local(2) as runner:
            results = runner.run_each(partial(wait_for, tmp_path), range(9), no_event)
            assert next(results) == 0
            until((tmp_path / "begun1").exists)
            os.kill(os.getpid(), signal.SIGINT)
            next(results)

    before = set(multiprocessing.active_children())
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert set(multiprocessing.active_children()) == before


@pytest.mark.slow
def test_what_was_dismissed_works_on_alone():
    with _local(2) as runner:
        assert isinstance(runner, LocalExecutor)
        runner.dismiss()
        assert runner.processes == 1
        assert list(runner.run_each(doubled, range(3), no_event)) == [0, 2, 4]


def test_files_are_hashed_by_any_process(runner, tmp_path):
    folder, events = write_extract(tmp_path / "in"), list[Any]()
    extract = open_extract(folder, (), runner=runner, emit=events.append)
    assert extract == open_extract(folder, ())
    assert [event.file for event in events] == [file.name for file in extract.files]
    with (folder / "member.csv").open("ab") as file:
        file.write(b"m\n" * 100_000 + b"\0\n")
    with pytest.raises(ExtractError, match=r"member\.csv: NUL byte"):
        open_extract(folder, (), runner=runner)
