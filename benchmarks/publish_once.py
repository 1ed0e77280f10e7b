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
    before = {entry.key for entry in store.list()}
    run_extract(settings, Path(extract), ignore)
    taken = time.monotonic()
    new = [entry for entry in store.list() if entry.key not in before]
    listed = time.monotonic() - taken
    print(measured(began + listed, len(new), sum(entry.size for entry in new)))


if __name__ == "__main__":
    main(*sys.argv[1:])
