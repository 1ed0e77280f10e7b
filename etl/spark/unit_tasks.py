"""Units on an executor: rows in, blocks into the target, outcomes out.

Nothing is written on an executor but into the target. No exception leaves a task: its text could
hold cells, and Spark logs it. It is a result like others, and is raised by the driver.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, Literal

import pyarrow as pa

from etl.errors import NotFound, StoreError, UsageError
from etl.pipeline.definitions import Definitions
from etl.pipeline.executor import Task
from etl.pipeline.incremental.dependencies import Dependencies
from etl.pipeline.incremental.reuse import PreviousRelease
from etl.pipeline.outcome import outcome_to
from etl.pipeline.partition.check_and_map import PartitionContext
from etl.pipeline.partition.providers import providers_of
from etl.pipeline.unit import UnitContext, process_unit
from etl.pipeline.unit_ids import unit_ids
from etl.sources import GlobalKeys, PartitionFacts, Partitions
from etl.sources.keys import UnitKeys
from etl.sources.unit_rows import UnitRows
from etl.spark.pickling import pickled, unpacked, unpickled
from etl.spark.program import program_text
from etl.storage.port import Store

UNIT_ROWS: Final = "first int, stop int, rows binary, previous binary, keys binary"
RESULTS: Final = "first int, stop int, kind string, body binary"
_RESULTS: Final = pa.schema(
    [
        pa.field("first", pa.int32()),
        pa.field("stop", pa.int32()),
        pa.field("kind", pa.string()),
        pa.field("body", pa.binary()),
    ]
)

Kind = Literal["done", "asked", "failed"]
"""State of a unit after a task: finished, waiting for answers about ids, or failed."""
Batches = Iterator[pa.RecordBatch]
Result = tuple[int, int, Kind, bytes]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Facts that all units of a run share.

    Attributes:
        definitions: rules and mappings.
        task: the task of the run, without what single units may reuse.
        facts: of the extract.
        shared: packed rows that every partition is loaded with.
        keys: ids that several members share; of other ids none.
        leases: objects of the target that the driver sees.
        umask: of the driver.
    """

    definitions: Definitions
    task: Task
    facts: PartitionFacts
    shared: bytes
    keys: GlobalKeys
    leases: tuple[str, ...]
    umask: int


@dataclass(frozen=True, slots=True)
class UnitOfWork:
    """One unit on its way to an executor; a row of `UNIT_ROWS`.

    Attributes:
        unit: the partitions.
        rows: their packed rows.
        previous: what the unit may reuse, pickled.
        keys: pickled answers about the ids that it asked for; empty before it asked.
    """

    unit: range
    rows: bytes
    previous: bytes
    keys: bytes = b""

    def row(self) -> tuple[int, int, bytes, bytes, bytes]:
        """Return it as a row."""
        return self.unit.start, self.unit.stop, self.rows, self.previous, self.keys


@dataclass(frozen=True, slots=True)
class FinishedUnit:
    """Result of a unit, or of one of its partitions.

    Attributes:
        unit: the partitions.
        outcome: `outcome_to` of what it adds to the totals.
        files: name -> what the run keeps of it until its end.
    """

    unit: range
    outcome: bytes
    files: dict[str, bytes]


def finishing(program: str, facts: bytes) -> Callable[[Batches], Batches]:
    """Return the function for `mapInArrow` that finishes units.

    Args:
        program: `program_text` of the driver.
        facts: pickled `RunFacts`.
    """

    def finish(batches: Batches) -> Batches:
        for batch in batches:
            for row in batch.to_pylist():
                unit = range(row["first"], row["stop"])
                work = UnitOfWork(unit, row["rows"], row["previous"], row["keys"])
                kind, body = _finished(program, facts, work)
                columns: Sequence[Any] = ([unit.start], [unit.stop], [kind], [body])
                yield pa.record_batch(
                    [pa.array(*each) for each in zip(columns, _RESULTS.types, strict=True)],
                    schema=_RESULTS,
                )

    return finish


def _finished(program: str, facts: bytes, work: UnitOfWork) -> tuple[Kind, bytes]:
    try:
        if program_text() != program:
            raise UsageError(
                f"the driver runs {program}, an executor {program_text()}: install the same on both"
            )
        return _Executor.of(facts).finish(work)
    except Exception as error:
        return "failed", _pickled_error(error)


def _pickled_error(error: Exception) -> bytes:
    """Return an exception as bytes; of one that cannot be sent, its class."""
    error.__traceback__ = None
    try:
        data = pickled(error)
        unpickled(data)
    except Exception:
        return pickled(RuntimeError(f"{type(error).__name__} on an executor"))
    return data


@dataclass(frozen=True, slots=True)
class _Executor:
    """State of a Python worker, from unit to unit."""

    facts: RunFacts
    context: UnitContext
    shared: UnitRows
    store: Store | None

    @classmethod
    def of(cls, facts: bytes) -> _Executor:
        return _executor(facts)

    def finish(self, work: UnitOfWork) -> tuple[Kind, bytes]:
        previous: PreviousRelease = unpickled(work.previous)
        context = replace(self.context, task=replace(self.context.task, previous=previous))
        rows = UnitRows({**self.shared.tables, **unpacked(work.rows)})
        partitions = Partitions(self.facts.facts, rows, self.facts.keys)
        if work.keys:
            keys: UnitKeys = unpickled(work.keys)
        else:
            ids = unit_ids(context, work.unit, partitions, self.store)
            if len(ids):
                return "asked", pickled(ids)
            keys = self.facts.keys.of_unit(ids)
        return "done", pickled(list(self._process(context, work.unit, partitions, keys)))

    def _process(
        self, context: UnitContext, unit: range, rows: Partitions, keys: UnitKeys
    ) -> Iterator[FinishedUnit]:
        result = process_unit(context, unit, rows, keys, self.store)
        if result is None:
            for index in unit:
                yield from self._process(context, range(index, index + 1), rows, keys)
            return
        files = {name: b"".join(pieces) for name, pieces in result.files.items()}
        yield FinishedUnit(unit, outcome_to(result.outcome), files)


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
    return _Executor(run, context, UnitRows(unpacked(run.shared)), store)


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
