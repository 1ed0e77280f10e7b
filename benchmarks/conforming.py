"""What it costs to hold every resource to its profile, as a share of the same run.

    python -m benchmarks.conforming [--members N] [--rounds N]

Rendering with and without the column checks, in turn, best of several rounds, one core, processor
time; then the share that the checks have of a whole `cpcds convert`. *Gate*: 25 % of the run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa

from benchmarks.__main__ import accepted
from etl.bootstrap import inspections
from etl.bootstrap.definitions import load_definitions
from etl.bootstrap.settings import Settings
from etl.engine.evaluate import Values
from etl.engine.partition_columns import Partition
from etl.engine.render import render
from etl.pipeline.definitions import Definitions
from etl.pipeline.partition.mapping import ObligationChecks
from etl.pipeline.partition.providers import Providers
from etl.pipeline.progress import ignore
from etl.synth import Spec, write_extract

GATE = 0.25


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conforming", description=__doc__)
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as folder:
        extract = Path(folder, "extract")
        write_extract(extract, Spec(members=asked.members, seed=1))
        sys.exit(_measure(extract, Path(folder), asked.rounds))


def _measure(extract: Path, folder: Path, rounds: int) -> int:
    settings = Settings(run={"workers": 1})
    began = time.process_time()
    definitions = load_definitions(settings)
    made = time.process_time() - began
    tables, providers = accepted(extract, folder, definitions)
    without, with_checks = share_of_mapping(definitions, tables, providers, rounds)
    whole, looked = _of_a_run(settings, extract, folder)
    print(f"mapping without checks   {without:6.2f} s")
    print(f"mapping with checks      {with_checks:6.2f} s  ({with_checks / without - 1:+.1%})")
    print(f"a whole cpcds convert    {whole:6.2f} s, checks {looked:.2f} s ({looked / whole:.1%})")
    print(f"rules, mappings and obligations read and compiled: {made:.2f} s a process")
    good = looked / whole < GATE
    print(f"gate {GATE:.0%} of a run: {'holds' if good else 'FAILS'}")
    return 0 if good else 1


def share_of_mapping(
    definitions: Definitions, tables: dict[str, pa.Table], providers: Providers, rounds: int
) -> tuple[float, float]:
    """Return processor seconds of mapping, without and with checks; best of several rounds."""
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        for at, checked in enumerate((False, True)):
            seconds = _seconds(partial(_map, definitions, tables, providers, checked=checked))
            best[at] = min(best[at], seconds)
    return best[0], best[1]


def _map(
    definitions: Definitions, tables: dict[str, pa.Table], providers: Providers, *, checked: bool
) -> None:
    partition = Partition(tables)
    renderings = [
        render(plan, partition, providers.environment) for plan in definitions.patient_plans
    ]
    checks = ObligationChecks(definitions.obligations)
    checks.expect(one.values for one in renderings)
    for rendering in renderings:
        list(rendering)
        if checked:
            checks.check(rendering.values)
    if checked and checks.broken().num_rows:
        raise AssertionError("the generator's rows conform")


def _of_a_run(settings: Settings, extract: Path, folder: Path) -> tuple[float, float]:
    """Return processor seconds of a conversion, and of the checks in it."""
    spent = 0.0
    look = ObligationChecks.check

    def timed(self: ObligationChecks, values: Values) -> None:
        nonlocal spent
        spent += _seconds(lambda: look(self, values))

    ObligationChecks.check = timed  # type: ignore[method-assign]
    try:
        whole = _seconds(
            lambda: inspections.convert_extract(settings, extract, folder / "out", ignore)
        )
    finally:
        ObligationChecks.check = look  # type: ignore[method-assign]
    return whole, spent


def _seconds(once: Callable[[], object]) -> float:
    began = time.process_time()
    once()
    return time.process_time() - began


if __name__ == "__main__":
    main()
