"""Jobs in processes that begin with a library loaded come to what they come to in this one."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etl.bootstrap.opened_extract import SUITES
from etl.errors import StoreError
from etl.jobs import ALONE
from etl.local.workers import ForkedWorkers, forked_workers
from etl.pipeline.progress import ignore
from etl.quality.suites.expectations import run_each, run_suite, run_suites
from tests.unit.quality.test_suites import spoiled, suite_rows

ROOT = Path(__file__).parents[3]
TWO = ForkedWorkers(2, SUITES)


def suite(run, emit):
    del emit
    return run_suite(run)


def loaded(module, emit):
    """Tell whether a module was loaded before any job was done."""
    del emit
    return module in sys.modules


def killed(job, emit):
    """Die as a process does that the kernel kills for want of memory."""
    os._exit(9)


def pages(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_suites_come_to_the_same_wherever_they_are_run(tmp_path):
    when = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    rows = suite_rows(spoiled(), tmp_path / "rows", "claim_note", "member_address")

    def elsewhere(runs):
        return TWO.run_each(suite, runs, ignore)

    results = [
        run_suites(rows, tmp_path / name, run_name="run", run_time=when, runner=each)
        for name, each in (("here", run_each), ("there", elsewhere))
    ]
    assert [result.table for result in results[0]] == ["member_address", "claim_note"]
    assert results[0] == results[1]
    assert pages(tmp_path / "here") == pages(tmp_path / "there")


@pytest.mark.slow
def test_the_library_is_there_before_the_first_job():
    # In a process of its own: what a fork server of this one was begun with counts.
    code = (
        "from etl.pipeline.progress import ignore;"
        "from tests.unit.local.test_forked_workers import TWO, loaded;"
        "print(list(TWO.run_each(loaded, ['great_expectations'], ignore)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.stdout, done.stderr) == ("[True]\n", "")


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_run_in_a_sentence():
    with pytest.raises(StoreError, match="a worker process was killed"):
        list(TWO.run_each(killed, [1], ignore))


def test_one_process_does_its_jobs_itself():
    assert forked_workers(1, SUITES) is ALONE
    assert forked_workers(2, SUITES) == TWO
