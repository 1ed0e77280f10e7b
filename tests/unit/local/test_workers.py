"""Worker processes: one that dies ends the run in a sentence, and errors come through."""

import os
import pickle

import pytest

from etl.errors import DataRejected, ExtractError, StoreError
from etl.local.workers import Workers
from etl.pipeline.progress import ignore


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


@pytest.mark.parametrize("error", [DataRejected("no"), StoreError("no"), ExtractError("no")])
def test_an_error_comes_through_from_another_process_as_it_was(error):
    there = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(there) is type(error)
    assert str(there) == str(error)
    assert there.exit_code == error.exit_code
