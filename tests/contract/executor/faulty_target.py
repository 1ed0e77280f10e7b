"""A target whose stores kill or hold up the executors of Spark that write to them."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from etl.publish.target import Target
from tests.fault.faulty import FaultyStore
from tests.waiting import until

BLOCKS = "patients/"


@dataclass(frozen=True, slots=True)
class FaultyTarget(Target):
    """A target that is as any other to the driver.

    Attributes:
        markers: folder with a file for each fault that took place.
        deaths: Python processes of executors that die at a block, one after the other.
        losses: executors that die with theirs.
        slow: whether one block waits until another process writes the same.
    """

    markers: Path = Path()
    deaths: int = 0
    losses: int = 0
    slow: bool = False

    def store(self):
        """Return a store that is faulty where an executor writes to it."""
        store = Target(self.name, self.options).store()
        # An executor's Python has this module, and neither the driver nor its processes.
        return ExecutorStore(store, self) if "pyspark.worker" in sys.modules else store


class ExecutorStore(FaultyStore):
    """Dies, or waits, where its target says; once each among all processes."""

    def __init__(self, store, target):
        super().__init__(store)
        self._target = target

    def put(self, key, data):
        if key.startswith(BLOCKS):
            self._fail(key)
        return super().put(key, data)

    def _fail(self, key):
        target = self._target
        if target.slow:
            self._slow(key)
        for number in range(target.deaths + target.losses):
            if self._is_first(f"death{number}", key):
                if number >= target.deaths:
                    daemon = os.getppid()
                    os.kill(_parent(daemon), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)

    def _slow(self, key):
        first, again = (self._target.markers / name for name in ("slow", "again"))
        if self._is_first("slow", key):
            until(again.exists, 300)
            (self._target.markers / "released").touch()
        elif first.read_text() == key and not again.exists():
            self._is_first("again", key)

    def _is_first(self, name, text):
        """Write a marker that is whole once it is there, unless another process did."""
        path = self._target.markers / name
        mine = path.with_name(f".{name}-{os.getpid()}")
        mine.write_text(text)
        try:
            os.link(mine, path)
        except FileExistsError:
            return False
        finally:
            mine.unlink()
        return True


def _parent(process):
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
