"""Rows that tasks take and give: one form for rows of an extract, ids, and what tasks say.

No exception leaves a task: its text could hold cells, and Spark logs it. It is a row like others,
and is raised by the driver.
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
"""Kind of a row with an error: its class is the name, and its text the body."""
SCHEMA: Final = pa.schema(
    {
        "place": pa.int32(),
        "kind": pa.string(),
        "name": pa.string(),
        "number": pa.int32(),
        "body": pa.binary(),
        "cells": pa.string(),
    }
)
"""Rows of tasks, for Arrow."""
ROWS: Final = ", ".join(f"{field.name} {field.type}" for field in SCHEMA).replace("int32", "int")
"""The same for Spark."""
_OF_SPARK: Final = ("pyspark.", "py4j.")
"""Modules of its exceptions, which need not be installed where there is no session."""
Batches = Iterator[pa.RecordBatch]
TaskWork = Callable[[Any, Batches], Batches]
"""Facts and the rows of a task -> what comes of them."""


class TaskRow(NamedTuple):
    """A row of `ROWS`.

    Attributes:
        place: what rows that are worked on together have in common: a partition, or a bucket of
            ids.
        kind: what it is.
        name: a raw table, or the table of ids; of a member's row its file says that.
        number: of the job, or of what there is.
        body: its bytes; of a member's row where it comes from and whose it is (`member_rows`).
        cells: of a member's row alone.
    """

    place: int
    kind: str
    name: str = ""
    number: int = 0
    body: bytes = b""
    cells: str | None = None


def rows_of(batches: Iterable[pa.RecordBatch]) -> Iterator[TaskRow]:
    """Yield rows, as they come."""
    for batch in batches:
        yield from (TaskRow(**row) for row in batch.to_pylist())


def batch_of(row: TaskRow) -> pa.RecordBatch:
    """Return a row as a batch."""
    return pa.RecordBatch.from_pylist([row._asdict()], SCHEMA)


def batch_of_kind(
    kind: str,
    places: Any,
    bodies: pa.Array,
    cells: pa.Array | None = None,
    *,
    name: str = "",
    number: int = 0,
) -> pa.RecordBatch:
    """Return rows of one kind, name and number as a batch.

    Args:
        kind: of all of them.
        places: numpy `int32`, shape (n,): the place of each.
        bodies: `binary`, of each.
        cells: `string`, of each; None for none.
        name: of all of them.
        number: of all of them.
    """
    count = len(bodies)
    columns = [
        pa.array(places, pa.int32()),
        *(pa.repeat(pa.scalar(fact), count) for fact in (kind, name)),
        pa.repeat(pa.scalar(number, pa.int32()), count),
        bodies,
        pa.nulls(count, pa.string()) if cells is None else cells,
    ]
    return pa.record_batch(columns, schema=SCHEMA)


def task_function(work: TaskWork, facts: object) -> Callable[[Batches], Batches]:
    """Return the function for `mapInArrow` that does some work with the rows of each task.

    It yields the batches of the work, or those before an error and one that states it.

    Args:
        work: a module-level function, because executors find it by name.
        facts: what it is called with, beside the rows. They are sent, and never staged.
    """
    program, sent = program_text(), pickled(facts)

    def run(batches: Batches) -> Batches:
        try:
            if program_text() != program:
                raise UsageError(
                    f"the driver runs {program}, an executor {program_text()}: "
                    "install the same on both"
                )
            yield from work(_received(sent), batches)
        except EtlError as error:
            yield batch_of(TaskRow(0, FAILED, type(error).__name__, body=str(error).encode()))
        except Exception as error:  # a bug, whose text may hold cells: only its place goes out
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"
            yield batch_of(TaskRow(0, FAILED, body=f"{place}, on an executor".encode()))

    return run


@lru_cache(maxsize=1)
def _received(sent: bytes) -> Any:
    """Return facts; a Python worker keeps them from task to task."""
    return unpickled(sent)


def collected(frame: Any) -> list[Any]:
    """Return the rows of a frame; each is small.

    Raises:
        EtlError: Spark gave up, or a task did.
    """
    with _sentences():
        rows: list[Any] = frame.collect()
    for row in rows:
        if row.kind == FAILED:
            raise raised(row.name, bytes(row.body).decode())
    return rows


def raised(name: str, text: str) -> Exception:
    """Return the error that a row states.

    Args:
        name: its class; empty for an error that is a bug.
        text: what it says.
    """
    kind: type[Exception] = getattr(errors, name, RuntimeError)
    return kind(text)


@contextmanager
def _sentences() -> Iterator[None]:
    """Raise an error of ours where Spark gave up; its own log has the reason.

    Raises:
        UsageError: executors lack a package.
        StoreError: anything else.
    """
    try:
        yield
    except Exception as error:
        if not any(cls.__module__.startswith(_OF_SPARK) for cls in type(error).__mro__):
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
