"""What one core does in a second: read, render, publish, search. One table, for any machine.

    python -m benchmarks [--members 600] [--rounds 5]

Everything is measured in one process, in processor time, in turns; the median of the rounds counts.
Machines differ and are noisy, so compare ratios: each figure is divided by the rate of a fixed loop
of pure Python, and by the rate of fhir.resources. The ratio of rendering to orjson follows the
speed of memory (0.5 to 1.0 on different machines) and has no gate; the gate to fhir.resources holds
on every machine and finds a rendering that became several times slower.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import orjson
import pyarrow as pa
from fhir.resources.R4B.explanationofbenefit import ExplanationOfBenefit

from benchmarks.rates import rates
from benchmarks.reading import CANONICAL, JOINED_LAYOUT, reading_ways
from etl.bootstrap.definitions import load_definitions
from etl.bootstrap.gc_policy import gc_relaxed
from etl.bootstrap.settings import Settings, read_settings
from etl.bootstrap.use_cases import run_extract
from etl.claims.prepare import prepare_for_mapping
from etl.engine.partition_columns import Partition
from etl.engine.render import render
from etl.gateway.service import ServiceOptions
from etl.gateway.startup import GatewayServices
from etl.local.executor import LocalExecutor
from etl.local.workers import Workers
from etl.model.data_models import CLAIMS
from etl.pipeline.context import RunContext, RunOptions
from etl.pipeline.definitions import Definitions
from etl.pipeline.partition.providers import Providers, decide_directory, providers_of
from etl.pipeline.progress import ignore
from etl.pipeline.read import open_with, read
from etl.publish.reader import open_current
from etl.quality.check import check
from etl.quality.checks.frames import RuleContext
from etl.smart.grants import Grant
from etl.storage.async_objects import FolderObjects
from etl.storage.local import LocalStore
from etl.synth import Spec, write_extract

LOOP = "100,000 additions in pure Python"
FHIR_RESOURCES = "EOBs built, validated and dumped by fhir.resources"
ORJSON = "EOBs dumped by orjson from finished dicts"
RENDERING = "EOBs rendered by column"
WHOLE_RUN = "EOBs published by a whole run"
SEARCHES = "searches for ten EOBs, the first of each patient"
GATES = ((RENDERING, FHIR_RESOURCES, 100.0), (JOINED_LAYOUT, CANONICAL, 0.5))
"""A figure, another one, and the least ratio of the two."""
_SEARCHED_PATIENTS = 100


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--members", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_extract(folder / "extract", Spec(members=options.members, seed=1))
        sys.exit(measure(folder / "extract", folder, options.rounds))


def measure(extract: Path, folder: Path, rounds: int) -> int:
    """Print all figures; return 1 if one misses its gate, else 0."""
    claims = Claims.of(extract, folder)
    size = sum(map(len, claims.lines)) / len(claims.lines)
    print(
        f"{len(claims.lines):,} EOBs of {size / 1000:.1f} KB, one core, {rounds} rounds, "
        f"Python {platform.python_version()} on {platform.machine()}\n"
    )
    ways = {
        LOOP: add_numbers,
        **claims.ways(),
        **reading_ways(extract, folder),
        **serving_ways(extract, folder, len(claims.lines)),
    }
    # As a run collects garbage: else each collection goes through all dicts of the rivals.
    with gc_relaxed():
        figures = rates(ways, rounds)
    print_table(figures)
    return int(misses_a_gate(figures))


def add_numbers() -> int:
    """Take the fixed loop that other figures are compared with."""
    for _ in range(10):
        total = 0
        for number in range(100_000):
            total += number
    return 10


def print_table(figures: Mapping[str, float]) -> None:
    """Print each figure a second, and as ratios."""
    print(f"{'':54}{'a second':>12}{'per loop':>12}{'per fhir.resources':>20}")
    for name, rate in figures.items():
        per_loop, per_model = rate / figures[LOOP], rate / figures[FHIR_RESOURCES]
        print(f"{name:54}{rate:>12,.0f}{per_loop:>12,.2f}{per_model:>20,.2f}")
    print()


def misses_a_gate(figures: Mapping[str, float]) -> bool:
    """Print what has a gate; return whether one is missed."""
    missed = False
    for name, other, least in GATES:
        ratio = figures[name] / figures[other]
        missed |= ratio < least
        verdict = "FAILS" if ratio < least else "holds"
        print(f"{name}: {ratio:,.2f} times {other} (gate {least:g}: {verdict})")
    return missed


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


def serving_ways(extract: Path, folder: Path, claims: int) -> dict[str, Callable[[], int]]:
    """Return how to publish an extract, and how to search what was published last."""
    trees = (folder / f"tree{number}" for number in count())

    def publish(target: Path) -> int:
        settings = read_settings(
            None, target=str(target), report={"gx_rows": 0}, run={"workers": 1, "work": folder}
        )
        run_extract(settings, extract, ignore)
        return claims

    tree = next(trees)
    publish(tree)
    release = open_current(LocalStore(tree)).release
    if release is None:
        raise SystemExit("nothing was published")
    patients = [
        unit.id for unit, _ in zip(release.all_units(), range(_SEARCHED_PATIENTS), strict=False)
    ]
    expiry = datetime(9999, 1, 1, tzinfo=UTC)
    grants = [Grant(one, "app", ("patient/*.rs",), "consent", expiry) for one in patients]

    async def search_all() -> int:
        services = GatewayServices([(CLAIMS, FolderObjects(tree))], [bytes(32)], ServiceOptions())
        await services.releases.refresh()
        for grant in grants:
            await services.service.search(
                grant, "ExplanationOfBenefit", [("_count", "10")], base="", strict=True
            )
        return len(grants)

    return {
        WHOLE_RUN: lambda: publish(next(trees)),
        SEARCHES: lambda: asyncio.run(search_all()),
    }


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
