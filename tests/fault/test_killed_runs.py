"""Whole runs of the pipeline, really killed: processes that get SIGKILL at random moments."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from etl.bootstrap import jobs
from etl.bootstrap.settings import Settings, read_settings
from etl.bootstrap.targets import target_store
from etl.pipeline import memory
from etl.pipeline.events import ignore
from etl.publish.reader import open_current
from etl.publish.verify import verify
from etl.storage.port import Store
from tests.contract.store.seaweed import BUCKET, SECRETS, find_weed, start_weed
from tests.e2e.commands import same_tools
from tests.integration.nights import FIRST, full


@dataclass
class Nights:
    """One night after the other at one target, each in a process of its own.

    The process that forks never works with Arrow, whose threads do not survive a fork.

    Attributes:
        settings: of the payer.
        extracts: folder of the extracts.
    """

    settings: Settings
    extracts: Path

    def store(self) -> Store:
        return target_store(self.settings)

    def begin(self, night: int) -> int:
        """Begin to publish what there is on a night, and return the process."""
        extract = full(self.extracts / f"full{night}", night)
        jobs.now = lambda: FIRST + timedelta(days=night)
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            jobs.run_extract(self.settings, extract, ignore)
            code = 0
        finally:
            os._exit(code)

    def finish(self, night: int) -> None:
        """Publish what there is on a night."""
        _, status = os.waitpid(self.begin(night), 0)
        assert os.waitstatus_to_exitcode(status) == 0

    def release(self) -> str | None:
        """Return what readers see; all of it is there."""
        found = open_current(self.store()).release
        if found is None:
            return None
        assert verify(found).problems == []
        return found.id

    def objects(self) -> dict[str, bytes]:
        store = self.store()
        keys = [entry.key for entry in store.list() if not entry.key.startswith("leases/")]
        return {key: store.get(key) for key in keys}


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(jobs, "now", jobs.now)
    monkeypatch.setattr(jobs, "make_tools", same_tools)
    monkeypatch.setattr(memory, "_code", lambda: "the same in every process")
    monkeypatch.chdir(tmp_path)


def at(target: str, work: Path, **more: object) -> Settings:
    work.mkdir()
    run = {"workers": 1, "partition_rows": 2500, "work": work}
    return read_settings(None, target=target, run=run, report={"gx_rows": 0}, **more)


def check(killed: Nights, whole: Nights, kills: int, seed: int) -> None:
    """Kill runs at random moments; all that readers ever see is one whole release or the next."""
    moments = random.Random(seed)
    whole.finish(0)
    killed.finish(0)
    seen, night, longest = killed.release(), 1, 0.0
    began = time.monotonic()
    whole.finish(1)
    longest = time.monotonic() - began
    following = whole.release()
    for _ in range(kills):
        process = killed.begin(night)
        time.sleep(moments.random() * longest)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        now = killed.release()
        assert now in (seen, following)
        if now == following:
            killed.finish(night)  # its pages may be missing
            seen, night = now, night + 1
            whole.finish(night)
            following = whole.release()
    killed.finish(night)
    assert killed.release() == following
    there, expected = killed.objects(), whole.objects()
    assert {key: there.get(key) for key in expected} == expected
    assert not list(Path(str(killed.settings.run.work)).rglob("*.pickle"))


@pytest.mark.slow
def test_a_run_killed_at_any_moment_leaves_a_whole_release_and_is_finished_by_the_next(
    tmp_path: Path,
) -> None:
    killed = Nights(at(str(tmp_path / "killed"), tmp_path / "work1"), tmp_path)
    whole = Nights(at(str(tmp_path / "whole"), tmp_path / "work2"), tmp_path)
    check(killed, whole, 2, seed=1)


@pytest.mark.long
def test_two_hundred_killed_runs(tmp_path: Path) -> None:
    killed = Nights(at(str(tmp_path / "killed"), tmp_path / "work1"), tmp_path)
    whole = Nights(at(str(tmp_path / "whole"), tmp_path / "work2"), tmp_path)
    check(killed, whole, 200, seed=2)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Settings]]:
    """Return what makes settings for a prefix of a bucket on a real server."""
    weed = find_weed()
    if weed is None:
        pytest.skip("SeaweedFS is not installed")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "publisher")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS["publisher"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with start_weed(weed, tmp_path / "weed") as server:
        yield lambda name: at(
            f"s3://{BUCKET}/{name}",
            tmp_path / f"work-{name}",
            store={"endpoint_url": server.endpoint_url},
        )


@pytest.mark.long
def test_runs_to_object_storage_that_are_killed(
    bucket: Callable[[str], Settings], tmp_path: Path
) -> None:
    check(Nights(bucket("killed"), tmp_path), Nights(bucket("whole"), tmp_path), 20, seed=3)
