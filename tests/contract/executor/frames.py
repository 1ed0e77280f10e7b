"""Frames in memory: what an executor on Spark asks of a session, without Spark.

SQLite evaluates the conditions. Rows come in any order, and tasks get them some at a time.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from etl.columns.digests import NO_HASHES
from etl.model.canonical_tables import KEYS
from etl.sources.partition.partition_rows import MALFORMED_TABLE
from etl.sources.partition.partitions import Partitions, UnitRows
from etl.spark.member_rows import decode_tables
from etl.spark.shuffled_rows import ShuffledTables
from etl.spark.task_rows import ROWS, SCHEMA, TaskRow

_AT_A_TIME = 3
"""Rows of a batch."""


def murmur3(number):
    """Return Spark's hash of an int, by its definition."""
    mixed = number & _BITS
    mixed = _turned(mixed * 0xCC9E2D51 & _BITS, 15) * 0x1B873593 & _BITS
    mixed = (_turned(42 ^ mixed, 13) * 5 + 0xE6546B64) & _BITS
    mixed ^= 4
    mixed = (mixed ^ mixed >> 16) * 0x85EBCA6B & _BITS
    mixed = (mixed ^ mixed >> 13) * 0xC2B2AE35 & _BITS
    mixed ^= mixed >> 16
    return mixed - (1 << 32) if mixed >> 31 else mixed


_BITS = (1 << 32) - 1


def _turned(number, bits):
    return (number << bits | number >> 32 - bits) & _BITS


@dataclass(frozen=True)
class Keyed:
    """Rows with a key that a table says by place."""

    frame: Frame
    keys: dict[int, int]

    def repartition(self, tasks, column):
        assert column == "key"
        return replace(
            self, frame=self.frame.spread(tasks, lambda row, _: murmur3(self.keys[row.shard]))
        )

    def drop(self, column):
        assert column == "key"
        return self.frame


@dataclass(frozen=True)
class Keys:
    """The table of keys."""

    keys: dict[int, int]

    def hint(self, how):
        assert how == "broadcast"
        return self


@dataclass(frozen=True)
class Frame:
    """Some rows, or how they are made, in tasks.

    Attributes:
        make: makes the rows of each task.
        sees: takes the rows that come back to the driver.
    """

    make: Callable[[], list[list[TaskRow]]]
    sees: Callable[[Sequence[TaskRow]], None]

    def where(self, condition):
        return self._each(lambda rows: _select(rows, condition))

    def join(self, keys, column):
        assert column == "shard"
        return Keyed(self, keys.keys)

    def union(self, other):
        return Frame(lambda: [*self.make(), *other.make()], self.sees)

    def repartition(self, tasks):
        return self.spread(tasks, lambda row, at: at)

    def spread(self, tasks, place):
        def spread():
            made = [list[TaskRow]() for _ in range(tasks)]
            rows = [row for task in self.make() for row in task]
            random.Random(len(rows)).shuffle(rows)  # no secret
            for at, row in enumerate(rows):
                made[place(row, at) % tasks].append(row)
            return made

        return Frame(spread, self.sees)

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
    version = "3.5.9"  # its jobs have no tags

    def createDataFrame(self, rows, schema):
        if schema == "shard int, key int":
            return Keys(dict(rows))
        assert schema == ROWS
        made = [TaskRow(*row) for row in rows]
        self.sent += made
        return Frame(lambda: [made[0::2], made[1::2]], self.returned.extend)


def whole(partitions):
    """Return an extract that was shuffled with all rows and ids that are in frames and staging."""
    raw, facts = partitions.raw, partitions.facts
    assert isinstance(raw, ShuffledTables)
    rows = pa.Table.from_batches(_batches(raw.rows.collect()), SCHEMA)
    tables = decode_tables(rows, facts.files, digests=facts.has_digests)
    of_nobody = {file.table for file in facts.files if file.table}
    tables |= {(name, raw.count): raw.read(name, raw.count) for name in of_nobody}
    tables[MALFORMED_TABLE, None] = raw.read(MALFORMED_TABLE, None)
    keys = replace(partitions.keys, ids={table: _all_ids(raw.ids, table) for table in KEYS})
    return Partitions(facts, UnitRows(tables), keys)


def _all_ids(ids, table):
    parts = [ids.read(table, bucket).ids for bucket in range(ids.buckets)]
    return np.concatenate([NO_HASHES, *parts])


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


def _select(rows, condition):
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE TABLE rows (shard, kind, name, number, body, cells)")
        connection.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?)", rows)
        found = connection.execute(f"SELECT * FROM rows WHERE {condition}")  # noqa: S608
        return [TaskRow(*row) for row in found]
    finally:
        connection.close()
