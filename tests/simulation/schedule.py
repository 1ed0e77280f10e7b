"""One seed: a tree, the commands that work on it, what befalls them, and a quiet end."""

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from unittest.mock import patch

from etl.publish.bulk_files import BulkOptions
from etl.publish.prune import GRACE
from etl.publish.reader import open_current
from etl.publish.verify import verify
from tests.simulation import jobs
from tests.simulation.disk import Disk
from tests.simulation.jobs import NAMES, Extract, Tree
from tests.simulation.watcher import Broken, Watcher
from tests.simulation.world import CALM, World

_TURNS = 20_000
"""Turns after which a schedule counts as one that does not end."""
_GRACE = (timedelta(0), timedelta(0), GRACE)
"""How young objects have to be that a prune leaves: no promise may hang on it."""


_COMMANDS = (
    "full", "night", "night", "again", "again", "prune", "prune", "rollback", "resume",
)  # fmt: skip


@dataclass(frozen=True)
class Simulated:
    """What came of a seed.

    Attributes:
        seed: it.
        broken: what did not hold; empty where everything did.
        log: every call of every process.
        releases: how many readers saw.
    """

    seed: int
    broken: str
    log: list[str]
    releases: int


def simulate(seed):
    """Run the schedule of a seed, and stop where something does not hold."""
    world = World(seed)
    disk = Disk(world)
    watcher = Watcher(world, disk)
    bulk = world.chance.choice((None, BulkOptions(snapshot_every=2)))
    tree = Tree(disk, world.chance.choice(("folder", "bucket")), watcher, bulk)
    broken = ""
    with _seeded_names(seed):
        try:
            _Schedule(world, tree).play()
        except Broken as error:
            broken = str(error)
        finally:
            world.end()
    return Simulated(seed, broken, world.log, len(watcher.history))


class _Schedule:
    """What is done in the world of one seed."""

    def __init__(self, world, tree):
        self._world = world
        self._chance = world.chance
        self._tree = tree
        self._extracts = []
        self._versions = 0

    def play(self):
        """Let commands work and fail, and then one after the other succeed."""
        world, chance = self._world, self._chance
        weather, world.weather = world.weather, CALM
        for number in range(chance.choice((0, 2, 2, 3))):
            extract = self._night() if number and chance.random() < 0.7 else self._full()
            self._start(number, "calm run", jobs.run(self._tree, extract))
            while self._turn():
                pass
            world.leap(world.now + timedelta(hours=20))
        world.weather = weather
        for number in range(chance.randint(4, 9)):
            while world.awake >= world.weather.crowd or chance.random() < 0.5:
                if not self._turn():
                    break
            name, job = self._some_job()
            hours = 2.5 if world.stalled else chance.choice((0, 0, 1, 3, 30)) * chance.random()
            world.leap(world.now + timedelta(hours=hours))
            self._start(number, name, job)
        while world.busy:
            self._turn()
        self._calm()

    def _turn(self):
        """Let one step be made, and look at what it made; return whether there was any to make."""
        if not self._world.busy:
            return False
        self._world.turn()
        self._tree.watcher.look()
        if len(self._world.log) > _TURNS:
            raise Broken("it does not come to an end")
        return True

    def _calm(self):
        """After three days without any fault, everything works."""
        self._world.weather = CALM
        self._world.leap(self._world.now + timedelta(days=3))
        tree = self._tree
        last = self._full()
        for name, job in (
            ("resume", jobs.resume(tree)),
            ("run", jobs.run(tree, last)),
            ("prune", jobs.prune(tree, 2)),
            ("run again", jobs.run(tree, last)),
        ):
            process = self._start(0, f"at last {name}", job)
            while self._world.busy:
                self._turn()
            if process.ended.startswith(("StoreError", "Commit", "NotFound", "UsageError")):
                raise Broken(f"without any fault, {name} fails: {process.ended}")
        release = open_current(tree.disk).release
        found = verify(release)
        if not found.ok:
            raise Broken(f"verify: {found.problems[0].key}: {found.problems[0].what}")

    def _start(self, number, name, job):
        process = self._world.start(f"{name} {number}", job)
        self._tree.watcher.look()
        return process

    def _some_job(self):
        chance, tree = self._chance, self._tree
        kind = chance.choice(_COMMANDS)
        if chance.random() < 0.5:
            kind = self._awaited() or kind
        if kind == "prune":
            return kind, jobs.prune(tree, chance.randint(1, 3), chance.choice(_GRACE))
        if kind == "rollback":
            return kind, jobs.roll_back(tree, chance.randint(0, 2))
        if kind == "resume":
            return kind, jobs.resume(tree)
        if kind == "again" and self._extracts:
            extract = chance.choice(self._extracts[-3:])
            extract.suites = chance.random() < 0.2
            return kind, jobs.run(tree, extract)
        extract = self._night() if kind == "night" and tree.watcher.history else self._full()
        self._extracts.append(extract)
        return extract.kind, jobs.run(tree, extract)

    def _awaited(self):
        """Return what is most likely to meet what there is now: none where there is nothing."""
        stalled = [one.name for one in self._world.stalled]
        if stalled:
            return "again" if stalled[0].startswith("prune") else "prune"
        watcher = self._tree.watcher
        return "resume" if watcher.held.intersection(watcher.history[-1:]) else None

    def _full(self):
        return self._extract("full", {name: self._version() for name in self._some_names()})

    def _night(self):
        return self._extract("delta", {name: self._version() for name in self._some_names()[:2]})

    def _extract(self, kind, members):
        self._versions += 1
        directory = frozenset(self._chance.sample(("d-1", "d-2", "d-3"), 2))
        return Extract(self._versions, kind, members, directory)

    def _version(self):
        """Return a version of a member: few, so that content comes again, and none where gone."""
        return self._chance.randint(0, 3)

    def _some_names(self):
        return self._chance.sample(NAMES, self._chance.randint(2, len(NAMES)))


@contextmanager
def _seeded_names(seed):
    """Draw the random names of leases and marks from the seed too."""
    chance = Random(seed)

    def token_hex(count):
        return chance.randbytes(count).hex()

    buckets = patch("etl.publish.prune._BUCKETS", 1)  # files that a prune opens for each folder
    with patch("secrets.token_hex", token_hex), buckets:
        yield
