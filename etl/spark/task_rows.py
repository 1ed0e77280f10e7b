"""Rows that tasks receive and yield: rows of an extract, ids, results, and errors.

Tasks raise no exceptions, because Spark would log their texts, which can contain cells. They yield
a row with the error, and the driver raises it.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa

from etl import errors
from etl.errors import EtlError, StoreError, UsageError
from etl.spark.pickling import pickled, unpickled
from etl.spark.program import program_text

FAILED: Final = "failed"
"""Kind of a row with an error: its name is the class, its body the text."""
SCHEMA: Final = pa.schema(
    {
        "shard": pa.int32(),
        "kind": pa.string(),
        "name": pa.string(),
        "number": pa.int32(),
        "body": pa.binary(),
        "cells": pa.string(),
    }
)
"""Schema of the rows of tasks, for Arrow."""
ROWS: Final = ", ".join(f"{field.name} {field.type}" for field in SCHEMA).replace("int32", "int")
"""The same schema for Spark."""
_SPARK_MODULES: Final = ("pyspark.", "py4j.")
"""Modules of Spark's exceptions, which are not imported because they can be missing."""
Batches = Iterator[pa.RecordBatch]
TaskWork = Callable[[Any, Batches], Batches]
"""Work of a task: from facts and the rows of the task to its results."""


class TaskRow(NamedTuple):
    """A row of `ROWS`.

    Attributes:
        shard: a partition, or a bucket of ids: one task gets all rows of a shard.
        kind: kind of the row.
        name: a raw table, or the table of ids; empty for a member's row.
        number: number of a job, or a count.
        body: content as bytes; for a member's row, its origin and owner (`member_rows`).
        cells: cells of a member's row; None for other kinds.
    """

    shard: int
    kind: str
    name: str = ""
    number: int = 0
    body: bytes = b""
    cells: str | None = None


def iterate_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[TaskRow]:
    """Yield the rows of some batches."""
    for batch in batches:
        yield from (TaskRow(**row) for row in batch.to_pylist())


def batch_of_row(row: TaskRow) -> pa.RecordBatch:
    """Return a row as a batch."""
    return pa.RecordBatch.from_pylist([row._asdict()], SCHEMA)


def batch_of_kind(
    kind: str,
    shards: Any,
    bodies: pa.Array,
    cells: pa.Array | None = None,
    *,
    name: str = "",
    number: int = 0,
) -> pa.RecordBatch:
    """Return rows of one kind, name and number as a batch.

    Args:
        kind: kind of all rows.
        shards: shard of each row; numpy `int32`, shape (n,).
        bodies: body of each row; `binary`.
        cells: cells of each row; `string`. None if they have no cells.
        name: name of all rows.
        number: number of all rows.
    """
    count = len(bodies)
    columns = [
        pa.array(shards, pa.int32()),
        *(pa.repeat(pa.scalar(fact), count) for fact in (kind, name)),
        pa.repeat(pa.scalar(number, pa.int32()), count),
        bodies,
        pa.nulls(count, pa.string()) if cells is None else cells,
    ]
    return pa.record_batch(columns, schema=SCHEMA)


def task_function(work: TaskWork, facts: object) -> Callable[[Batches], Batches]:
    """Return the function for `mapInArrow` that does the work of each task.

    It yields the batches of the work; after an error, a row with the error.

    Args:
        work: a module-level function, because executors find it by name.
        facts: its first argument. It is sent to executors, never staged.
    """
    program, pickled_facts = program_text(), pickled(facts)

    def run(batches: Batches) -> Batches:
        try:
            if program_text() != program:
                raise UsageError(
                    f"the driver runs {program}, an executor {program_text()}: "
                    "install the same on both"
                )
            yield from work(_load_facts(pickled_facts), batches)
        except EtlError as error:
            yield batch_of_row(TaskRow(0, FAILED, type(error).__name__, body=str(error).encode()))
        except Exception as error:  # a bug, whose text may hold cells: report only its position
            frame = traceback.extract_tb(error.__traceback__)[-1]
            position = f"{type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}"
            yield batch_of_row(TaskRow(0, FAILED, body=f"{position}, on an executor".encode()))

    return run


@lru_cache(maxsize=1)
def _load_facts(pickled_facts: bytes) -> Any:
    """Return facts; a Python worker caches them from task to task."""
    return unpickled(pickled_facts)


def collect_rows(frame: Any) -> list[Any]:
    """Compute a frame and return its rows, which must be small.

    Raises:
        EtlError: Spark or a task failed.
    """
    with _explain_spark_errors():
        rows: list[Any] = frame.collect()
    for row in rows:
        if row.kind == FAILED:
            raise rebuild_error(row.name, bytes(row.body).decode())
    return rows


def rebuild_error(name: str, text: str) -> Exception:
    """Return the error of a failed task.

    Args:
        name: its class; empty for a bug.
        text: its message.
    """
    kind: type[Exception] = getattr(errors, name, RuntimeError)
    return kind(text)


@contextmanager
def _explain_spark_errors() -> Iterator[None]:
    """Turn an exception of Spark into one of our errors; Spark's log has the reason.

    Raises:
        UsageError: executors lack a package.
        StoreError: anything else.
    """
    try:
        yield
    except Exception as error:
        if not any(cls.__module__.startswith(_SPARK_MODULES) for cls in type(error).__mro__):
            raise
        missing = re.search(r"No module named '(\w+)|(PyArrow) >= ", str(error))
        if missing is not None:
            raise UsageError(
                f"the executors of Spark do not have the Python package {missing[1] or missing[2]}"
                ": install this program there (docs/scale.md)"
            ) from None
        raise StoreError(
            f"Spark gave up ({type(error).__name__}); its log has the reason, and running the same "
            "again goes on from here"
        ) from None
