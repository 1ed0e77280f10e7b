"""What an attempt that died left behind, and whether the next one may go on from it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

_FILE: Final = "begun.json"
_LASTS: Final = timedelta(hours=12)
"""Younger than what a prune leaves alone (`prune.GRACE`): objects of a dead attempt still exist."""


def go_on(
    work: Path, target: str, release: str | None, when: datetime, kept: Iterable[str]
) -> datetime:
    """Return when the run began: now, or when an attempt did that can be gone on from.

    Finished partitions hold rows of the catalog that were made for one target, on top of one
    release, at one time. Where any of that is another now, they are forgotten; the extract as it
    was read stays. A run that goes on keeps the time of the first attempt, so that its result is
    the one of an undisturbed run.

    Args:
        work: the run's own folder.
        target: name of the store.
        release: what readers see now; None before the first release.
        when: the time now.
        kept: folders of `work` with what finished partitions left.
    """
    path = work / _FILE
    facts = {"target": target, "release": release}
    try:
        there = json.loads(path.read_bytes())
        began = datetime.fromisoformat(there.pop("began"))
        if there == facts and timedelta(0) <= when - began < _LASTS:
            return began
    except (FileNotFoundError, ValueError, KeyError, AttributeError, TypeError):
        pass  # nothing to go on from
    for name in kept:
        shutil.rmtree(work / name, ignore_errors=True)
    staged = path.with_suffix(".part")
    staged.write_text(json.dumps({**facts, "began": when.isoformat()}))
    staged.replace(path)
    return when
