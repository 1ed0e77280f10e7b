"""An executor without processes and checkpoints: what every other is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from etl.pipeline.definitions import Definitions
from etl.pipeline.executor import Cutting, Done, Read, Task
from etl.pipeline.incremental.dependencies import Dependencies
from etl.pipeline.partition.check_and_map import PartitionContext
from etl.pipeline.partition.providers import providers_of
from etl.pipeline.unit import UnitContext, process_unit
from etl.sources import Emit, Extract, Partitions, partition


@dataclass
class DirectExecutor:
    """Reads and processes in this process, each time anew."""

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
        rows, store = read.partitions, None if task.target is None else task.target.store()
        left = task.units(rows.count)
        while left:
            unit = left.pop(0)
            result = process_unit(context, unit, rows, rows.keys, store)
            if result is None:
                left = [range(index, index + 1) for index in unit] + left
                continue
            files = {}
            for name, pieces in result.files.items():
                files[name] = read.work / f"{unit.start}.{name}"
                files[name].write_bytes(b"".join(pieces))
            yield Done(unit, result.outcome, files)
