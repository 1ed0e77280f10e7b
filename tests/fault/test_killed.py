"""Real processes, really killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from etl.publish.reader import open_current
from etl.publish.verify import verify
from etl.storage.local import LocalStore
from tests.fault.publish_forever import run
from tests.unit.publish.samples import objects

SCRIPT = Path(__file__).with_name("publish_forever.py")
ROOT = Path(__file__).parents[2]


def start(folder: Path, first: int, last: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), str(first), str(last)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def kill_at_random(folder: Path, kills: int, seed: int) -> int:
    """Kill publishers at random moments; return the number of the last extract that was begun."""
    moments = random.Random(seed)
    seen = -1
    for _ in range(kills):
        process = start(folder, seen + 1, seen + 10_000)
        assert process.stdout is not None
        process.stdout.readline()  # it is at work now, whatever the machine's load
        time.sleep(moments.random() * 0.03)
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        process.wait()
        release = open_current(LocalStore(folder)).release
        assert release is not None
        number = int(release.manifest.facts.inputs[0]["name"])
        assert number > seen
        assert verify(release).problems == []
        seen = number
    return seen


def check(folder: Path, undisturbed: Path, kills: int, seed: int) -> None:
    last = kill_at_random(folder, kills, seed)
    for number in range(last + 2):
        run(LocalStore(folder), number)
        run(LocalStore(undisturbed), number)
    killed, whole = objects(LocalStore(folder)), objects(LocalStore(undisturbed))
    assert killed["current.json"] == whole["current.json"]
    release = open_current(LocalStore(folder)).release
    assert release is not None
    assert verify(release).ok
    assert {key: killed.get(key) for key in whole} == whole


def test_a_publisher_killed_at_any_moment_leaves_a_whole_release(tmp_path: Path) -> None:
    check(tmp_path / "killed", tmp_path / "whole", 5, seed=1)


@pytest.mark.parametrize(
    "kills",
    [pytest.param(15, marks=pytest.mark.slow), pytest.param(200, marks=pytest.mark.long)],
)
def test_kill_after_kill_leaves_a_whole_release_each_time(tmp_path: Path, kills: int) -> None:
    check(tmp_path / "killed", tmp_path / "whole", kills, seed=2)
