"""Units on an executor: rows in, blocks into the target, outcomes out.

Nothing is written on an executor but into the target. No exception leaves a task: its text could
hold cells, and Spark logs it. It is a result like others, and is raised by the driver.
"""

from __future__ import annotations

import gc
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa

from etl.errors import (
    CommitConflict,
    CommitUnknown,
    DataRejected,
    EtlError,
    NotFound,
    StoreError,
    UsageError,
)
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
from etl.spark.pickling import unpacked, unpickled
from etl.spark.program import program_text
from etl.storage.port import Store

UNIT_ROWS: Final = "first int, stop int, rows binary, previous binary, keys binary"
RESULTS: Final = "first int, stop int, kind string, name string, body binary"
_RESULTS: Final = pa.schema(
    [
        pa.field("first", pa.int32()),
        pa.field("stop", pa.int32()),
        pa.field("kind", pa.string()),
        pa.field("name", pa.string()),
        pa.field("body", pa.binary()),
    ]
)

_SENTENCES: Final[Mapping[str, type[Exception]]] = {
    error.__name__: error
    for error in (UsageError, DataRejected, StoreError, NotFound, CommitConflict, CommitUnknown)
}
"""Errors that are no more than their sentence."""

Kind = Literal["outcome", "file", "own", "foreign", "failed"]
"""Of a finished unit its outcome, and its files by name; of one that asks for ids its own ones and
those, by table; of one that failed the error's class, and its text."""
Batches = Iterator[pa.RecordBatch]
Result = tuple[range, Kind, str, bytes]
"""The unit, or a partition of it; kind, name, and the bytes that these say."""


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
                for result in _results(program, facts, work):
                    yield _batch(result)

    return finish


def _batch(result: Result) -> pa.RecordBatch:
    unit, kind, name, body = result
    columns: Sequence[Any] = ([unit.start], [unit.stop], [kind], [name], [body])
    arrays = [pa.array(*each) for each in zip(columns, _RESULTS.types, strict=True)]
    return pa.record_batch(arrays, schema=_RESULTS)


def _results(program: str, facts: bytes, work: UnitOfWork) -> list[Result]:
    try:
        if program_text() != program:
            raise UsageError(
                f"the driver runs {program}, an executor {program_text()}: install the same on both"
            )
        return list(_Executor.of(facts).finish(work))
    except EtlError as error:
        return [(work.unit, "failed", type(error).__name__, str(error).encode())]
    except Exception as error:  # a bug, of which the text may hold cells: its place alone is told
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"
        return [(work.unit, "failed", "", f"{place}, on an executor".encode())]


def raised(name: str, text: str) -> Exception:
    """Return the error that a result states.

    Args:
        name: its class; empty for an error that is a bug.
        text: what it says.
    """
    return _SENTENCES.get(name, RuntimeError)(text)


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

    def finish(self, work: UnitOfWork) -> Iterator[Result]:
        """Yield what becomes of a unit: the results of it, or the ids that it asks for."""
        previous: PreviousRelease = unpickled(work.previous)
        context = replace(self.context, task=replace(self.context.task, previous=previous))
        rows = UnitRows({**self.shared.tables, **unpacked(work.rows)})
        partitions = Partitions(self.facts.facts, rows, self.facts.keys)
        if work.keys:
            keys: UnitKeys = unpickled(work.keys)
        else:
            ids = unit_ids(context, work.unit, partitions, self.store)
            if len(ids):
                for table, own in ids.own.items():
                    yield work.unit, "own", table, own.tobytes()
                    yield work.unit, "foreign", table, ids.foreign[table].tobytes()
                return
            keys = self.facts.keys.of_unit(ids)
        yield from self._process(context, work.unit, partitions, keys)

    def _process(
        self, context: UnitContext, unit: range, rows: Partitions, keys: UnitKeys
    ) -> Iterator[Result]:
        result = process_unit(context, unit, rows, keys, self.store)
        if result is None:
            for index in unit:
                yield from self._process(context, range(index, index + 1), rows, keys)
            return
        yield unit, "outcome", "", outcome_to(result.outcome)
        for name, pieces in result.files.items():
            yield unit, "file", name, b"".join(pieces)


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
