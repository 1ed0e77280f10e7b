"""`write_network`: a provider directory of any size, streamed region by region.

Its practitioners and organizations are those of the extract of claims with the same seed: the first
34 practitioners are those of its first thousand members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from etl.errors import UsageError
from etl.model.data_models import DIRECTORY
from etl.synth.directory import PRACTITIONERS, REGION_SIZE, region_of
from etl.synth.extract import Progress
from etl.synth.extract_writer import WrittenExtract, extract_files
from etl.synth.faults import plant_network
from etl.synth.network_tables import NetworkTables, changed_on, payer_tables, region_tables
from etl.synth.spec import AS_OF, SINCE, Format, Kind, Spec

MOST_PRACTITIONERS: Final = 10_000_000
"""More would share NPIs."""


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """One extract of a provider directory to be written.

    Attributes:
        practitioners: how many. The first ones of two that differ only in this are the same.
        seed: which world; any integer.
        kind: `full` is the whole directory on its day; `delta` is what changed on that day alone.
        day: days after `as_of`. Every day of each region one practitioner gets another telephone
            number and one role says something else about new patients.
        as_of: day 0.
        format: ending of the files.
        gzip: compress the files.
        fault_rate: share of regions, 0 to 1, that get one planted fault of each kind; `faults.csv`
            lists them.

    Raises:
        UsageError: a choice is out of its range, or two do not go together.
    """

    practitioners: int
    seed: int = 1
    kind: Kind = "full"
    day: int = 0
    as_of: date = AS_OF
    format: Format = "csv"
    gzip: bool = False
    fault_rate: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.practitioners <= MOST_PRACTITIONERS:
            raise UsageError(f"practitioners must be 1 to {MOST_PRACTITIONERS}")
        _ = self.world

    @property
    def regions(self) -> int:
        """Number of regions that the practitioners are in."""
        return -(-self.practitioners // PRACTITIONERS)

    @property
    def world(self) -> Spec:
        """The extract of claims with these providers."""
        return Spec(
            members=self.regions * REGION_SIZE,
            seed=self.seed,
            kind=self.kind,
            day=self.day,
            as_of=self.as_of,
            since=min(SINCE, self.as_of - timedelta(days=730)),
            format=self.format,
            gzip=self.gzip,
            fault_rate=self.fault_rate,
        )


def write_network(
    out: Path, spec: NetworkSpec, emit: Callable[[Progress], None] | None = None
) -> WrittenExtract:
    """Write a provider directory in its canonical layout; memory does not grow with it.

    Args:
        out: the folder; made where it is missing. Files of the same names are replaced.
        spec: what to write. The same spec gives the same bytes.
        emit: called with progress now and then, in practitioners.

    Raises:
        UsageError: `out` holds files of another extract.
        StoreError: the system refused to write; no file of the extract was left.
    """
    names = {table.file or name: table.names for name, table in DIRECTORY.tables.items()}
    with extract_files(out, spec.world, names) as files:
        for number, tables in _parts(spec):
            files.write(tables, plant_network(spec.world, number, tables))
            done = min(spec.practitioners, (number + 1) * PRACTITIONERS)
            if emit:
                emit(Progress(done, spec.practitioners, sum(files.rows.values())))
        return files.finish(DIRECTORY.layout)


def _parts(spec: NetworkSpec) -> Iterator[tuple[int, NetworkTables]]:
    """Yield the number of a region, -1 for the payers' part, and its rows."""
    world = spec.world
    yield -1, _rows_of_day(payer_tables(world), world)
    for number in range(spec.regions):
        region = region_of(world, number)
        count = min(PRACTITIONERS, spec.practitioners - number * PRACTITIONERS)
        yield number, _rows_of_day(region_tables(world, region, count), world)


def _rows_of_day(tables: NetworkTables, world: Spec) -> NetworkTables:
    """Return all rows of a full extract; of a delta, those that changed on its day."""
    if world.kind == "full":
        return tables
    return {
        name: [row | {"record_action": "U"} for row in rows if changed_on(row, world)]
        for name, rows in tables.items()
    }
