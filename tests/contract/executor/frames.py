"""Frames in memory: what an executor on Spark asks of a session, without Spark.

SQLite evaluates the expressions. Rows of one place come in any order but that of their kinds, and
tasks get them some at a time.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from etl.columns.digests import NO_HASHES
from etl.sources.partition.partition_rows import RAGGED
from etl.sources.partition.partitions import Partitions, UnitRows
from etl.spark.reading_tasks import owned_from
from etl.spark.shuffled_rows import ShuffledTables
from etl.spark.task_rows import ROWS, SCHEMA, TaskRow

_AT_A_TIME = 3
"""Rows of a batch."""


@dataclass(frozen=True)
class _Descending:
    column: str


@dataclass(frozen=True)
class _Column:
    name: str

    def desc(self):
        return _Descending(self.name)


@dataclass(frozen=True)
class Frame:
    """Some rows, or how they are made, in tasks.

    Attributes:
        make: makes the rows of each task.
        sees: takes the rows that come back to the driver.
    """

    make: Callable[[], list[list[TaskRow]]]
    sees: Callable[[Sequence[TaskRow]], None]

    def __getitem__(self, name):
        return _Column(name)

    def where(self, condition):
        return self._each(lambda rows: _select(rows, "*", condition))

    def selectExpr(self, *expressions):  # as Spark has it
        return self._each(lambda rows: _select(rows, ", ".join(expressions), "1"))

    def union(self, other):
        return Frame(lambda: [*self.make(), *other.make()], self.sees)

    def repartition(self, tasks, column=""):
        def spread():
            made = [list[TaskRow]() for _ in range(tasks)]
            rows = [row for task in self.make() for row in task]
            random.Random(len(rows)).shuffle(rows)  # no secret
            for at, row in enumerate(rows):
                made[(getattr(row, column) if column else at) * 7 % tasks].append(row)
            return made

        return Frame(spread, self.sees)

    def sortWithinPartitions(self, first, then):
        def in_order(rows):
            by_kind = sorted(rows, key=lambda row: str(getattr(row, then.column)), reverse=True)
            return sorted(by_kind, key=lambda row: int(getattr(row, first)))

        return self._each(in_order)

    def mapInArrow(self, task, schema):
        assert schema == ROWS

        def mapped(rows):
            return [row for batch in task(_batches(rows)) for row in _rows(batch)]

        return self._each(mapped)

    def persist(self):
        held = list[list[list[TaskRow]]]()

        def once():
            if not held:
                held.append(self.make())
            return held[0]

        return Frame(once, self.sees)

    def unpersist(self):
        """Do nothing."""

    def count(self):
        return sum(map(len, self.make()))

    def collect(self):
        rows = [row for task in self.make() for row in task]
        self.sees(rows)
        return rows

    def _each(self, call):
        return Frame(lambda: [call(rows) for rows in self.make()], self.sees)


@dataclass
class Session:
    """Makes frames of rows.

    Attributes:
        sent: rows that the driver sent.
        returned: rows that it got.
    """

    sent: list[TaskRow] = field(default_factory=list)
    returned: list[TaskRow] = field(default_factory=list)

    def createDataFrame(self, rows, schema):
        assert schema == ROWS
        made = [TaskRow(*row) for row in rows]
        self.sent += made
        return Frame(lambda: [made[0::2], made[1::2]], self.returned.extend)


def whole(partitions):
    """Return an extract that was shuffled with all rows and ids that are in frames."""
    raw = partitions.raw
    assert isinstance(raw, ShuffledTables)
    parts = {}
    for row in raw.rows.collect():
        table = pa.ipc.open_stream(row.body).read_all()
        parts.setdefault((row.name, row.place), []).append(table)
    tables = {at: pa.concat_tables(each, promote_options="default") for at, each in parts.items()}
    names = {file.table for file in partitions.facts.files if file.table}
    tables |= {(name, raw.count): raw.read(name, raw.count) for name in names}
    tables[RAGGED, None] = raw.read(RAGGED, None)
    ids = {"member": [], "claim": [], "coverage": []}
    for row in raw.ids.collect():
        is_claims = row.name == "claim"
        found = owned_from(row.body).ids if is_claims else np.frombuffer(row.body, np.uint64)
        ids[row.name].append(found)
    sets = {f"{name}s": np.sort(np.concatenate([NO_HASHES, *each])) for name, each in ids.items()}
    return Partitions(partitions.facts, UnitRows(tables), replace(partitions.keys, **sets))


def _batches(rows):
    for first in range(0, len(rows), _AT_A_TIME):
        columns = zip(*rows[first : first + _AT_A_TIME], strict=True)
        arrays = [
            pa.array(list(cells), type_) for cells, type_ in zip(columns, SCHEMA.types, strict=True)
        ]
        yield pa.record_batch(arrays, schema=SCHEMA)


def _rows(batch):
    assert batch.schema == SCHEMA
    return (TaskRow(**row) for row in batch.to_pylist())


def _select(rows, columns, condition):
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE TABLE rows (place, kind, name, number, body)")
        connection.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", rows)
        found = connection.execute(f"SELECT {columns} FROM rows WHERE {condition}")  # noqa: S608
        return [TaskRow(*row) for row in found]
    finally:
        connection.close()
