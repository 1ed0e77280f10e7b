"""Units on an executor: rows in, blocks into the target, results into staging.

Nothing is written on an executor but there.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.errors import NotFound, StoreError
from etl.jobs import no_event
from etl.local.memory import MANY_ROWS, free_here
from etl.pipeline.context import Task
from etl.pipeline.definitions import Definitions
from etl.pipeline.incremental.dependencies import Dependencies
from etl.pipeline.partition.mapping import PartitionContext
from etl.pipeline.partition.providers import providers_of
from etl.pipeline.unit import UnitContext, process_unit, unit_ids
from etl.sources.files.listed_files import spill_names
from etl.sources.partition.ids import GlobalKeys, UnitIds
from etl.sources.partition.partition_rows import OWNER_COLUMN
from etl.sources.partition.partitions import PartitionFacts, Partitions, Tables, UnitRows
from etl.spark.id_files import IdFiles
from etl.spark.member_rows import OF_MEMBER, heads_of, tables_of
from etl.spark.pickling import unpickled
from etl.spark.staging import StagedValue, Staging, put_unit
from etl.spark.task_rows import SCHEMA, Batches, TaskRow, batch_of, guarded, rows_of
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
        names = {file.index: spill_names(file) for file in self.facts.files}
        tables = tables_of(rows, names, digests=self.facts.has_digests)
        return Partitions(self.facts, UnitRows({**self.shared, **tables}), self.keys)

    def answers(self, asked: UnitIds) -> GlobalKeys:
        """Return what a unit may look up: its own ids, and those of others that there are."""
        known = {table: self.ids.known(table, ids).ids for table, ids in asked.foreign.items()}
        return replace(self.keys, ids=known).of_unit(asked)


@dataclass(frozen=True, slots=True)
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


def finishing(program: str, facts: bytes) -> Callable[[Batches], Batches]:
    """Return the function for `mapInArrow` that finishes the unit of a task.

    Args:
        program: `program_text` of the driver.
        facts: pickled `RunFacts`. The id key is in it: it is sent, and never staged.
    """

    def finish(batches: Batches) -> Batches:
        yield from guarded(program, partial(_finish, facts, batches))

    return finish


def calling(program: str, call: bytes) -> Callable[[Batches], Batches]:
    """Return the function for `mapInArrow` that calls a function with the partition of a task.

    Args:
        program: `program_text` of the driver.
        call: pickled `PartitionCall` and `ExtractOnExecutors`.
    """

    def call_each(batches: Batches) -> Batches:
        yield from guarded(program, partial(_call, call, batches))

    return call_each


def doing(program: str, call: bytes) -> Callable[[Batches], Batches]:
    """Return the function for `mapInArrow` that calls a function with the jobs of a task.

    Args:
        program: `program_text` of the driver.
        call: the pickled function and umask of the driver.
    """

    def do_each(batches: Batches) -> Batches:
        yield from guarded(program, partial(_do, call, batches))

    return do_each


def _do(call: bytes, batches: Batches) -> Batches:
    function, umask = _loaded(call)
    os.umask(umask)
    for row in rows_of(batches):
        found = function(unpickled(row.body), no_event)
        yield batch_of(TaskRow(row.place, FOUND, body=json.dumps(found).encode()))


def _call(call: bytes, batches: Batches) -> Batches:
    rows = _together(batches)
    if not rows.num_rows:
        return
    function, extract = _loaded(call)
    index = _first_of(rows, [range(each, each + 1) for each in range(extract.facts.count)])
    found = function(extract.partitions(rows), index)
    yield batch_of(TaskRow(index, FOUND, body=found))


@lru_cache(maxsize=1)
def _loaded(call: bytes) -> Any:
    return unpickled(call)


def _finish(facts: bytes, batches: Batches) -> Batches:
    rows = _together(batches)
    if not pc.any(pc.equal(rows.column("kind"), HEAD)).as_py():
        return  # finished before
    run, context, store = _run(facts)
    task, extract = run.task, run.extract
    count = extract.facts.count
    units = task.units(count)
    first = _first_of(rows, units)
    (unit,) = (unit for unit in units if unit.start == first)
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
    budget = free_here() if most > MANY_ROWS else None
    if budget is not None:
        budget.check_member(most, 1)


def _together(batches: Batches) -> pa.Table:
    return pa.Table.from_batches([batch for batch in batches if batch.num_rows], SCHEMA)


def _first_of(rows: pa.Table, tasks: Sequence[range]) -> int:
    """Return the first place of the task that rows are of.

    Raises:
        AssertionError: they are of several: this Spark hashes numbers in another way.
    """
    places: list[int] = rows.column("place").unique().to_pylist()
    size = len(tasks[0])
    firsts = {place - place % size for place in places}
    if len(firsts) != 1:
        raise AssertionError(f"Spark gave one task the rows of {len(firsts)} units")
    return firsts.pop()


@lru_cache(maxsize=1)
def _run(facts: bytes) -> tuple[RunFacts, UnitContext, Store | None]:
    """Return a run as a Python worker has it from unit to unit."""
    run: RunFacts = unpickled(facts)
    previous = unpickled(run.previous.read())
    run = replace(run, task=replace(run.task, previous=previous))
    os.umask(run.umask)
    gc.collect()
    gc.freeze()
    task = run.task
    providers = providers_of(task.directory, run.definitions)
    context = UnitContext(
        PartitionContext(run.definitions, providers, task.as_of),
        Dependencies.of(run.definitions),
        task,
    )
    store = None if task.target is None else task.target.store()
    if store is not None:
        check_same_target(store, run.leases)
    return run, context, store


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
