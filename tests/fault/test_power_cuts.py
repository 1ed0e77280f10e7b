"""Power cuts: a file system's image, copied while a publisher is at work, holds a whole release.

The tree is on an ext4 image that is mounted through a loop device. At a random moment the publisher
is stopped and the image is copied at once: what the kernel still held in memory is lost, as it is
when the power fails. A copy during which something was written to the device is made again, so that
every copy is of one moment; between two system calls of the publisher, because it is stopped there.
"""

import multiprocessing
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

import pytest

from etl.publish.block import PatientResources
from etl.publish.manifest import ReleaseFacts
from etl.publish.reader import open_current
from etl.publish.release import commit
from etl.publish.verify import verify
from etl.storage.local import LocalStore
from tests.unit.publish.samples import claim, logical_id, patient, stage

BYTES = 24 << 20
TREE = "tree"

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["__main__", __name__])


def why_not():
    """Return why nothing can be mounted here; empty where it can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "only root can mount a file system"
    missing = [name for name in ("mkfs.ext4", "mount", "umount") if shutil.which(name) is None]
    if missing or not Path("/dev/loop-control").exists():
        return f"there are no loop devices, or no {', '.join(missing) or 'mount'}"
    return ""


PEOPLE = 12


def extract(number):
    """Return extract `number`: one more claim for some, one patient less, one more."""
    people = []
    for person in range(number, number + PEOPLE):
        name = f"p{person}"
        claims = [claim(name, 100 + n, "2023-01-01") for n in range(number % 3)]
        resources = [*patient(name, 3).resources, *claims]
        people.append(PatientResources(logical_id(name), resources))
    return people


def publish_extract(store, number):
    """Publish extract `number`, unless the present release was made from it or a later one."""
    base = open_current(store)
    done = -1 if base.release is None else base.release.manifest.facts.inputs[0]["name"]
    if number <= int(done):
        return
    facts = ReleaseFacts("full", inputs=[{"name": str(number)}])
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number)
    stamp = f"{now:%Y-%m-%dT%H:%M:%SZ}"
    commit(store, stage(store, extract(number), base, now=stamp, facts=facts), base)


def _publish(folder, number, told):
    while True:
        publish_extract(LocalStore(folder), number)
        told.send(number)
        number += 1


@dataclass
class Publisher:
    """A process that publishes extract after extract, and tells each that it has published."""

    process: multiprocessing.process.BaseProcess
    told: Connection
    last: int = -1

    @classmethod
    def start(cls, folder, first=0):
        told, other = _CONTEXT.Pipe(duplex=False)
        process = _CONTEXT.Process(target=_publish, args=(str(folder), first, other), daemon=True)
        process.start()
        other.close()
        return cls(process, told, first - 1)

    def hear(self, seconds):
        """Listen for a while to what it publishes."""
        until = time.monotonic() + seconds
        while self.told.poll(max(0.0, until - time.monotonic())):
            self.last = self.told.recv()

    def publishes(self):
        """Wait until it has published once more."""
        self.last = self.told.recv()

    def stop(self):
        """Stop it between two system calls, and hear what it told until then."""
        pid = self.process.pid
        os.kill(pid, signal.SIGSTOP)
        stat = Path(f"/proc/{pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "T":
            pass
        self.hear(0)

    def kill(self):
        self.process.kill()
        self.process.join()
        self.told.close()


def _found(command):
    return shutil.which(command) or command


@contextmanager
def mounted(image, at):
    """Mount an image, and give the name of its loop device."""
    at.mkdir(exist_ok=True)
    subprocess.run([_found("mount"), "-o", "loop", str(image), str(at)], check=True)
    try:
        device = at.stat().st_dev
        yield Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
    finally:
        subprocess.run([_found("umount"), str(at)], check=True)


def copied_at_once(image, device, to):
    """Copy an image as it is at one moment."""
    writes = Path(f"/sys/block/{device}/stat")

    def written():
        return writes.read_text().split()[4:7]  # finished writes, and sectors of them

    while True:
        before = written()
        shutil.copyfile(image, to)
        if written() == before:
            return


def cut(folder, random, *, killed_before):
    """Cut the power once; return what was told to be published, and what is found to be."""
    image, copy = folder / "image", folder / "copy"
    with image.open("wb") as file:
        file.truncate(BYTES)
    subprocess.run([_found("mkfs.ext4"), "-q", "-F", "-m", "0", str(image)], check=True)
    with mounted(image, folder / "at") as device:
        publisher = Publisher.start(folder / "at" / TREE)
        try:
            for _ in range(random.randint(0, 1)):
                publisher.publishes()
            publisher.hear(random.random() * 0.03)
            if killed_before:
                publisher.kill()
                publisher = Publisher.start(folder / "at" / TREE, publisher.last + 1)
                publisher.publishes()
            if random.random() < 0.5:
                publisher.hear(random.random() * 0.06)
            publisher.stop()
            copied_at_once(image, device, copy)
        finally:
            publisher.kill()
    with mounted(copy, folder / "at"):
        release = open_current(LocalStore(folder / "at" / TREE)).release
        if release is None:
            return publisher.last, -1
        found = verify(release)
        assert found.problems == []
        return publisher.last, int(release.manifest.facts.inputs[0]["name"])


@pytest.mark.skipif(bool(why_not()), reason=f"power is not cut here: {why_not()}")
@pytest.mark.parametrize(
    "cuts",
    [pytest.param(5, marks=pytest.mark.slow), pytest.param(30, marks=pytest.mark.long)],
)
@pytest.mark.parametrize("killed_before", [False, True], ids=["undisturbed", "after a kill"])
def test_a_power_cut_leaves_all_that_the_pointer_names_and_the_last_release_that_was_told(
    tmp_path, killed_before, cuts
):
    random = Random(killed_before)
    for _ in range(cuts):
        told, found = cut(tmp_path, random, killed_before=killed_before)
        assert found >= told
