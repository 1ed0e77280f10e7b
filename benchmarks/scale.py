"""What a run of a large payer takes on Spark, from the product's own functions and measured runs.

    python -m benchmarks.scale --members 2000 --members 8000 --members 20000
    python -m benchmarks.scale --members 200 --members 400 --master local-cluster[2,1,1024]

Each number of members is run twice from nothing: by one process of this machine, and by Spark,
whose event log says what its tasks read and wrote. A line through the two largest runs (its slope,
for each byte of extract) is drawn out to a payer of two million members and one of 65 million. That
is a long way: it holds for what grows with the extract, and for nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.publish import measured_run
from etl.bootstrap.settings import read_settings
from etl.columns.digests import NO_HASHES
from etl.pipeline.context import Task
from etl.pipeline.incremental.cache import CachedResults
from etl.pipeline.incremental.reuse import ReusableResults
from etl.pipeline.read import partition_count
from etl.publish.manifest import Manifest
from etl.publish.prune import prune
from etl.publish.reader import open_current
from etl.publish.verify import verify
from etl.spark.shuffled_rows import buckets_for, job_bytes_for
from etl.storage.local import LocalStore
from etl.synth import Spec, write_extract

PAYERS: Final = {"2 million members": 95_000_000_000, "65 million members": 1_200_000_000_000}
"""Payer -> bytes of its extract."""
PUT_PRICE: Final = 5e-6
"""Dollars of a request that writes, at S3 in Virginia."""
HOUR: Final = 3600
MEASURED: Final = {
    "objects": (1e6, "million"),
    "published": (1e12, "TB"),
    "catalog": (1e9, "GB"),
    "manifest": (1e6, "MB"),
    "memory of the manifest, in each process that serves": (1e6, "MB"),
    "written to the shuffle": (1e12, "TB"),
    "read from the shuffle": (1e12, "TB"),
    "results that came to the driver": (1e6, "MB"),
    "memory of the driver's Python": (1e9, "GB"),
    "run alone": (HOUR, "hours of a core"),
    "run on Spark, start included": (HOUR, "hours of a core"),
    "verify": (HOUR, "hours of a core"),
    "prune that deletes nothing": (HOUR, "hours of a core"),
}
"""What is measured in bytes, seconds of processor time or numbers -> how it is shown."""


@dataclass(frozen=True, slots=True)
class ScaleRun:
    """One number of members.

    Attributes:
        members: how many.
        extract: bytes of the extract.
        tasks: most tasks of a stage on Spark.
        found: of each of `MEASURED`.
    """

    members: int
    extract: int
    tasks: int
    found: Mapping[str, float]


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--members", type=int, action="append", required=True)
    parser.add_argument("--master", default="local-cluster[2,1,2048]")
    parser.add_argument("--rows", type=int, default=20_000, help="run.partition_rows")
    asked = parser.parse_args()
    runs = [_measured(members, asked.master, asked.rows) for members in sorted(asked.members)]
    for run in runs:
        print(f"\n{run.members:,} members, {run.extract / 1e6:,.1f} MB of extract, measured")
        for name, value in run.found.items():
            print(f"{name:>52}  {value:,.6g}")
        print(f"{'most tasks of a stage':>52}  {run.tasks:,}")
    rows = read_settings(None).run.partition_rows
    for payer, size in PAYERS.items():
        print(f"\n{payer}, an extract of {size / 1e9:,.0f} GB, worked out")
        for name, estimate in _of_payer(runs, size, rows):
            print(f"{name:>52}  {estimate}")


def _measured(members: int, master: str, rows: int) -> ScaleRun:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        extract, events, settings = folder / "extract", folder / "events", folder / "conf"
        write_extract(extract, Spec(members, seed=1, since=date(2024, 12, 1)))
        for each in (events, settings):
            each.mkdir()
        (settings / "spark-defaults.conf").write_text(
            f"spark.eventLog.enabled true\nspark.eventLog.dir {events.as_uri()}\n"
            "spark.eventLog.compress false\n"
        )
        own = {"CPCDS_RUN__PARTITION_ROWS": str(rows)}
        local, of_local = measured_run(extract, str(folder / "local"), 1, own)
        on_spark = own | {
            "CPCDS_RUN__EXECUTOR": "spark",
            "CPCDS_RUN__MASTER": master,
            "SPARK_CONF_DIR": str(settings),
            "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")]),
        }
        spark, of_spark = measured_run(extract, str(folder / "spark"), 1, on_spark)
        tasks, of_tasks = _events(events)
        found = {
            "objects": local.objects,
            "published": local.bytes,
            "memory of the driver's Python": spark.peak * (1 << 20),
            "run alone": sum(of_local.processor.values()),
            "run on Spark, start included": sum(of_spark.processor.values()),
            **of_tasks,
            **_of_tree(LocalStore(folder / "local")),
        }
        size = sum(path.stat().st_size for path in extract.iterdir())
        return ScaleRun(members, size, tasks, {name: found[name] for name in MEASURED})


def _of_tree(store: LocalStore) -> Mapping[str, float]:
    """Return what grows with a published tree, and what work on it takes."""
    release = open_current(store).release
    if release is None:
        raise SystemExit("nothing was published")
    data = release.manifest.to_bytes()
    tracemalloc.start()
    manifest = Manifest.from_bytes(data, "manifest")
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    began = time.process_time()
    if not verify(release).ok:
        raise SystemExit("what was published does not verify")
    verified = time.process_time()
    prune(store, lambda: datetime.now(UTC), keep=1, dry_run=True)
    return {
        "catalog": sum(shard.bytes for shard in manifest.catalog if shard is not None),
        "manifest": len(data),
        "memory of the manifest, in each process that serves": memory,
        "verify": verified - began,
        "prune that deletes nothing": time.process_time() - verified,
    }


def _events(folder: Path) -> tuple[int, Mapping[str, float]]:
    """Return what an event log says of all tasks that ended well: most of a stage, and bytes."""
    tasks = written = read = result = 0
    for event in _lines(folder):
        if event["Event"] == "SparkListenerStageCompleted":
            tasks = max(tasks, event["Stage Info"]["Number of Tasks"])
        if event["Event"] != "SparkListenerTaskEnd" or not event.get("Task Metrics"):
            continue
        metrics = event["Task Metrics"]
        written += metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"]
        fetched = metrics["Shuffle Read Metrics"]
        read += fetched["Remote Bytes Read"] + fetched["Local Bytes Read"]
        result += metrics["Result Size"]
    return tasks, {
        "written to the shuffle": written,
        "read from the shuffle": read,
        "results that came to the driver": result,
    }


def _lines(folder: Path) -> Iterator[Mapping[str, Any]]:
    for path in folder.rglob("*"):
        if path.is_file() and path.name.startswith("events_"):
            yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


def _of_payer(runs: Sequence[ScaleRun], size: int, rows: int) -> Iterator[tuple[str, str]]:
    """Yield what a payer's run takes: a name, and its value in words."""
    count = partition_count([(size, False)], rows)
    results = CachedResults([], count, None, (NO_HASHES, NO_HASHES), None)
    night = Task(None, {}, None, None, previous=ReusableResults(results)).units(count)
    yield "partitions, and tasks of a full run", f"{count:,}"
    yield "tasks of a night", f"{len(night):,}"
    yield "extract to a task", f"{size / count / 1e6:,.1f} MB"
    yield "tasks that read it", f"{size // job_bytes_for(size):,}"
    yield "buckets of ids", f"{buckets_for(size):,}"
    if len(runs) < 2:
        return
    one, other = runs[-2:]
    for name, (unit, words) in MEASURED.items():
        slope = (other.found[name] - one.found[name]) / (other.extract - one.extract)
        value = other.found[name] + slope * (size - other.extract)
        yield name, f"{value / unit:,.2f} {words} ({slope * 1e6:,.4g} a MB of extract)"
        if name == "objects":
            yield "requests that write them, and their price", f"${value * PUT_PRICE:,.0f}"


if __name__ == "__main__":
    main()
