"""Units on an executor: rows in, blocks into the target, outcomes out.

Nothing is written on an executor but into the target.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Final

import pyarrow as pa

from etl.errors import NotFound, StoreError
from etl.pipeline.context import Task
from etl.pipeline.definitions import Definitions
from etl.pipeline.incremental.dependencies import Dependencies
from etl.pipeline.incremental.reuse import PreviousRelease
from etl.pipeline.partition.mapping import PartitionContext
from etl.pipeline.partition.providers import providers_of
from etl.pipeline.totals import outcome_to
from etl.pipeline.unit import UnitContext, process_unit, unit_ids
from etl.sources.partition.ids import GlobalKeys, UnitKeys
from etl.sources.partition.partitions import PartitionFacts, Partitions, Tables, UnitRows
from etl.spark.pickling import unpacked, unpickled
from etl.spark.task_rows import Batches, TaskRow, batches_of, by_place, guarded, rows_of
from etl.storage.port import Store

HEAD: Final = "unit"
"""Kind of the row that comes before those of a unit: the number is the partition after it, the body
what it may reuse, pickled."""
OUTCOME: Final = "outcome"
FILE: Final = "file"
"""Of a finished unit its outcome, and its files by name."""
OWN: Final = "own"
FOREIGN: Final = "foreign"
"""Of a unit that asks for ids its own ones and those, by table."""
FOUND: Final = "found"
"""Result of a function that was called with a partition."""

PartitionCall = Callable[[Partitions, int], bytes]


@dataclass(frozen=True, slots=True)
class ExtractOnExecutors:
    """Facts of an extract that all executors are given.

    Attributes:
        facts: of the extract.
        shared: packed rows that every partition is loaded with.
        keys: ids that several members share; of other ids none.
    """

    facts: PartitionFacts
    shared: bytes
    keys: GlobalKeys

    def partitions(self, rows: Tables) -> Partitions:
        """Return partitions of which only some have rows."""
        tables = {**_shared_tables(self.shared), **rows}
        return Partitions(self.facts, UnitRows(tables), self.keys)


@lru_cache(maxsize=1)
def _shared_tables(shared: bytes) -> Tables:
    return unpacked(shared)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Facts that all units of a run share.

    Attributes:
        definitions: rules and mappings.
        task: the task of the run, without what single units may reuse.
        extract: of the extract.
        leases: objects of the target that the driver sees.
        umask: of the driver.
    """

    definitions: Definitions
    task: Task
    extract: ExtractOnExecutors
    leases: tuple[str, ...]
    umask: int


def finishing(
    program: str, facts: bytes, answers: Mapping[int, bytes]
) -> Callable[[Batches], Batches]:
    """Return the function for `mapInArrow` that finishes units.

    Args:
        program: `program_text` of the driver.
        facts: pickled `RunFacts`.
        answers: first partition of a unit -> pickled keys that it asked for.
    """

    def finish(batches: Batches) -> Batches:
        for first, rows in by_place(rows_of(batches)):
            make = partial(_results, facts, answers.get(first), rows)
            yield from batches_of(guarded(program, first, make))

    return finish


def calling(program: str, call: bytes) -> Callable[[Batches], Batches]:
    """Return the function for `mapInArrow` that calls a function with each partition.

    Args:
        program: `program_text` of the driver.
        call: pickled `PartitionCall` and `ExtractOnExecutors`.
    """

    def call_each(batches: Batches) -> Batches:
        for index, rows in by_place(rows_of(batches)):
            yield from batches_of(guarded(program, index, partial(_found, call, index, rows)))

    return call_each


def _found(call: bytes, index: int, rows: Iterator[TaskRow]) -> Iterator[TaskRow]:
    function, extract = _call(call)
    tables = _tables(row._replace(number=index) for row in rows)
    yield TaskRow(index, FOUND, body=function(extract.partitions(tables), index))


@lru_cache(maxsize=1)
def _call(call: bytes) -> tuple[PartitionCall, ExtractOnExecutors]:
    function, extract = unpickled(call)
    return function, extract


def _tables(rows: Iterator[TaskRow]) -> Tables:
    """Return the rows of each raw table in each partition."""
    parts: dict[tuple[str, int | None], list[pa.Table]] = {}
    for row in rows:
        with pa.ipc.open_stream(row.body) as reader:
            parts.setdefault((row.name, row.number), []).append(reader.read_all())
    return {
        place: pa.concat_tables(tables, promote_options="default")
        for place, tables in parts.items()
    }


def _results(facts: bytes, answers: bytes | None, rows: Iterator[TaskRow]) -> Iterator[TaskRow]:
    head = next(rows)
    if head.kind != HEAD:  # a unit that is not to be processed
        return
    unit, executor = range(head.place, head.number), _executor(facts)
    yield from executor.finish(unit, _tables(rows), unpickled(head.body), answers)


@dataclass(frozen=True, slots=True)
class _Executor:
    """State of a Python worker, from unit to unit."""

    facts: RunFacts
    context: UnitContext
    store: Store | None

    def finish(
        self, unit: range, rows: Tables, previous: PreviousRelease, answers: bytes | None
    ) -> Iterator[TaskRow]:
        """Yield what becomes of a unit: the results of it, or the ids that it asks for."""
        context = replace(self.context, task=replace(self.context.task, previous=previous))
        partitions = self.facts.extract.partitions(rows)
        if answers is not None:
            keys: UnitKeys = unpickled(answers)
        else:
            ids = unit_ids(context, unit, partitions, self.store)
            if len(ids):
                for table, own in ids.own.items():
                    yield TaskRow(unit.start, OWN, table, unit.stop, own.tobytes())
                    foreign = ids.foreign[table].tobytes()
                    yield TaskRow(unit.start, FOREIGN, table, unit.stop, foreign)
                return
            keys = self.facts.extract.keys.of_unit(ids)
        yield from self._process(context, unit, partitions, keys)

    def _process(
        self, context: UnitContext, unit: range, rows: Partitions, keys: UnitKeys
    ) -> Iterator[TaskRow]:
        result = process_unit(context, unit, rows, keys, self.store)
        if result is None:
            for index in unit:
                yield from self._process(context, range(index, index + 1), rows, keys)
            return
        yield TaskRow(unit.start, OUTCOME, "", unit.stop, outcome_to(result.outcome))
        for name, pieces in result.files.items():
            yield TaskRow(unit.start, FILE, name, unit.stop, b"".join(pieces))


@lru_cache(maxsize=1)
def _executor(facts: bytes) -> _Executor:
    run: RunFacts = unpickled(facts)
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
    return _Executor(run, context, store)


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
