"""The entry file under spark-submit: the command's work, and its exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import etl.cli.spark_job
from etl.storage.local import LocalStore
from tests.contract.executor.spark import MARKS, spark_or_skip
from tests.e2e.commands import NO_SUITES, SAMPLES, cpcds, done
from tests.unit.publish.samples import objects

pytestmark = [*MARKS, pytest.mark.long]


def _submitted(folder, *arguments):
    """Return the exit code of a job, and what it says."""
    import pyspark

    home = Path(pyspark.__file__).parent
    job = folder / "spark_job.py"  # as in a bucket: by itself
    job.write_bytes(Path(etl.cli.spark_job.__file__).read_bytes())
    environment = {
        **os.environ,
        **NO_SUITES,
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(Path.cwd()),
    }
    submit = [str(home / "bin" / "spark-submit"), "--master", "local[2]", str(job), *arguments]
    ended = subprocess.run(submit, capture_output=True, text=True, env=environment, cwd=folder)
    return ended.returncode, ended.stdout


def test_a_job_publishes_what_the_command_does(tmp_path):
    spark_or_skip()
    line = f"run {SAMPLES} --to {tmp_path / 'job'} --executor spark"
    code, said = _submitted(tmp_path, "--JOB_NAME", "night", "--cpcds", line)
    assert code == 0, said
    assert done(cpcds("run", SAMPLES, "--to", tmp_path / "here")).code == 0
    trees = [objects(LocalStore(tmp_path / name)) for name in ("here", "job")]
    blocks = [{k: v for k, v in tree.items() if k.startswith("patients/")} for tree in trees]
    assert blocks[0]
    assert blocks[0] == blocks[1]


def test_a_job_passes_on_the_exit_code_of_the_command(tmp_path):
    spark_or_skip()
    code, said = _submitted(tmp_path, "run", "nowhere", "--to", "out", "--executor", "spark")
    assert code == 2
    assert "error: nowhere" in said
