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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from benchmarks.publish import measured_run
from etl.bootstrap.settings import read_settings
from etl.pipeline.context import Task
from etl.pipeline.incremental.cache import CachedResults
from etl.pipeline.incremental.reuse import PreviousRelease
from etl.pipeline.read import partition_count
from etl.spark.shuffled_rows import buckets_for
from etl.synth import Spec, write_extract

PAYERS: Final = {"2 million members": 95_000_000_000, "65 million members": 1_200_000_000_000}
"""Payer -> bytes of its extract."""
PUT_PRICE: Final = 5e-6
"""Dollars of a request that writes, at S3 in Virginia."""


@dataclass(frozen=True, slots=True)
class ScaleRun:
    """One number of members.

    Attributes:
        members: how many.
        extract: bytes of the extract.
        objects: that were published.
        published: their bytes.
        local: seconds of processor time of one process.
        spark: seconds of processor time of the driver, executors and their Python, start included.
        driver: most memory of the driver's Python, in bytes.
        written: bytes that tasks wrote to the shuffle.
        read: bytes that they read from it.
        tasks: most tasks of a stage.
        result: bytes that came to the driver as results of tasks.
    """

    members: int
    extract: int
    objects: int
    published: int
    local: float
    spark: float
    driver: float
    written: int
    read: int
    tasks: int
    result: int


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--members", type=int, action="append", required=True)
    parser.add_argument("--master", default="local-cluster[2,1,2048]")
    parser.add_argument("--rows", type=int, default=20_000, help="run.partition_rows")
    asked = parser.parse_args()
    runs = [_measured(members, asked.master, asked.rows) for members in sorted(asked.members)]
    _show(runs)
    rows = read_settings(None).run.partition_rows
    for payer, size in PAYERS.items():
        print(f"\n{payer}, an extract of {size / 1e9:,.0f} GB (worked out)")
        for name, value in _of_payer(runs, size, rows):
            print(f"{name:>44}  {value}")


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
        said = _events(events)
        return ScaleRun(
            members,
            sum(path.stat().st_size for path in extract.iterdir()),
            local.objects,
            local.bytes,
            sum(of_local.processor.values()),
            sum(of_spark.processor.values()),
            spark.peak * (1 << 20),
            said["written"],
            said["read"],
            said["tasks"],
            said["result"],
        )


def _events(folder: Path) -> Mapping[str, int]:
    """Return what an event log says of all tasks that ended well."""
    found = {"written": 0, "read": 0, "result": 0, "tasks": 0}
    for event in _lines(folder):
        if event["Event"] == "SparkListenerStageCompleted":
            found["tasks"] = max(found["tasks"], event["Stage Info"]["Number of Tasks"])
        if event["Event"] != "SparkListenerTaskEnd" or not event.get("Task Metrics"):
            continue
        metrics = event["Task Metrics"]
        read = metrics["Shuffle Read Metrics"]
        found["written"] += metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"]
        found["read"] += read["Remote Bytes Read"] + read["Local Bytes Read"]
        found["result"] += metrics["Result Size"]
    return found


def _lines(folder: Path) -> Iterator[Mapping[str, Any]]:
    for path in folder.rglob("*"):
        if path.is_file() and path.name.startswith("events_"):
            yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


def _show(runs: Sequence[ScaleRun]) -> None:
    for run in runs:
        print(
            f"{run.members:>8,} members, {run.extract / 1e6:,.1f} MB of extract, "
            f"{run.objects:,} objects of {run.published / 1e6:,.1f} MB\n"
            f"         processor {run.local:,.1f} s alone, {run.spark:,.1f} s on Spark; "
            f"driver {run.driver / 1e6:,.0f} MB; results {run.result / 1e3:,.0f} KB\n"
            f"         shuffle {run.written / 1e6:,.1f} MB written, {run.read / 1e6:,.1f} MB read; "
            f"{run.tasks:,} tasks"
        )


def _of_payer(runs: Sequence[ScaleRun], size: int, rows: int) -> Iterator[tuple[str, str]]:
    """Yield what a payer's run takes: a name, and its value in words."""
    count = partition_count([(size, False)], rows)
    results = CachedResults([], count, None, (), None)
    night = Task(None, {}, None, None, previous=PreviousRelease(results)).units(count)
    yield "partitions, and tasks of a full run", f"{count:,}"
    yield "tasks of a night", f"{len(night):,}"
    yield "bytes of extract to a task", f"{size / count / 1e6:,.1f} MB"
    yield "buckets of ids", f"{buckets_for(size):,}"
    if len(runs) < 2:
        return
    for name, of_run, unit in (
        ("objects", lambda run: run.objects, 1e6),
        ("published", lambda run: run.published, 1e12),
        ("shuffle written", lambda run: run.written, 1e12),
        ("shuffle read", lambda run: run.read, 1e12),
        ("hours of a core, alone", lambda run: run.local / 3600, 1),
        ("hours of a core, on Spark", lambda run: run.spark / 3600, 1),
        ("driver's memory", lambda run: run.driver, 1e9),
    ):
        slope, at = _line(runs, of_run)
        words = {1e6: "million", 1e9: "GB", 1e12: "TB"}.get(unit, "")
        value = f"{at(size) / unit:,.2f} {words}".rstrip()
        yield name, f"{value} ({slope * 1e6:,.4g} a MB of extract)"
    objects = _line(runs, lambda run: run.objects)[1](size)
    yield "requests that write, and their price", f"{objects:,.0f}, ${objects * PUT_PRICE:,.0f}"


def _line(runs: Sequence[ScaleRun], of_run: Any) -> tuple[float, Any]:
    """Return the slope of the line through the two largest runs, and the line."""
    one, other = runs[-2:]
    slope = (of_run(other) - of_run(one)) / (other.extract - one.extract)
    return slope, lambda size: of_run(other) + slope * (size - other.extract)


if __name__ == "__main__":
    main()
