"""Whole nights of the pipeline, really killed: processes that get SIGKILL."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from etl.bootstrap.settings import Settings, read_settings, target_store
from etl.publish.manifest import Pointer
from etl.publish.reader import open_current
from etl.publish.verify import verify
from etl.synth.extract import write_extract, write_network
from etl.synth.spec import Spec
from tests.fault.killable import (
    AFTER,
    BEFORE,
    ENDED,
    PHASES,
    PROCESSING,
    PRUNING,
    SWAPPING,
    Job,
    Running,
    finish,
)
from tests.given.object_storage import BUCKET, SECRETS, start_weed
from tests.integration.nights import ANY_CHANGE
from tests.waiting import is_alive, until

FIRST = datetime.fromisoformat("2040-01-01T03:00:00Z")
"""So late that every object is old enough to be pruned, whenever the test runs."""
KEPT = 2
SPEC = Spec(6, since=date(2024, 1, 1), change_rate=0.3)
DIRECTORY = Spec(practitioners=40, seed=7)
"""Of two regions: in each something changes every night."""
KILLED = -9
ENDS = (AFTER, ENDED)


@dataclass
class Nights:
    """One night after the other at one target: an extract is published, and then pruned.

    Attributes:
        settings: of the payer.
        extracts: folder of the extracts.
        here: folder in which its processes work.
        variables: of their environment.
        spec: of the extracts.
    """

    settings: Settings
    extracts: Path
    here: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    spec: Spec = SPEC

    def _at(self, night, hours=0, **what):
        at = FIRST + timedelta(days=night, hours=hours)
        return Job(self.settings, at, variables=self.variables, **what)

    def run(self, night):
        """Return what publishes the extract of a night."""
        extract = self.extracts / f"full{night}"
        if not extract.exists():
            write = write_network if self.spec.practitioners else write_extract
            write(extract, replace(self.spec, day=night))
        return self._at(night, extract=extract)

    def prune(self, night, attempt=1):
        """Return what prunes after a night, when leases of dead attempts have run out."""
        return self._at(night, 2.1 * attempt, keep=KEPT)

    def settle(self, night):
        """Prune until nothing is left to prune: a page is closed by one, deleted by the next."""
        for attempt in (1, 2):
            self.finish(self.prune(night, attempt))

    def finish(self, job):
        return finish(job, self.here)

    def release(self):
        """Return what readers see; all of it is there, but for pages that the next run writes."""
        found = open_current(target_store(self.settings)).release
        if found is None:
            return None
        problems = [(one.kind, one.what) for one in verify(found).problems]
        assert {kind for kind, what in problems if "a run writes it again" in what} <= {"missing"}
        assert [what for _, what in problems if "a run writes it again" not in what] == []
        return found.id

    def objects(self):
        """Return all objects but leases of the dead; the pointer without its prunes' fence."""
        store = target_store(self.settings)
        keys = [entry.key for entry in store.list() if not entry.key.startswith("leases/")]
        found = {key: store.get(key) for key in keys}
        pointer = Pointer.from_bytes(found["current.json"], "current.json")
        return {**found, "current.json": replace(pointer, fence=0).to_bytes()}


@pytest.fixture
def nights(tmp_path):
    """Return what makes the nights of a target, which is a folder unless another is named."""

    def make(name, target="", workers=1, spec=SPEC, **changed):
        here = tmp_path / f"at-{name}"
        here.mkdir()
        run = {"workers": workers, "partition_rows": 1000}
        settings = read_settings(
            None,
            target=target or str(here / "tree"),
            report={"gx_rows": 0},
            run=run,
            limits=ANY_CHANGE,
            **changed,
        )
        return Nights(settings, tmp_path, here, spec=spec)

    return make


@dataclass
class Killer:
    """Kills at random moments of given phases.

    Attributes:
        random: decides on the moment.
        lasts: phase -> about how many seconds it takes.
        fell: phase -> how many processes were killed in it.
    """

    random: Random
    lasts: dict[str, float]
    fell: Counter[str]

    def learn(self, undisturbed):
        """Take note of how long the phases take."""
        told = undisturbed.phases
        for (phase, began), (_, ended) in pairwise(told):
            self.lasts[phase] = ended - began

    def kill(self, job, phase, here):
        """Kill what does a job, at a moment of a phase or, if it is slow, thereabouts.

        Returns:
            The phase in which it fell; that it ended, where it was faster.
        """
        running = Running(job, here)
        if running.reaches(phase):
            time.sleep(self.random.random() * self.lasts[phase])
        code = running.kill()
        assert code in (0, KILLED)
        if code == 0 or running.last.startswith(ENDED):
            return ENDED
        self.fell[running.last] += 1
        return running.last


def kill_nights(killed, whole, kills, seed, in_each=0):
    """Kill night after night; readers only ever see one whole release or the next.

    Args:
        killed: the nights to kill.
        whole: the same nights, undisturbed.
        kills: how many have to fall.
        seed: decides on phases and moments.
        in_each: how many of them in each phase.
    """
    killer = Killer(Random(seed), {}, Counter())
    old, night = None, 0
    while killer.fell.total() < kills or min(killer.fell[each] for each in PHASES) < in_each:
        assert night <= max(kills, 20), killer.fell
        killer.learn(whole.finish(whole.run(night)))
        new = whole.release()
        order = [*killer.random.choices(BEFORE, k=killer.random.randint(2, 4)), AFTER]
        for phase in order if night else ():
            fell = killer.kill(killed.run(night), phase, killed.here)
            seen = killed.release()
            assert seen in ({old, new} if fell == SWAPPING else {new if fell in ENDS else old})
            if seen == new:
                break
        killed.finish(killed.run(night))  # if only because pages may be missing
        assert killed.release() == new
        killer.learn(whole.finish(whole.prune(night)))
        fell = killer.kill(killed.prune(night), PRUNING, killed.here)
        assert fell in (PRUNING, ENDED)
        assert killed.release() == new
        killed.finish(killed.prune(night, attempt=2))
        old, night = new, night + 1
    for each in (killed, whole):
        each.settle(night)
    assert killed.objects() == whole.objects()


KILLS = [
    pytest.param(DIRECTORY, 5, 1, marks=pytest.mark.slow, id="directory"),
    pytest.param(SPEC, 200, 20, marks=pytest.mark.long, id="claims long"),
    pytest.param(DIRECTORY, 200, 20, marks=pytest.mark.long, id="directory long"),
]


@pytest.mark.parametrize(("spec", "kills", "in_each"), KILLS)
def test_nights_killed_in_every_phase_leave_one_whole_release_or_the_next(
    nights, spec, kills, in_each
):
    killed, whole = nights("killed", spec=spec), nights("whole", spec=spec)
    kill_nights(killed, whole, kills, seed=2, in_each=in_each)
    left = {path.name for path in (killed.here / "tree").iterdir() if path.name.startswith(".")}
    assert left <= {".lock", ".staging", ".cpcds-work.lock"}
    assert not list((killed.here / "tree" / ".staging").iterdir())


def is_worker(path, of):
    """Return whether a folder of /proc is of a living process that a run began for its work."""
    try:
        state, parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
        command = (path / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z" and int(parent) == of and b"spawn_main" in command


def workers(running):
    """Wait until a run has begun both its processes, and return them."""
    assert running.reaches(PROCESSING)

    def begun():
        there = Path("/proc").glob("[0-9]*")
        return [int(path.name) for path in there if is_worker(path, running.pid)]

    until(lambda: len(begun()) == 2, 60)
    return begun()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="/proc tells who began whom")
def test_workers_of_a_run_that_is_killed_end_with_it(nights):
    killed = nights("killed", workers=2)
    running = Running(killed.run(0), killed.here)
    alone = workers(running)
    time.sleep(1.5)
    running.kill()
    until(lambda: not any(is_alive(pid) for pid in alone))  # they would write beside the next run


@pytest.fixture
def bucket(nights, tmp_path, monkeypatch):
    """Return what makes the nights of a prefix of a bucket on a real server."""
    variables = {
        "AWS_ACCESS_KEY_ID": "publisher",
        "AWS_SECRET_ACCESS_KEY": SECRETS["publisher"],
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with start_weed(tmp_path / "weed") as server:

        def make(name):
            store = {"endpoint_url": server.endpoint_url}
            made = nights(name, f"s3://{BUCKET}/{name}", store=store)
            return replace(made, variables=variables)

        yield make


@pytest.mark.slow
def test_killed_nights_to_object_storage(bucket):
    kill_nights(bucket("killed"), bucket("whole"), 5, seed=3, in_each=1)
