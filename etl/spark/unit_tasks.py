"""Units on an executor: rows in, blocks into the target, results into staging.

An executor writes nowhere else.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.errors import NotFound, StoreError
from etl.jobs import EmitAny, no_event
from etl.local.memory import MANY_ROWS, free_memory
from etl.pipeline.context import Task
from etl.pipeline.definitions import Definitions
from etl.pipeline.incremental.dependencies import Dependencies
from etl.pipeline.partition.mapping import PartitionContext
from etl.pipeline.partition.providers import providers_of
from etl.pipeline.unit import UnitContext, process_unit, unit_ids
from etl.publish.reader import Tree
from etl.sources.partition.ids import GlobalKeys, UnitIds
from etl.sources.partition.partition_rows import OWNER_COLUMN
from etl.sources.partition.partitions import PartitionFacts, Partitions, Tables, UnitRows
from etl.spark.id_files import IdFiles
from etl.spark.member_rows import MEMBER_ROW, decode_tables, read_origins
from etl.spark.pickling import unpickled
from etl.spark.placing import task_of_shards
from etl.spark.staging import StagedValue, Staging, stage_results
from etl.spark.task_rows import SCHEMA, Batches, TaskRow, batch_of_row, iterate_rows

HEAD: Final = "unit"
"""Kind of the row that has a unit processed; its shard is the unit's first partition."""
DONE: Final = "done"
"""Kind of the row of a processed unit."""
FOUND: Final = "found"
"""Kind of the row with the result of a function, for a partition or a job."""

PartitionCall = Callable[[Partitions, int], bytes]


@dataclass(frozen=True, slots=True)
class ExtractOnExecutors:
    """What all executors get of an extract.

    Attributes:
        facts: facts of the extract.
        shared: rows that every partition is loaded with.
        keys: the IDs that several members share, and no others.
        ids: files of all IDs.
    """

    facts: PartitionFacts
    shared: Tables
    keys: GlobalKeys
    ids: IdFiles

    def partitions(self, rows: pa.Table) -> Partitions:
        """Return the partitions of the extract, with these rows alone."""
        tables = decode_tables(rows, self.facts.files, digests=self.facts.has_digests)
        return Partitions(self.facts, UnitRows({**self.shared, **tables}), self.keys)

    def unit_keys(self, unit: UnitIds) -> GlobalKeys:
        """Return the keys that a unit may look up: its IDs, and the foreign ones that exist."""
        existing = {
            table: self.ids.find_owners(table, ids).ids for table, ids in unit.foreign_ids.items()
        }
        return replace(self.keys, ids=existing).of_unit(unit)


@dataclass(frozen=True)
class RunFacts:
    """Facts that all units of a run share.

    Attributes:
        definitions: rules and mappings.
        task: the task of the run, without the previous release.
        previous: the pickled previous release, which may be large.
        extract: facts and IDs of the extract.
        finished: staging of the units' results.
        leases: keys of leases in the target that the driver sees.
        umask: umask of the driver.
    """

    definitions: Definitions
    task: Task
    previous: StagedValue
    extract: ExtractOnExecutors
    finished: Staging
    leases: tuple[str, ...]
    umask: int

    @cached_property
    def prepared(self) -> tuple[UnitContext, Tree | None]:
        """The context that a Python worker keeps from unit to unit, and the target.

        Raises:
            StoreError: this executor sees another target than the driver.
        """
        os.umask(self.umask)
        task = replace(self.task, previous=unpickled(self.previous.read()))
        gc.collect()
        gc.freeze()
        providers = providers_of(task.directory, self.definitions)
        partition = PartitionContext(self.definitions, providers, task.as_of)
        tree = None if task.target is None else Tree(task.target.store())
        if tree is not None:
            check_same_target(tree, self.leases)
        return UnitContext(partition, Dependencies.find(self.definitions), task), tree


def do_jobs(facts: tuple[Callable[[Any, EmitAny], Any], int], batches: Batches) -> Batches:
    """Call a function with each job, and yield its results as JSON.

    Args:
        facts: the function, and the umask of the driver.
        batches: the jobs.
    """
    call, umask = facts
    os.umask(umask)
    for row in iterate_rows(batches):
        result = call(unpickled(row.body), no_event)
        yield batch_of_row(TaskRow(row.shard, FOUND, body=json.dumps(result).encode()))


def call_partition(facts: tuple[PartitionCall, ExtractOnExecutors], batches: Batches) -> Batches:
    """Call a function with the partition of a task, and yield its result."""
    call, extract = facts
    rows = _concat_batches(batches)
    if rows.num_rows:
        index = task_of_shards(rows.column("shard").unique().to_pylist())
        yield batch_of_row(TaskRow(index, FOUND, body=call(extract.partitions(rows), index)))


def finish_unit(run: RunFacts, batches: Batches) -> Batches:
    """Process the unit of a task, or each partition if it is too large; stage the results."""
    rows = _concat_batches(batches)
    if not pc.any(pc.equal(rows.column("kind"), HEAD)).as_py():
        return  # an earlier attempt finished the unit
    context, tree = run.prepared
    task, extract = context.task, run.extract
    count = extract.facts.count
    units = task.units(count)
    unit_size = len(units[0])  # all but the last have as many partitions
    first_partition = task_of_shards(rows.column("shard").unique().to_pylist(), unit_size)
    unit = units[first_partition // unit_size]
    _check_memory(rows)
    previous = task.previous.for_partitions(unit, count)
    context = replace(context, task=replace(task, previous=previous))
    partitions = extract.partitions(rows)
    keys = extract.unit_keys(unit_ids(context, unit, partitions, tree))
    results = {unit: process_unit(context, unit, partitions, keys, tree)}
    if results[unit] is None:  # too many rows to process together
        parts = [range(index, index + 1) for index in unit]
        results = {part: process_unit(context, part, partitions, keys, tree) for part in parts}
    # Last: with the staged results the driver may go on, so all blocks must be written.
    finished = [(part, result) for part, result in results.items() if result]
    stage_results(run.finished, first_partition, finished)
    yield batch_of_row(TaskRow(first_partition, DONE))


def _check_memory(rows: pa.Table) -> None:
    """Check that the member with most rows fits into this executor's memory.

    Raises:
        StoreError: the member does not fit.
    """
    member_rows = rows.filter(pc.equal(rows.column("kind"), MEMBER_ROW))
    origins = read_origins(member_rows.column("body").combine_chunks())
    _, row_counts = np.unique(origins[OWNER_COLUMN], return_counts=True)
    max_rows = int(row_counts.max(initial=0))
    if max_rows > MANY_ROWS and (budget := free_memory()) is not None:
        budget.check_member(max_rows, 1)


def _concat_batches(batches: Batches) -> pa.Table:
    return pa.Table.from_batches([batch for batch in batches if batch.num_rows], SCHEMA)


def check_same_target(tree: Tree, leases: Sequence[str]) -> None:
    """Check that this executor sees the target of the driver.

    Raises:
        StoreError: it sees another folder, most likely of another machine.
    """
    for key in leases:
        try:
            tree.store.get(key)
        except NotFound:
            continue
        return
    if leases:
        raise StoreError(
            f"{tree.store.name}: executors see another folder there than the driver; publish to a "
            "folder that all machines share, or to s3://"
        )
