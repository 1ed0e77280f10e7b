"""Several processes: one that dies ends the run in a sentence."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from etl.errors import DataRejected, EtlError, ExtractError, StoreError
from etl.pipeline.definitions import Definitions
from etl.pipeline.executor import Task, outcomes
from etl.pipeline.workers import Workers


def killed() -> Definitions:
    """Die as a process does that the kernel kills for want of memory."""
    os._exit(9)


def test_a_process_that_is_killed_ends_the_run_in_a_sentence(tmp_path: Path) -> None:
    task = Task(tmp_path, None, None, None)
    with Workers(2, killed) as workers:
        workers.begin(2)
        with pytest.raises(StoreError, match="a worker process was killed"):
            list(outcomes(task, killed, 2, workers))  # type: ignore[arg-type] # not used here


@pytest.mark.parametrize("error", [DataRejected("no"), StoreError("no"), ExtractError("no")])
def test_an_error_comes_through_from_another_process_as_it_was(error: EtlError) -> None:
    there = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(there) is type(error)
    assert str(there) == str(error)
    assert there.exit_code == error.exit_code
