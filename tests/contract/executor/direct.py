"""An executor without processes and checkpoints: what every other is compared with."""

from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from etl.jobs import SingleProcess
from etl.pipeline.context import TaskOutput
from etl.pipeline.incremental.dependencies import Dependencies
from etl.pipeline.partition.mapping import PartitionContext
from etl.pipeline.partition.providers import providers_of
from etl.pipeline.progress import StageAdvanced
from etl.pipeline.unit import UnitContext, process_unit, unit_ids
from etl.publish.reader import Tree
from etl.sources.partition.ids import NO_KEYS
from etl.sources.partition.partitions import (
    Partitions,
    UnitRows,
    shared_tables,
    unit_facts,
)
from etl.sources.partition.reading import partition_extract


def _backwards(table):
    """Return a copy of a table, of which nothing is mapped, in the opposite of its order."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    copied = pa.ipc.open_stream(sink.getvalue()).read_all()
    return copied.take(pa.array(np.arange(table.num_rows)[::-1]))


def _unit_rows(partitions, unit):
    """Return the rows of a unit without any file and any key."""
    names = dict.fromkeys(file.table for file in partitions.facts.files if file.table)
    tables = {(name, at): partitions.raw.read(name, at) for name in names for at in unit}
    tables |= shared_tables(partitions)
    rows = UnitRows({place: _backwards(table) for place, table in tables.items()})
    return Partitions(unit_facts(partitions.facts), rows, NO_KEYS)


@contextmanager
def _away(folder):
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
        detached: whether units are processed from memory, while there is no work folder, with
            answers about ids that they asked for.
        asked: of each unit that was, how many ids.
    """

    detached: bool = False
    asked: list[int] = field(default_factory=list)

    def dismiss(self):
        """Do nothing: nothing is held."""

    def read(self, extract, cutting, emit):
        count, digests = cutting.partitions, cutting.digests
        return partition_extract(
            extract, cutting.folder, partitions=count, digests=digests, emit=emit
        )

    def each_partition(self, read, call):
        for index in range(read.partitions.facts.count + 1):
            yield call(read.partitions, index)

    def process(self, read, task, definitions, emit):
        providers = providers_of(task.directory, definitions)
        context = UnitContext(
            PartitionContext(definitions, providers, task.as_of),
            Dependencies.find(definitions),
            task,
        )
        store = None if task.target is None else Tree(task.target.store())
        left = task.units(read.partitions.facts.count)
        while left:
            unit = left.pop(0)
            if self.detached:
                result = self._detached(read, context, unit, store)
            else:
                result = process_unit(context, unit, read.partitions, read.partitions.keys, store)
            if result is None:
                left = [range(index, index + 1) for index in unit] + left
                continue
            files = {}
            for name, pieces in result.files.items():
                files[name] = read.work / f"{unit.start}.{name}"
                files[name].write_bytes(b"".join(pieces))
            emit(StageAdvanced(result.outcome.row_count))
            yield TaskOutput(unit, result.outcome, files)

    def _detached(self, read, context, unit, store):
        rows, keys = _unit_rows(read.partitions, unit), read.partitions.keys
        with _away(read.work):
            ids = unit_ids(context, unit, rows, store)
        for table, own in ids.own_ids.items():
            assert keys.has(table, own).all(), "a unit knows its own ids without a question"
        unit_keys = keys.of_unit(ids)
        self.asked.append(len(ids))
        with _away(read.work):
            return process_unit(context, unit, rows, unit_keys, store)
