"""Memory of a process and of all that it began, sampled while it runs."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_EVERY: Final = 0.5
"""Seconds between two looks. One takes the kernel some 20 ms where processes have 1 GB each."""


def peak_of(command: Sequence[str], variables: Mapping[str, str]) -> tuple[int, int, str]:
    """Run a command; return exit code, most memory of its processes together, and output.

    A page that several processes share counts once among them (`Pss` of Linux), so that the sum is
    what the machine gives them. Bytes.
    """
    most = 0
    process = subprocess.Popen(  # noqa: S603 - this program, with arguments of its own
        command, env=dict(variables), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while True:
        most = max(most, sum(map(_bytes, _tree(process.pid))))
        try:
            output, _ = process.communicate(timeout=_EVERY)
        except subprocess.TimeoutExpired:
            continue
        return process.returncode, most, output


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
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line[:4] == "Pss:")
