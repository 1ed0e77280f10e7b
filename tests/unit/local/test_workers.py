"""Worker processes: one that dies ends the run in a sentence, and errors come through."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

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
            list(workers.run_each(touched, [tmp_path / "a", tmp_path / "b"], ignore))


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
        assert list(workers.run_each(counted, jobs, end_both)) == [None, None]
        assert list(workers.run_each(counted, jobs, end_both)) == [None, None]
    assert reported == 14


@pytest.mark.parametrize("error", [DataRejected("no"), StoreError("no"), ExtractError("no")])
def test_an_error_comes_through_from_another_process_as_it_was(error):
    there = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(there) is type(error)
    assert str(there) == str(error)
    assert there.exit_code == error.exit_code


SPAWNED = """
    with Workers(2, int) as workers:
        workers.begin(2)
        print(list(workers.run_each(sigint_is_blocked, range(2), ignore)))
"""
FORKED = "print(list(ForkedWorkers(2, 'json').run_each(sigint_is_blocked, range(2), ignore)))"


def sigint_is_blocked(job, emit):
    """Tell whether an interruption is left to the run, which ends its workers."""
    del job, emit
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.slow
@pytest.mark.parametrize("start", [SPAWNED, FORKED], ids=["spawned", "forked"])
def test_workers_run_no_code_from_the_current_folder_and_leave_sigint_to_the_run(tmp_path, start):
    trap = f"open({str(tmp_path / 'taken')!r}, 'a').write(__name__)\n"
    (tmp_path / "here").mkdir()
    for name in sys.stdlib_module_names:
        (tmp_path / f"here/{name}.py").write_text(trap)
    (tmp_path / "script").mkdir()
    (tmp_path / "script/main.py").write_text(f"""
from etl.local.workers import ForkedWorkers, Workers
from etl.pipeline.progress import ignore
from tests.unit.local.test_workers import sigint_is_blocked
if __name__ == "__main__":
    {start}
""")
    done = subprocess.run(
        [sys.executable, tmp_path / "script/main.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path / "here",
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert (done.stdout, done.stderr) == ("[True, True]\n", "")
    assert not (tmp_path / "taken").exists()
