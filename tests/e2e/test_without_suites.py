"""Great Expectations is asked for only where suites run."""

import os
import subprocess
import sys

import pytest

from tests.e2e.commands import NO_SUITES, cpcds

WITHOUT = """
import importlib.metadata as metadata, sys
sys.modules["great_expectations"] = None
installed = metadata.version
def version(name):
    if name == "great_expectations":
        raise metadata.PackageNotFoundError(name)
    return installed(name)
metadata.version = version
from etl.cli import main
main()
"""


@pytest.mark.slow
def test_a_run_without_suites_needs_no_great_expectations(tmp_path):
    extract = tmp_path / "extract"
    assert cpcds("synth", "--members", "2", "--out", extract).code == 0
    for command in (("run", "--to", "tree"), ("validate", "--report", "report")):
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT, command[0], str(extract), *command[1:]],
            env={**os.environ, **NO_SUITES},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
