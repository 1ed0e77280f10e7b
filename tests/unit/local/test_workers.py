"""Worker processes: one that dies ends the run in a sentence, and errors come through."""

import os
import pickle

import pytest

from etl.errors import DataRejected, ExtractError, StoreError
from etl.local.workers import Workers
from etl.pipeline.progress import StageAdvanced, ignore
from tests.waiting import until


def killed():
    """Die as a process does that the kernel kills for want of memory."""
    os._exit(9)


def nothing():
    """Stand for definitions: nothing that is done here asks for any."""
    return object()


def touched(path, emit):
    """Leave a file, and return its name."""
    del emit
    path.touch()
    return path.name


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_run_in_a_sentence(tmp_path):
    with Workers(2, killed) as workers:
        workers.begin(2)
        with pytest.raises(StoreError, match="a worker process was killed"):
            list(workers.each(touched, [tmp_path / "a", tmp_path / "b"], ignore))


def counted(job, emit):
    """Take some steps, which the run is to hear of before the job is over."""
    path, steps = job
    emit(StageAdvanced(steps))
    until(path.exists)


@pytest.mark.slow
def test_steps_of_other_processes_are_reported_while_their_jobs_go_on(tmp_path):
    reported = 0

    def end_both(event):
        nonlocal reported
        reported += event.count
        if reported == 7:
            (tmp_path / "a").touch()
            (tmp_path / "b").touch()

    with Workers(2, nothing) as workers:
        workers.begin(2)
        jobs = [(tmp_path / "a", 3), (tmp_path / "b", 4)]
        assert list(workers.each(counted, jobs, end_both)) == [None, None]
        assert list(workers.each(counted, jobs, end_both)) == [None, None]
    assert reported == 14


@pytest.mark.parametrize("error", [DataRejected("no"), StoreError("no"), ExtractError("no")])
def test_an_error_comes_through_from_another_process_as_it_was(error):
    there = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(there) is type(error)
    assert str(there) == str(error)
    assert there.exit_code == error.exit_code
