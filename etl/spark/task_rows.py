"""Rows that tasks take and give: one form for pieces of an extract, units, and ids.

No exception leaves a task: its text could hold cells, and Spark logs it. It is a row like others,
and is raised by the driver.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa

from etl.errors import (
    CommitConflict,
    CommitUnknown,
    DataRejected,
    EtlError,
    ExtractError,
    NotFound,
    StoreError,
    UsageError,
)
from etl.spark.program import program_text

ROWS: Final = "place int, kind string, name string, number int, body binary"
FAILED: Final = "failed"
"""Kind of a row with an error: its class is the name, and its text the body."""
SCHEMA: Final = pa.schema(
    [
        pa.field("place", pa.int32()),
        pa.field("kind", pa.string()),
        pa.field("name", pa.string()),
        pa.field("number", pa.int32()),
        pa.field("body", pa.binary()),
    ]
)
"""The same for Arrow."""
_SENTENCES: Final[Mapping[str, type[Exception]]] = {
    error.__name__: error
    for error in (
        UsageError,
        ExtractError,
        DataRejected,
        StoreError,
        NotFound,
        CommitConflict,
        CommitUnknown,
    )
}
"""Errors that are no more than their sentence."""

Batches = Iterator[pa.RecordBatch]


class TaskRow(NamedTuple):
    """A row of `ROWS`.

    Attributes:
        place: what rows that belong together have in common: a unit's first partition, a
            partition, or a bucket of ids.
        kind: what it is; among the rows of a place, later kinds of the alphabet come first.
        name: a raw table, or the table of ids.
        number: of the job, or of the partition.
        body: its bytes.
    """

    place: int
    kind: str
    name: str = ""
    number: int = 0
    body: Any = b""


def rows_of(batches: Batches) -> Iterator[TaskRow]:
    """Yield rows as they come; their bytes are not copied."""
    for batch in batches:
        place, kind, name, number = (batch.column(field).to_pylist() for field in SCHEMA.names[:-1])
        bodies = (body.as_buffer() for body in batch.column("body"))
        yield from map(TaskRow, place, kind, name, number, bodies)


def batches_of(rows: Iterable[TaskRow]) -> Batches:
    """Yield rows as batches, each at once, so that no more than one is held."""
    for row in rows:
        columns: Sequence[Any] = ([row.place], [row.kind], [row.name], [row.number])
        arrays = [pa.array(*each) for each in zip(columns, SCHEMA.types[:-1], strict=True)]
        yield pa.record_batch([*arrays, _binary(row.body)], schema=SCHEMA)


def by_place(rows: Iterable[TaskRow]) -> Iterator[tuple[int, Iterator[TaskRow]]]:
    """Yield the rows of each place, of rows that are sorted by it."""
    return groupby(rows, key=itemgetter(0))


def guarded(program: str, number: int, make: Callable[[], Iterator[TaskRow]]) -> Iterator[TaskRow]:
    """Yield rows, or those before an error and one that states it.

    Args:
        program: `program_text` of the driver.
        number: of that row.
        make: makes the rows.
    """
    try:
        if program_text() != program:
            raise UsageError(
                f"the driver runs {program}, an executor {program_text()}: install the same on both"
            )
        yield from make()
    except EtlError as error:
        yield TaskRow(0, FAILED, type(error).__name__, number, str(error).encode())
    except Exception as error:  # a bug, with a text that may hold cells: only its place goes out
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"
        yield TaskRow(0, FAILED, "", number, f"{place}, on an executor".encode())


def raised(name: str, text: str) -> Exception:
    """Return the error that a row states.

    Args:
        name: its class; empty for an error that is a bug.
        text: what it says.
    """
    return _SENTENCES.get(name, RuntimeError)(text)


def _binary(body: Any) -> pa.Array:
    """Return an array of one value, of bytes or a buffer."""
    buffer = pa.py_buffer(body)
    ends = pa.array([0, buffer.size], pa.int32()).buffers()[1]
    return pa.Array.from_buffers(pa.binary(), 1, [None, ends, buffer])
