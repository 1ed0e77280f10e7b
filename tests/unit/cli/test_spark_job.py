"""The entry file of jobs of Apache Spark: what platforms make of its arguments and of its end."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import etl.cli.spark_job
from etl.cli.spark_job import command_line, run_job

FILE = Path(etl.cli.spark_job.__file__)


def test_arguments_are_those_of_the_command():
    arguments = ["run", "s3://bucket/in", "--to", "s3://bucket/out", "--executor", "spark"]
    assert command_line(arguments) == arguments


def test_parameters_by_name_have_the_command_in_one_of_them():
    """AWS Glue gives its own ones as well."""
    line = "run 's3://bucket/a folder' --to s3://bucket/out --executor spark"
    given = [
        "--JOB_NAME",
        "night",
        "--cpcds",
        line,
        "--job-bookmark-option",
        "job-bookmark-disable",
    ]
    assert command_line(given) == [
        *("run", "s3://bucket/a folder", "--to", "s3://bucket/out", "--executor", "spark")
    ]


def test_success_is_a_return_and_failure_an_exit_code(monkeypatch, capsys):
    (named,) = entry_points(group="console_scripts", name="cpcds-spark-job")
    assert named.load() is run_job
    monkeypatch.setattr(sys, "argv", ["job", "--help"])
    run_job()  # raises nothing
    assert "Usage: cpcds " in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["job", "run", "nowhere", "--to", "out", "--master", "local"])
    with pytest.raises(SystemExit) as end:
        run_job()
    assert end.value.code == 2


def test_the_file_by_itself_is_the_command(tmp_path):
    """Clusters copy it away from the package."""
    copy = tmp_path / "job.py"
    copy.write_bytes(FILE.read_bytes())
    done = subprocess.run(
        [sys.executable, copy, "--cpcds", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("cpcds, version ")
