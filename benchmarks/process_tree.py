"""Memory and processor time of a process and of all that it began, sampled while it runs."""

from __future__ import annotations

import os
import subprocess
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_EVERY: Final = 0.5
"""Seconds between two looks. One takes the kernel some 20 ms where processes have 1 GB each."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Tree:
    """A process and all below it, while they ran.

    Attributes:
        code: the process's exit code.
        output: what it wrote, standard error included.
        memory: most memory of them together, in bytes. A page that several processes share counts
            once among them (`Pss` of Linux), so that the sum is what the machine gives them.
        processor: kind of process -> its processor time in seconds, but for each one's last moments
            between two looks: `JVM`, `executors' Python` of Spark, and `Python`.
    """

    code: int
    output: str
    memory: int
    processor: Mapping[str, float]


def run_sampled(command: Sequence[str], variables: Mapping[str, str]) -> Tree:
    """Run a command to its end, and return what its processes took."""
    memory = 0
    seen: dict[tuple[int, str], tuple[str, float]] = {}
    process = subprocess.Popen(  # noqa: S603 - this program, with arguments of its own
        command, env=dict(variables), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while True:
        tree = _tree(process.pid)
        memory = max(memory, sum(map(_bytes, tree)))
        seen.update(_processor(tree))
        try:
            output, _ = process.communicate(timeout=_EVERY)
        except subprocess.TimeoutExpired:
            continue
        processor = defaultdict[str, float](float)
        for kind, seconds in seen.values():
            processor[kind] += seconds
        return Tree(process.returncode, output, memory, processor)


def _tree(pid: int) -> list[int]:
    """Return a process and all below it."""
    found = [pid]
    for one in found:
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:
            continue  # it has ended meanwhile
    return found


def _bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next(
        (int(line.split()[1]) * 1024 for line in text.splitlines() if line[:4] == "Pss:"), 0
    )


def _processor(tree: Sequence[int]) -> dict[tuple[int, str], tuple[str, float]]:
    """Return process and its start -> its kind, and its own processor time until now (proc(5))."""
    found = {}
    for pid in tree:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        user, system, start = values[11], values[12], values[19]
        found[pid, start] = (_kind(command), (int(user) + int(system)) / _TICKS)
    return found


def _kind(command: bytes) -> str:
    if command.split(b"\0")[0].endswith(b"java"):
        return "JVM"
    return "executors' Python" if b"pyspark.daemon" in command else "Python"
