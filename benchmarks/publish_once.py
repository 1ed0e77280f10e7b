"""One run, and what it took: `python -m benchmarks.publish_once EXTRACT TARGET WORKERS`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks.publish import measured
from etl.bootstrap.jobs import run_extract
from etl.bootstrap.settings import read_settings
from etl.bootstrap.targets import target_store
from etl.pipeline.events import ignore
from etl.storage.port import Store


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
    objects, size = _held(store)
    run_extract(settings, Path(extract), ignore)
    taken = time.monotonic()
    more, larger = _held(store)
    listed = time.monotonic() - taken
    print(measured(began + listed, more - objects, larger - size))


def _held(store: Store) -> tuple[int, int]:
    """Return how many objects there are, and their bytes; a list would be memory of its own."""
    count = size = 0
    for entry in store.list():
        count += 1
        size += entry.size
    return count, size


if __name__ == "__main__":
    main(*sys.argv[1:])
