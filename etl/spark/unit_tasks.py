"""Units on an executor: rows in, blocks into the target, results into staging.

Nothing is written on an executor but there.
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
from etl.sources.partition.ids import GlobalKeys, UnitIds
from etl.sources.partition.partition_rows import OWNER_COLUMN
from etl.sources.partition.partitions import PartitionFacts, Partitions, Tables, UnitRows
from etl.spark.id_files import IdFiles
from etl.spark.member_rows import OF_MEMBER, heads_of, tables_of
from etl.spark.pickling import unpickled
from etl.spark.placing import only_task
from etl.spark.staging import StagedValue, Staging, put_unit
from etl.spark.task_rows import SCHEMA, Batches, TaskRow, batch_of, rows_of
from etl.storage.port import Store

HEAD: Final = "unit"
"""Kind of the row that says that a unit is to be processed: the place is its first partition."""
DONE: Final = "done"
"""A unit that is processed."""
FOUND: Final = "found"
"""Result of a function that was called with a partition, or with a job."""

PartitionCall = Callable[[Partitions, int], bytes]


@dataclass(frozen=True, slots=True)
class ExtractOnExecutors:
    """Facts of an extract that all executors are given.

    Attributes:
        facts: of the extract.
        shared: rows that every partition is loaded with.
        keys: ids that several members share; of other ids none.
        ids: all of them.
    """

    facts: PartitionFacts
    shared: Tables
    keys: GlobalKeys
    ids: IdFiles

    def partitions(self, rows: pa.Table) -> Partitions:
        """Return partitions of which only some have rows."""
        tables = tables_of(rows, self.facts.files, digests=self.facts.has_digests)
        return Partitions(self.facts, UnitRows({**self.shared, **tables}), self.keys)

    def answers(self, asked: UnitIds) -> GlobalKeys:
        """Return what a unit may look up: its own ids, and those of others that there are."""
        known = {table: self.ids.known(table, ids).ids for table, ids in asked.foreign.items()}
        return replace(self.keys, ids=known).of_unit(asked)


@dataclass(frozen=True)
class RunFacts:
    """Facts that all units of a run share.

    Attributes:
        definitions: rules and mappings.
        task: the task of the run, without what may be reused.
        previous: that, pickled: it may be long.
        extract: of the extract.
        finished: where what becomes of units is staged.
        leases: objects of the target that the driver sees.
        umask: of the driver.
    """

    definitions: Definitions
    task: Task
    previous: StagedValue
    extract: ExtractOnExecutors
    finished: Staging
    leases: tuple[str, ...]
    umask: int

    @cached_property
    def prepared(self) -> tuple[UnitContext, Store | None]:
        """What a Python worker keeps from unit to unit, and the target.

        Raises:
            StoreError: this executor sees another target than the driver.
        """
        os.umask(self.umask)
        task = replace(self.task, previous=unpickled(self.previous.read()))
        gc.collect()
        gc.freeze()
        providers = providers_of(task.directory, self.definitions)
        partition = PartitionContext(self.definitions, providers, task.as_of)
        store = None if task.target is None else task.target.store()
        if store is not None:
            check_same_target(store, self.leases)
        return UnitContext(partition, Dependencies.of(self.definitions), task), store


def do_jobs(facts: tuple[Callable[[Any, EmitAny], Any], int], batches: Batches) -> Batches:
    """Yield what a function returns of each job, as JSON.

    Args:
        facts: the function, and the umask of the driver.
        batches: the jobs.
    """
    call, umask = facts
    os.umask(umask)
    for row in rows_of(batches):
        found = call(unpickled(row.body), no_event)
        yield batch_of(TaskRow(row.place, FOUND, body=json.dumps(found).encode()))


def call_partition(facts: tuple[PartitionCall, ExtractOnExecutors], batches: Batches) -> Batches:
    """Yield what a function returns of the partition of a task."""
    call, extract = facts
    rows = _together(batches)
    if rows.num_rows:
        index = only_task(rows.column("place").unique().to_pylist())
        yield batch_of(TaskRow(index, FOUND, body=call(extract.partitions(rows), index)))


def finish_unit(run: RunFacts, batches: Batches) -> Batches:
    """Process the unit of a task, and stage what becomes of it."""
    rows = _together(batches)
    if not pc.any(pc.equal(rows.column("kind"), HEAD)).as_py():
        return  # finished before
    context, store = run.prepared
    task, extract = context.task, run.extract
    count = extract.facts.count
    units = task.units(count)
    size = len(units[0])
    first = only_task(rows.column("place").unique().to_pylist(), size)
    unit = units[first // size]
    _check_memory(rows)
    previous = task.previous.for_partitions(unit, count)
    context = replace(context, task=replace(task, previous=previous))
    partitions = extract.partitions(rows)
    keys = extract.answers(unit_ids(context, unit, partitions, store))
    whole = process_unit(context, unit, partitions, keys, store)
    results = {unit: whole}
    if whole is None:  # together its partitions are too much
        alone = [range(index, index + 1) for index in unit]
        results = {part: process_unit(context, part, partitions, keys, store) for part in alone}
    # After the blocks: the driver may go on with what is there.
    put_unit(run.finished, first, [(part, one) for part, one in results.items() if one])
    yield batch_of(TaskRow(first, DONE))


def _check_memory(rows: pa.Table) -> None:
    """Check that the member with most rows fits into this executor's memory.

    Raises:
        StoreError: it does not.
    """
    own = rows.filter(pc.equal(rows.column("kind"), OF_MEMBER)).column("body").combine_chunks()
    _, counts = np.unique(heads_of(own)[OWNER_COLUMN], return_counts=True)
    most = int(counts.max(initial=0))
    budget = free_memory() if most > MANY_ROWS else None
    if budget is not None:
        budget.check_member(most, 1)


def _together(batches: Batches) -> pa.Table:
    return pa.Table.from_batches([batch for batch in batches if batch.num_rows], SCHEMA)


def check_same_target(store: Store, leases: Sequence[str]) -> None:
    """Check that this is the target that the driver sees.

    Raises:
        StoreError: it is another folder: of another machine, most likely.
    """
    for key in leases:
        try:
            store.get(key)
        except NotFound:
            continue
        return
    if leases:
        raise StoreError(
            f"{store.name}: executors see another folder there than the driver; publish to a "
            "folder that all machines share, or to s3://"
        )
