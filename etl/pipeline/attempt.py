"""What an attempt that died left behind, and whether the next one may go on from it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from etl.errors import StoreError
from etl.publish.reader import Current
from etl.sources.inventory import Inventory

_STEP: Final = "begun"
_LASTS: Final = timedelta(hours=12)
"""Younger than what a prune leaves alone (`prune.GRACE`): objects of a dead attempt still exist."""


def own_folder(work: Path) -> Path:
    """Return a folder for what is in progress, made for its owner alone.

    Raises:
        StoreError: it is there, and others own it or may look or write into it: a run would go on
            from what they put there.
    """
    work.mkdir(parents=True, exist_ok=True, mode=0o700)
    there = work.lstat()
    if (
        not stat.S_ISDIR(there.st_mode)
        or there.st_uid != os.geteuid()
        or stat.S_IMODE(there.st_mode) & 0o077
    ):
        raise StoreError(
            f"{work} must be a folder of your own that is closed to everybody else (mode 0700), "
            "because runs go on from what is in it: delete it, or let run.work name another place"
        )
    return work


def go_on(work: Path, target: str, base: Current, when: datetime, kept: Iterable[str]) -> datetime:
    """Return when the run began: now, or when an attempt did that can be gone on from.

    Finished partitions hold rows of the catalog that were made for one target, on top of one
    release, at one time. Where any of that is another now, they are forgotten; the extract as it
    was read stays. A run that goes on keeps the time of the first attempt, so that its result is
    the one of an undisturbed run.

    Args:
        work: the run's own folder.
        target: name of the store.
        base: what readers see now, and what of it is to be made again.
        when: the time now.
        kept: folders of `work` with what finished partitions left.
    """
    inventory = Inventory(work)
    lost = [sorted(base.lost.patients), sorted(base.lost.shards), base.lost.bulk]
    facts = {
        "target": target,
        "release": None if base.release is None else base.release.id,
        "lost": hashlib.sha256(json.dumps(lost).encode()).hexdigest() if base.lost else "",
    }
    there = inventory.step(_STEP)
    if there is not None and facts.items() <= there.facts.items():
        began = datetime.fromisoformat(there.facts["began"])
        if timedelta(0) <= when - began < _LASTS:
            return began
    for name in kept:
        shutil.rmtree(work / name, ignore_errors=True)
    inventory.add(_STEP, facts={**facts, "began": when.isoformat()})
    return when
