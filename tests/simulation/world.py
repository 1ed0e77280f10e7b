"""Processes that take turns by a seed, the clock over them, and what befalls each step.

A process is a greenlet. It runs until its next call to storage, and there the schedule decides
what runs next and how the call ends. Nothing else decides anything: no thread, no clock of the
machine, no randomness but the seed's. So a seed is a schedule, down to the last call.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from greenlet import greenlet

START = datetime(2026, 11, 24, tzinfo=UTC)

Fate = Literal["done", "refused", "lost", "twice", "late", "dies", "dies after"]
"""How a call ends: carried out; refused; carried out, its answer lost; carried out twice, as a
client does that tries again; no answer, carried out later; and the end of the process."""

LEASE = timedelta(hours=2)
LATEST = timedelta(minutes=10)
"""How long a request may be under way that its sender has given up."""
_CRITICAL = {"swap current.json": 8, "delete": 3}
"""How much more often something befalls such a call: what goes wrong elsewhere matters less."""


class Killed(BaseException):
    """The end of a process: nothing may catch it and go on."""


@dataclass(frozen=True)
class Weather:
    """How bad it is in one schedule: chances, each call or turn.

    Attributes:
        refused, lost, twice, late, dies: how a call ends.
        stalls: a process stops for up to three days before its next call.
        jumps: the clock of one machine is set, by up to two days either way.
        crowd: processes at once.
    """

    refused: float = 0.0
    lost: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    dies: float = 0.0
    stalls: float = 0.0
    jumps: float = 0.0
    crowd: int = 2

    @classmethod
    def of(cls, chance):
        """Return weather in which each fault is absent, rare or frequent."""

        def some(often):
            return often * chance.choice((0, 0, 0.3, 1))

        return cls(
            refused=some(0.02),
            lost=some(0.03),
            twice=some(0.05),
            late=some(0.05),
            dies=some(0.01),
            stalls=some(0.03),
            jumps=some(0.02),
            crowd=chance.choice((1, 2, 2, 3)),
        )


CALM = Weather(crowd=1)


@dataclass
class Process:
    """One command at work on a machine of its own.

    Attributes:
        name: what the log calls it.
        world: where it lives.
        skew: how far its clock is ahead.
        wakes: when it goes on; in the past unless it is stalled.
        doomed: it is dead, and no call of its storage does anything any more.
        ended: how it ended; empty while it is at work.
        next: what kind of call it is about to make.
        last: how its last call ended.
    """

    name: str
    world: World
    skew: timedelta = timedelta(0)
    wakes: datetime = START
    doomed: bool = False
    ended: str = ""
    next: str = ""
    last: Fate = "done"
    run: greenlet = field(default_factory=greenlet)

    def clock(self):
        """Return the time that its machine shows."""
        return self.world.now + self.skew

    def call(self, what, key, *, can_be_late=True):
        """Let others have their turns, then return how this call ends.

        Raises:
            Killed: it does not come to it.
        """
        if self.doomed:
            raise Killed
        what = "swap current.json" if (what, key) == ("swap", "current.json") else what
        self.next = what
        self.world.hub.switch()
        if self.doomed:
            raise Killed
        fate = self.last = self.world.fate(what, can_be_late=can_be_late)
        self.world.note(
            f"{self.name}: {what.split()[0]} {key}{'' if fate == 'done' else f' -> {fate}'}"
        )
        if fate in ("dies", "dies after"):
            self.doomed = True
        if fate == "dies":
            raise Killed
        return fate


class World:
    """The schedule of one seed.

    Attributes:
        chance: where everything is drawn from.
        weather: how bad it is now.
        now: the true time, which is storage's too.
        log: what happened, a line a call.
    """

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.weather = Weather.of(self.chance)
        self.now = START
        self.log = []
        self.hub = greenlet.getcurrent()
        self.processes = []
        self._late = []

    def note(self, line):
        """Add a line to the log."""
        self.log.append(f"{self.now:%d %H:%M:%S} {line}")

    def fate(self, what, *, can_be_late):
        """Draw how a call ends."""
        weather, dice = self.weather, self.chance.random() / _CRITICAL.get(what, 1)
        reads = what in ("get", "list")
        fates = [
            ("dies", weather.dies / 2),
            ("dies after", weather.dies / 2),
            ("refused", weather.refused),
            ("lost", 0 if reads else weather.lost),
            ("twice", 0 if reads else weather.twice),
            ("late", 0 if reads or not can_be_late else weather.late),
        ]
        for fate, share in fates:
            if dice < share:
                return fate
            dice -= share
        return "done"

    def later(self, what, do):
        """Carry out a write some time from now, whatever became of its sender."""
        due = self.now + LATEST * self.chance.random()
        self._late.append((due, what, do))

    def start(self, name, job):
        """Begin a process; it runs up to its first call."""
        process = Process(name, self)

        def whole_life():
            try:
                process.ended = job(process)
            except Killed:
                process.ended = "killed"
            self.note(f"{name}: {process.ended}")

        process.run = greenlet(whole_life, self.hub)
        self.processes.append(process)
        self.note(f"{name}: begins")
        process.run.switch()
        self._bury()
        return process

    def turn(self):
        """Let time pass, and one process or one late write go on."""
        self._pass_time()
        due = [one for one in self._late if one[0] <= self.now]
        if due:
            self._late.remove(due[0])
            self.note(f"late: {due[0][1]}")
            due[0][2]()
            return
        awake = [one for one in self.processes if one.wakes <= self.now]
        if not awake:
            self.leap(min([one.wakes for one in self.processes] + [one[0] for one in self._late]))
            return
        process = self.chance.choice(awake)
        critical = 6 if process.last in ("lost", "late") else _CRITICAL.get(process.next, 1)
        if self.chance.random() < self.weather.stalls * critical:
            self._stall(process)
            return
        process.run.switch()
        self._bury()

    def leap(self, to):
        """Let much time pass at once; what is late takes place meanwhile."""
        for one in sorted(self._late, key=lambda one: one[0]):
            if one[0] <= to:
                self._late.remove(one)
                self.now = max(self.now, one[0])
                self.note(f"late: {one[1]}")
                one[2]()
        self.now = max(self.now, to)

    @property
    def busy(self):
        """Whether anything is under way."""
        return bool(self.processes or self._late)

    def end(self):
        """End what is still at work."""
        self._bury()
        for process in self.processes:
            process.doomed = True
            process.run.throw(Killed)
        self.processes = []

    @property
    def stalled(self):
        """The processes that are stalled."""
        return [one for one in self.processes if one.wakes > self.now]

    @property
    def awake(self):
        """How many processes are at work, and not stalled."""
        return len(self.processes) - len(self.stalled)

    def _stall(self, process):
        """Stop a process for a while: for less than a lease, where it is about to delete.

        A deletion cannot be made conditional. That none takes as long as a lease is what a prune
        relies on.
        """
        times = (LEASE / 4,) if process.next == "delete" else (LEASE / 4, 2 * LEASE, 30 * LEASE)
        process.wakes = self.now + self.chance.choice(times)
        self.note(f"{process.name}: stalls until {process.wakes:%d %H:%M}")

    def _pass_time(self):
        self.now += timedelta(seconds=self.chance.choice((0, 0, 1, 5)))
        if self.chance.random() < self.weather.jumps and self.processes:
            process = self.chance.choice(self.processes)
            hours = self.chance.choice((-48, -3, -1, 0, 1, 3, 48))
            process.skew = timedelta(hours=hours)
            self.note(f"{process.name}: its clock is set to {process.clock():%d %H:%M}")

    def _bury(self):
        self.processes = [one for one in self.processes if not one.run.dead]
