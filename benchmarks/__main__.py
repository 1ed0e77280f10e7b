"""EOBs a second: rendering by column, beside what else could make the same bytes.

Everything is measured in one run on one core, each the best of several rounds; only ratios of one
run say anything, because machines are shared and noisy. Lines marked *gate* fail the run (exit 1)
below their figure; the others inform.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import orjson
import pyarrow as pa
from fhir.resources.R4B.explanationofbenefit import ExplanationOfBenefit

from benchmarks.reading import rows_a_second
from etl.bootstrap.definitions import load_definitions
from etl.bootstrap.settings import Settings
from etl.bootstrap.use_cases import convert_extract
from etl.conform.resource_files import Lines
from etl.conform.run import conform
from etl.engine.partition_columns import Partition
from etl.engine.prepare import prepare
from etl.engine.render import render
from etl.local.executor import LocalExecutor
from etl.local.workers import Workers
from etl.pipeline.context import RunContext, RunOptions
from etl.pipeline.definitions import Definitions
from etl.pipeline.events import ignore
from etl.pipeline.partition.providers import Providers, decided_directory, providers_of
from etl.pipeline.read import open_with, read
from etl.quality import RuleContext, check
from etl.synth import Spec, write_extract

GATES = {"of orjson.dumps of ready dicts": 0.6, "times fhir.resources": 100.0}
JOINS_GATE = 0.5
"""Least share of the canonical layout's rows a second that a layout with ten joins reads."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--members", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as folder:
        extract = Path(folder, "extract")
        write_extract(extract, Spec(members=asked.members, seed=1))
        sys.exit(_measure(extract, Path(folder), asked.rounds))


def _measure(extract: Path, folder: Path, rounds: int) -> int:
    settings = Settings().with_workers(1)
    definitions = load_definitions(settings)
    tables, providers = accepted(extract, folder, definitions)
    lines = _rendered(definitions, tables, providers)
    size = sum(map(len, lines)) / len(lines)
    print(f"{len(lines):,} EOBs of {size / 1000:.1f} KB, one core, best of {rounds} rounds\n")
    dicts = [orjson.loads(line) for line in lines]
    few = lines[:: max(1, len(lines) // 150)]
    render_rate = _rate(
        rounds, len(lines), partial(_rendered, definitions, tables, providers, keep=False)
    )
    orjson_rate = _rate(rounds, len(lines), lambda: [orjson.dumps(each) for each in dicts])
    model_rate = _rate(1, len(few), lambda: [_modelled(line) for line in few])
    convert_rate = _rate(
        1,
        len(lines),
        lambda: convert_extract(settings, extract, folder / "out", ignore),
    )
    conform_rate = _rate(1, len(lines), lambda: conform([Lines("rendered", lines)]))
    for name, rate in (
        ("rendering by column", render_rate),
        ("orjson.dumps of ready dicts", orjson_rate),
        ("fhir.resources validate + dump", model_rate),
        ("the whole cpcds convert", convert_rate),
        ("cpcds conform", conform_rate),
    ):
        print(f"{rate:>12,.0f} EOBs/s  {name}")
    ratios = {
        "of orjson.dumps of ready dicts": render_rate / orjson_rate,
        "times fhir.resources": render_rate / model_rate,
    }
    print()
    failed = 0
    for name, ratio in ratios.items():
        good = ratio >= GATES[name]
        failed += not good
        verdict = "holds" if good else "FAILS"
        print(f"rendering is {ratio:,.2f} {name} (gate {GATES[name]:g}: {verdict})")
    joined, plain = rows_a_second(extract, folder, rounds)
    good = joined >= JOINS_GATE * plain
    failed += not good
    print(
        f"\nreading: {plain:,.0f} rows/s in the canonical layout, {joined:,.0f} with ten joins: "
        f"{joined / plain:.2f} of it (gate {JOINS_GATE:g}: {'holds' if good else 'FAILS'})"
    )
    return min(failed, 1)


def _rate(rounds: int, count: int, once: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        once()
        best = min(best, time.perf_counter() - began)
    return count / best


def accepted(
    extract: Path, folder: Path, definitions: Definitions
) -> tuple[dict[str, pa.Table], Providers]:
    """Return the accepted rows of an extract in one partition, and its directory."""
    opened = open_with(extract, definitions, None, ignore)
    alone = LocalExecutor(Workers(1, lambda: definitions))
    when, options = datetime.now(UTC), RunOptions(partition_rows=1 << 30)
    rows = read(RunContext(opened, definitions, folder / "work", alone, when, options, ignore))
    directory = decided_directory(rows.partitions.directory(), definitions, as_of=rows.as_of)
    providers = providers_of(directory.accepted, definitions)
    loaded = rows.partitions.load(0)
    checked = check(
        loaded.tables,
        loaded.findings,
        RuleContext(definitions.book, rows.partitions.keys, providers.known, rows.as_of),
        loaded.unread,
    )
    return prepare({**checked.tables, **providers.tables}, providers.environment), providers


def _rendered(
    definitions: Definitions,
    tables: dict[str, pa.Table],
    providers: Providers,
    *,
    keep: bool = True,
) -> list[bytes]:
    """Render every EOB; nothing is remembered from round to round."""
    partition = Partition(tables)
    lines: list[bytes] = []
    for plan in definitions.mappings.plans:
        if plan.resource != "ExplanationOfBenefit":
            continue
        for run in render(plan, partition, providers.environment, search=False):
            if keep:
                head = f'{{"resourceType":"{plan.resource}","meta":{{'
                lines += [(head + body).encode() for body in run.bodies.to_pylist()]
    return lines


def _modelled(line: bytes) -> str:
    return ExplanationOfBenefit.model_validate_json(line).model_dump_json()


if __name__ == "__main__":
    main()
