"""EOBs a second: rendering by column, beside what else could make the same bytes.

Everything is measured in one run on one core, in processor time, in turns; the median of the
rounds counts. Only ratios of one run say anything, because machines are shared and noisy. The ratio
to orjson follows the speed of memory (0.5 to 1.0 on different machines) and has no gate; the gate
to fhir.resources holds on every machine and finds a rendering that became several times slower.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pyarrow as pa
from fhir.resources.R4B.explanationofbenefit import ExplanationOfBenefit

from benchmarks.rates import rates
from benchmarks.reading import rows_a_second
from etl.bootstrap.definitions import load_definitions
from etl.bootstrap.gc_policy import gc_relaxed
from etl.bootstrap.settings import Settings
from etl.claims.prepare import prepare_for_mapping
from etl.engine.partition_columns import Partition
from etl.engine.render import render
from etl.local.executor import LocalExecutor
from etl.local.workers import Workers
from etl.pipeline.context import RunContext, RunOptions
from etl.pipeline.definitions import Definitions
from etl.pipeline.partition.providers import Providers, decide_directory, providers_of
from etl.pipeline.progress import ignore
from etl.pipeline.read import open_with, read
from etl.quality.check import check
from etl.quality.checks.frames import RuleContext
from etl.synth import Spec, write_extract

ORJSON = "orjson.dumps of ready dicts"
FHIR_RESOURCES = "fhir.resources: build, validate, dump"
RENDERING = "rendering by column"
GATES = {ORJSON: 0.0, FHIR_RESOURCES: 100.0}
"""Rival -> least ratio of the rates of rendering by column and of the rival."""
JOINS_GATE = 0.5
"""Least share of the canonical layout's rows a second that a layout with ten joins reads."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--members", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as folder:
        extract = Path(folder, "extract")
        write_extract(extract, Spec(members=asked.members, seed=1))
        sys.exit(_measure(extract, Path(folder), asked.rounds))


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of an extract, in the forms that rivals begin with.

    Attributes:
        definitions: rules and mappings.
        tables: accepted rows.
        providers: the directory.
        lines: EOBs as they are rendered.
    """

    definitions: Definitions
    tables: dict[str, pa.Table]
    providers: Providers
    lines: list[bytes]

    @classmethod
    def of(cls, extract: Path, folder: Path) -> Claims:
        """Return the claims of an extract; work is done in a folder."""
        definitions = load_definitions(Settings(run={"workers": 1}))
        tables, providers = accepted(extract, folder, definitions)
        return cls(
            definitions, tables, providers, _rendered(definitions, tables, providers, keep=True)
        )

    def ways(self) -> dict[str, Callable[[], int]]:
        """Return the ways of making EOBs."""
        dicts = [orjson.loads(line) for line in self.lines]
        few = dicts[:: max(1, len(dicts) // 150)]

        def rendered() -> int:
            _rendered(self.definitions, self.tables, self.providers, keep=False)
            return len(dicts)

        def dumped() -> int:
            return len([orjson.dumps(each) for each in dicts])

        def modelled() -> int:
            return len(
                [ExplanationOfBenefit.model_validate(each).model_dump_json() for each in few]
            )

        return {RENDERING: rendered, ORJSON: dumped, FHIR_RESOURCES: modelled}


def fallen(found: Mapping[str, float]) -> list[str]:
    """Print the ratios to each rival, and return those that are below their gate."""
    below = []
    for name, least in GATES.items():
        ratio = found[RENDERING] / found[name]
        if ratio < least:
            below.append(name)
        verdict = "FAILS" if ratio < least else "holds"
        gate = f" (gate {least:,.0f}: {verdict})" if least else ""
        print(f"rendering is {ratio:,.2f} times {name}{gate}")
    return below


def _measure(extract: Path, folder: Path, rounds: int) -> int:
    claims = Claims.of(extract, folder)
    size = sum(map(len, claims.lines)) / len(claims.lines)
    print(f"{len(claims.lines):,} EOBs of {size / 1000:.1f} KB, one core, {rounds} rounds\n")
    ways = claims.ways()
    # As a run collects garbage: else each collection goes through all dicts of the rivals.
    with gc_relaxed():
        found = rates(ways, rounds)
    for name, rate in found.items():
        print(f"{rate:>12,.0f} EOBs/s  {name}")
    print()
    failed = bool(fallen(found))
    joined, plain = rows_a_second(extract, folder, rounds)
    good = joined >= JOINS_GATE * plain
    print(
        f"\nreading: {plain:,.0f} rows/s in the canonical layout, {joined:,.0f} with ten joins: "
        f"{joined / plain:.2f} of it (gate {JOINS_GATE:g}: {'holds' if good else 'FAILS'})"
    )
    return int(failed or not good)


def accepted(
    extract: Path, folder: Path, definitions: Definitions
) -> tuple[dict[str, pa.Table], Providers]:
    """Return the accepted rows of an extract in one partition, and its directory."""
    opened = open_with(extract, definitions, None, ignore)
    alone = LocalExecutor(Workers(1, lambda: definitions))
    when, options = datetime.now(UTC), RunOptions(partition_rows=1 << 30)
    rows = read(RunContext(opened, definitions, folder / "work", alone, when, options, ignore))
    directory = decide_directory(rows.partitions.directory(), definitions, as_of=rows.as_of)
    providers = providers_of(directory.accepted, definitions)
    loaded = rows.partitions.load(0)
    checked = check(
        loaded.tables,
        loaded.findings,
        RuleContext(definitions.book, rows.partitions.keys, providers.ids, rows.as_of),
        loaded.unread,
    )
    return prepare_for_mapping(
        {**checked.tables, **providers.tables}, providers.environment
    ), providers


def _rendered(
    definitions: Definitions,
    tables: dict[str, pa.Table],
    providers: Providers,
    *,
    keep: bool,
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


if __name__ == "__main__":
    main()
