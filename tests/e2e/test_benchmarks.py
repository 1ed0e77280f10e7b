"""Every benchmark starts and prints its figures."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.given.tables import read_tables, table

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(*table(__file__, "starts"))
def test_a_benchmark_starts_and_prints_its_figures(module, arguments, says, needs, monkeypatch):
    # Spark's programs are beside this Python.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    if needs is not None and shutil.which(needs) is None:
        pytest.skip(f"{needs} is not installed")
    monkeypatch.setenv("CPCDS_REPORT__GX_ROWS", "0")
    command = [sys.executable, "-m", module, *arguments.split()]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert says in ended.stdout, ended.stdout + ended.stderr
    assert " failed)" not in ended.stdout
    assert "Traceback" not in ended.stderr


def test_no_benchmark_is_left_out():
    modules = {
        f"benchmarks.{path.stem}".removesuffix(".__main__")
        for path in (ROOT / "benchmarks").glob("*.py")
        if "ArgumentParser(" in path.read_text(encoding="utf-8")
    }
    in_make_bench = re.findall(r"-m (benchmarks[.\w]*)", (ROOT / "Makefile").read_text())
    starts = [start["module"] for start in read_tables(__file__)["starts"]]
    assert sorted([*in_make_bench, *starts]) == sorted(modules)
