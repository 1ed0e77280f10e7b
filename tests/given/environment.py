"""An environment with the program from its lock, by hash, with one extra and nothing else."""

import subprocess
import sys

import pytest

from tests.e2e.commands import ROOT

UV = (sys.executable, "-m", "uv")


def install_extra(folder, extra):
    """Install into an empty folder; the test is skipped where no package index is reached."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    install = (*UV, "pip", "install", "--quiet", "--python", folder / "bin" / "python")
    lock = folder / "requirements.txt"
    export = ("--frozen", "--quiet", "--no-emit-project", "--output-file", lock)
    subprocess.run([*UV, "export", "--extra", extra, *export], cwd=ROOT, check=True)
    locked = subprocess.run(
        [*install, "--require-hashes", "--requirement", lock], capture_output=True, text=True
    )
    if "Failed to fetch" in locked.stderr or "error sending request" in locked.stderr:
        pytest.skip("no package index can be reached from here")
    assert locked.returncode == 0, locked.stderr
    own = ("--no-index", "--no-deps", "--no-build-isolation", ROOT)
    subprocess.run([*install, *own], check=True)
