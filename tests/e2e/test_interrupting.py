"""Ctrl-C: a run with several processes ends at once, says so, and is finished by the next."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from etl.publish.reader import open_current
from etl.storage.local import LocalStore
from etl.synth import Spec, write_extract
from tests.e2e.commands import COMMAND

ID_KEY = "5" * 64


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """Have processes hear of Ctrl-C, even where what began the tests does not (`nohup … &`)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def begin(extract: Path, tree: Path) -> subprocess.Popen[str]:
    """Begin a run with two processes, as a terminal does: in a group of its own."""
    settings = {
        "CPCDS_ID_KEY": ID_KEY,
        "CPCDS_RUN__PARTITION_ROWS": "500",
        "CPCDS_REPORT__GX_ROWS": "0",
    }
    return subprocess.Popen(
        [*COMMAND, "run", str(extract), "--to", str(tree), "--workers", "2"],
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def group(of: int) -> list[int]:
    """Return the living processes of a group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its = path.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its) == of and state != "Z":
            found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="/proc tells who is in a group")
@pytest.mark.parametrize("stage", ["reading …", "checking and mapping …"])
def test_a_run_that_is_interrupted_ends_at_once_without_a_word_too_many(
    stage: str, tmp_path: Path
) -> None:
    extract, tree = tmp_path / "in", tmp_path / "tree"
    write_extract(extract, Spec(120, seed=1, since=date(2022, 1, 1)))
    run = begin(extract, tree)
    assert run.stderr is not None
    assert any(line.strip() == stage for line in run.stderr)
    began = time.monotonic()
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert (run.returncode, out) == (1, "")
    assert err.split("\n")[-3:] == ["", "Aborted!", ""]
    assert "Traceback" not in err
    while group(run.pid):  # multiprocessing's own helper goes a moment later
        assert time.monotonic() - began < 10
        time.sleep(0.05)
    assert open_current(LocalStore(tree)).release is None
    again = begin(extract, tree)
    assert again.communicate(timeout=120)[0]
    assert again.returncode == 0
    assert open_current(LocalStore(tree)).release is not None
