"""An executor without processes and checkpoints: what every other is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa

from etl.jobs import SingleProcess
from etl.pipeline.definitions import Definitions
from etl.pipeline.executor import Cutting, Done, Read, Task
from etl.pipeline.incremental.dependencies import Dependencies
from etl.pipeline.partition.check_and_map import PartitionContext
from etl.pipeline.partition.providers import providers_of
from etl.pipeline.unit import UnitContext, process_unit
from etl.sources import Emit, Extract, GlobalKeys, Partitions, partition
from etl.sources.partition_rows import RAGGED


@dataclass(frozen=True)
class TablesInMemory:
    """Rows of raw tables (`etl.sources.RawTables`), in the opposite of their order."""

    tables: Mapping[tuple[str, int | None], pa.Table]

    def read(
        self, name: str, partition: int | None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        table = self.tables[name, partition]
        backwards = table.take(pa.array(np.arange(table.num_rows)[::-1]))
        if columns is None:
            return backwards
        return backwards.select([column for column in table.column_names if column in columns])


def in_memory(partitions: Partitions) -> Partitions:
    """Return what was cut without any file."""
    facts, raw = partitions.facts, partitions.raw
    tables: dict[tuple[str, int | None], pa.Table] = {}
    tables[RAGGED, None] = _copied(raw.read(RAGGED, None))
    for name in {file.table for file in facts.files}:
        for index in range(facts.count + 1):
            tables[name, index] = _copied(raw.read(name, index))
    keys = {each.name: np.array(getattr(partitions.keys, each.name)) for each in fields(GlobalKeys)}
    return Partitions(facts, TablesInMemory(tables), GlobalKeys(**keys))


def _copied(table: pa.Table) -> pa.Table:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


@contextmanager
def _away(folder: Path) -> Iterator[None]:
    """Take a folder away meanwhile."""
    elsewhere = folder.with_name(f"{folder.name}.away")
    folder.rename(elsewhere)
    try:
        yield
    finally:
        elsewhere.rename(folder)


@dataclass
class DirectExecutor(SingleProcess):
    """Reads and processes in this process, each time anew.

    Attributes:
        detached: whether units are processed from memory, while there is no work folder.
    """

    detached: bool = False

    def dismiss(self) -> None:
        """Do nothing: nothing is held."""

    def read(self, extract: Extract, cutting: Cutting, emit: Emit) -> Partitions:
        count, digests = cutting.partitions, cutting.digests
        return partition(extract, cutting.folder, partitions=count, digests=digests, emit=emit)

    def process(self, read: Read, task: Task, definitions: Definitions) -> Iterator[Done]:
        providers = providers_of(task.directory, definitions)
        context = UnitContext(
            PartitionContext(definitions, providers, task.as_of),
            Dependencies.of(definitions),
            task,
        )
        rows = in_memory(read.partitions) if self.detached else read.partitions
        store = None if task.target is None else task.target.store()
        left = task.units(rows.facts.count)
        while left:
            unit = left.pop(0)
            with _away(read.work) if self.detached else nullcontext():
                result = process_unit(context, unit, rows, rows.keys, store)
            if result is None:
                left = [range(index, index + 1) for index in unit] + left
                continue
            files = {}
            for name, pieces in result.files.items():
                files[name] = read.work / f"{unit.start}.{name}"
                files[name].write_bytes(b"".join(pieces))
            yield Done(unit, result.outcome, files)
