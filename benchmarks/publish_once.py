"""One run, and what it took: `python -m benchmarks.publish_once EXTRACT TARGET WORKERS`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.publish import Cost, measured
from etl.bootstrap.gc_policy import gc_disabled
from etl.storage.port import Store

with gc_disabled():  # as the command line loads them
    from etl.bootstrap.settings import read_settings, target_store
    from etl.bootstrap.use_cases import run_extract
    from etl.pipeline.progress import Phases
    from etl.publish.reader import open_current


def main(extract: str, target: str, workers: str) -> None:
    """Publish, and print the measurements."""
    began = time.monotonic()
    settings = read_settings(
        None,
        target=target,
        run={
            "workers": int(workers),
            "work": None if "://" not in target else Path(extract).parent,
        },
    )
    store = target_store(settings)
    before = _held(store)
    phases = Phases(time.monotonic)
    run_extract(settings, Path(extract), phases)
    phases.end()
    after = _held(store)
    listing = Cost(
        before.cost.seconds + after.cost.seconds, before.cost.processor + after.cost.processor
    )
    release = open_current(store).release
    print(
        measured(
            began,
            listing,
            objects=after.objects - before.objects,
            bytes=after.bytes - before.bytes,
            resources={} if release is None else release.manifest.counts["resources"],
            phases={each.stage: (each.seconds, each.steps) for each in phases.finished},
        )
    )


@dataclass(frozen=True, slots=True)
class Held:
    """What a store holds, and what it cost to look.

    Attributes:
        objects: how many.
        bytes: their size together.
        cost: of listing them, which is no part of the run.
    """

    objects: int
    bytes: int
    cost: Cost


def _held(store: Store) -> Held:
    """Return how many objects there are, and their bytes; a list would be memory of its own."""
    began, used = time.monotonic(), time.process_time()
    count = size = 0
    for entry in store.list():
        count += 1
        size += entry.size
    cost = Cost(time.monotonic() - began, time.process_time() - used)
    return Held(count, size, cost)


if __name__ == "__main__":
    main(*sys.argv[1:])
