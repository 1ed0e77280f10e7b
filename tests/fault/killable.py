"""Use cases in processes that are killed.

Each is forked from one that has everything imported and the mappings compiled, and in which nothing
has run yet: it costs no start, and no thread of Arrow's is lost in the fork. It tells through
a pipe how far it is.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from multiprocessing import forkserver
from pathlib import Path

import pytest

from etl.bootstrap import opened_extract, releases, use_cases
from etl.bootstrap.settings import Settings, target_store
from etl.errors import EtlError
from etl.pipeline.progress import StageBegan
from etl.publish import target as targets
from etl.publish.manifest import Pointer
from etl.publish.object_keys import CURRENT
from etl.publish.reader import read_pointer
from tests.e2e.commands import same_definitions
from tests.fault.faulty import FaultyStore

_CONTEXT = multiprocessing.get_context("forkserver")
_SERVER = forkserver.ForkServer()
"""Python's own server loads what its first user asked for, which here may be any other test."""
_SERVER.set_forkserver_preload(["__main__", __name__, "tests.fault.compiled"])

PROCESSING = "processing"
BEFORE = ("reading", PROCESSING, "publishing")
SWAPPING = "swapping"
"""The swap itself, in which readers have the one or the other: a slow disk makes it long."""
AFTER = "after the swap"
PRUNING = "pruning"
PHASES = (*BEFORE, AFTER, PRUNING)
"""Where a night can be killed."""
ENDED = "ended"
_OF_STAGES = {"directory": PROCESSING, "partitions": PROCESSING, "publish": "publishing"}


@dataclass(frozen=True)
class Job:
    """What a process is to do.

    Attributes:
        settings: of the payer.
        at: the time in it.
        extract: what to publish; None for nothing.
        keep: how many releases a prune is to leave; None for no prune.
        variables: set in its environment.
    """

    settings: Settings
    at: datetime
    extract: Path | None = None
    keep: int | None = None
    variables: Mapping[str, str] = field(default_factory=dict)

    def do(self, tell):
        """Do it, and tell each phase that begins."""
        store = _Telling(target_store(self.settings), tell)
        if self.keep is not None:
            self._let_leases_rest()
        patch = pytest.MonkeyPatch()  # never undone: the process ends
        patch.setattr(use_cases, "now", lambda: self.at)
        for module in (use_cases, releases):
            patch.setattr(module, "target_store", lambda _: store)
        patch.setattr(opened_extract, "load_definitions", same_definitions)
        patch.setattr(targets, "open_store", lambda *_: store)
        if self.extract is not None:
            tell("reading")
            use_cases.run_extract(self.settings, self.extract, lambda event: _note(event, tell))
        if self.keep is not None:
            tell(PRUNING)
            releases.prune_target(self.settings, self.keep, timedelta(0), dry_run=False)
        tell(ENDED)

    def _let_leases_rest(self):
        """Let what the dead left look as old to storage, whose clock is real, as `at` has it."""
        if "://" in self.settings.target:
            store = target_store(self.settings)
            store.delete([entry.key for entry in store.list("leases/")])
        for left in Path(self.settings.target).glob("leases/*"):
            rested = left.stat().st_mtime - timedelta(hours=3).total_seconds()
            os.utime(left, (rested, rested))


class _Telling(FaultyStore):
    """Tells when readers get another release."""

    def __init__(self, store, tell):
        super().__init__(store)
        self._tell = tell

    @property
    def concurrency(self):
        return self._store.concurrency

    def swap(self, key, data, expected):
        if key != CURRENT or not self._names_another_release(data):
            return super().swap(key, data, expected)
        self._tell(SWAPPING)
        tag = super().swap(key, data, expected)
        self._tell(AFTER)
        return tag

    def _names_another_release(self, data):
        """Return whether a pointer is no fence, which is the same release written anew."""
        there = read_pointer(self._store)
        if there is None:
            return True
        old, new = (Pointer.from_bytes(each, CURRENT) for each in (there.data, data))
        return old.release != new.release


def _note(event, tell):
    if isinstance(event, StageBegan) and event.stage in _OF_STAGES:
        tell(_OF_STAGES[event.stage])


def _work(job, folder, told):
    os.chdir(folder)
    os.environ.update(job.variables)
    try:
        job.do(told.send)
    except EtlError as error:
        os._exit(error.exit_code)


class Running:
    """A process at work.

    Args:
        job: what it does.
        folder: where it works.
    """

    def __init__(self, job, folder):
        self._told, other = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(target=_work, args=(job, folder, other))
        with pytest.MonkeyPatch.context() as patch:
            connect = _SERVER.connect_to_new_process
            patch.setattr(forkserver, "connect_to_new_process", connect)
            self._process.start()
        other.close()
        self.phases = []

    @property
    def pid(self):
        return self._process.pid

    @property
    def last(self):
        """The last that it told."""
        return self.phases[-1][0] if self.phases else ""

    def reaches(self, phase):
        """Wait until it tells a phase; False where it ended before."""
        while self.last != phase:
            try:
                self.phases.append((self._told.recv(), time.monotonic()))
            except EOFError:
                return False
        return True

    def end(self):
        """Wait for its end, and return its exit code."""
        self.reaches("the end of all that it tells")
        self._process.join()
        return self._process.exitcode

    def kill(self):
        """Kill it; return its exit code, which is not SIGKILL's where it had ended before."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        return self.end()


def finish(job, folder):
    """Do a job undisturbed."""
    running = Running(job, folder)
    assert running.end() == 0
    return running
